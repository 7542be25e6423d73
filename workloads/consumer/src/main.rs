//! The consumer's process.

use runtime::env::Env;
use std::{process::ExitCode, time::Duration};

fn main() -> ExitCode {
    runtime::telemetry::init("consumer");
    runtime::tls::install_provider();
    let tokio = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(tokio) => tokio,
        Err(error) => {
            tracing::error!(%error, "the asynchronous runtime does not start");
            return ExitCode::FAILURE;
        }
    };
    let outcome = tokio.block_on(async {
        let stop = runtime::shutdown::token();
        consumer::run(&Env::from_process(), stop).await
    });
    // Whatever still blocks must not keep the pod.
    tokio.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the consumer ends");
            ExitCode::FAILURE
        }
    }
}
