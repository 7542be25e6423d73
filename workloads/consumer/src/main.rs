//! The consumer's process: without a command it reads; with one it looks after what was read.

use clap::{Parser, Subcommand};
use consumer::{dlq, erase, rewind};
use runtime::env::Env;
use std::{error::Error, io, process::ExitCode, time::Duration};

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
    Rewind(rewind::Rewind),
    Erase(erase::Erase),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        None => consume(),
        Some(command) => look_after(&command),
    }
}

fn consume() -> ExitCode {
    runtime::telemetry::init("consumer");
    runtime::tls::install_provider();
    let outcome = block_on(async {
        let stop = runtime::shutdown::token();
        consumer::run(&Env::from_process(), stop).await
    });
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            tracing::error!(%error, "the consumer ends");
            ExitCode::FAILURE
        }
        Err(error) => {
            tracing::error!(%error, "the asynchronous runtime does not start");
            ExitCode::FAILURE
        }
    }
}

/// Standard output is for what was asked for; a person reads the rest.
fn look_after(command: &Command) -> ExitCode {
    runtime::tls::install_provider();
    let environment = Env::from_process();
    let (name, outcome) = match command {
        Command::Dlq(command) => (
            "dlq",
            dlq::run(command, &environment).map_err(|error| error.to_string()),
        ),
        Command::Rewind(command) => {
            let outcome = block_on(async {
                let stop = runtime::shutdown::token();
                rewind::run(command, &environment, stop).await
            });
            ("rewind", said(outcome))
        }
        Command::Erase(command) => ("erase", said(block_on(erase::run(command, &environment)))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("consumer {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn said(outcome: io::Result<Result<(), impl Error>>) -> Result<(), String> {
    outcome
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}

fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = tokio.block_on(work);
    // Whatever still blocks must not keep the pod.
    tokio.shutdown_timeout(Duration::from_secs(1));
    Ok(outcome)
}
