//! The producer's process: logs, settings, and then [`producer::run`].

use producer::{Settings, serve::RunError};
use runtime::{env::Env, shutdown, telemetry};
use std::process::ExitCode;

/// One thread is enough here: the HTTP workers and the Kafka client have threads of their own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::init("producer");
    match start().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "producer failed");
            ExitCode::FAILURE
        }
    }
}

async fn start() -> Result<(), RunError> {
    let settings = Settings::from_env(&Env::from_process())?;
    producer::run(settings, shutdown::token()).await
}
