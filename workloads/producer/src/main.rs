//! The producer's process: logs, settings, and then [`producer::run`]; or one of the commands for its API keys.

use clap::{Parser, Subcommand};
use producer::{Settings, keys::command::Command, serve::RunError};
use runtime::{env::Env, shutdown, telemetry, tls};
use std::process::ExitCode;

/// Takes uploads into Kafka, as its environment says
#[derive(Debug, Parser)]
#[command(name = "producer", version)]
struct Arguments {
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Makes, lists and revokes API keys, in place of serving
    #[command(subcommand)]
    Keys(Command),
}

/// One thread is enough here: the HTTP workers and the Kafka client have threads of their own.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tls::install_provider();
    match arguments.task {
        // Its standard output is a key or a list, and no log.
        Some(Task::Keys(command)) => match command.run(&Env::from_process()).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        None => {
            telemetry::init("producer");
            match serve().await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!(%error, "producer failed");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

async fn serve() -> Result<(), RunError> {
    let settings = Settings::from_env(&Env::from_process())?;
    producer::run(settings, shutdown::token()).await
}
