//! The consumer's process: without a command it reads; with one it looks after dead letters.

use clap::{Parser, Subcommand};
use consumer::dlq;
use runtime::env::Env;
use std::{process::ExitCode, time::Duration};

#[derive(Debug, Parser)]
#[command(
    name = "consumer",
    version,
    about = "Kafka into PostgreSQL and MongoDB, each record once"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Dlq(dlq::Command),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        None => consume(),
        Some(Command::Dlq(command)) => look_after(&command),
    }
}

fn consume() -> ExitCode {
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

/// Standard output is for what was asked for; a person reads the rest.
fn look_after(command: &dlq::Command) -> ExitCode {
    runtime::tls::install_provider();
    match dlq::run(command, &Env::from_process()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("consumer dlq: {error}");
            ExitCode::FAILURE
        }
    }
}
