//! SIGTERM and SIGINT as a cancellation token.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at the first SIGTERM or SIGINT. To be called once, inside the tokio runtime.
///
/// Where the process may not listen for signals at all, the token comes cancelled: a workload that nobody could
/// ask to stop would be killed in the middle of its work instead.
pub fn token() -> CancellationToken {
    let token = CancellationToken::new();
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            let token = token.clone();
            tokio::spawn(async move {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                tracing::info!(signal = name, "shutting down");
                token.cancel();
            });
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "cannot listen for SIGTERM and SIGINT");
            token.cancel();
        }
    }
    token
}
