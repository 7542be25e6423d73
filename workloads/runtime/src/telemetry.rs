//! JSON logs on standard output.

use tracing_subscriber::EnvFilter;

/// What is logged where `RUST_LOG` is not set. What the HTTP server calls errors are its clients': each request that is
/// malformed, and each answer that nobody takes.
const DEFAULT_FILTER: &str = "info,actix_http=off,actix_server=warn,librdkafka=warn,rdkafka=warn,krafka=warn,sqlx=warn";

/// Starts logging, one JSON object a line, filtered by `RUST_LOG`, and says that `workload` starts. A second call
/// changes nothing.
pub fn init(workload: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let installed = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .try_init();
    if installed.is_ok() {
        tracing::info!(workload, version = env!("CARGO_PKG_VERSION"), "starting");
    }
}
