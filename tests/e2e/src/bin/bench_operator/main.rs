//! The operator with many pipelines: how fast it makes them, what it holds, and what it does at rest.
//!
//! `cargo xtask bench operator` brings up the cluster, the data services and the operator, and then runs this program.
//!
//! - [`fleet`]: the pipelines, without a pod
//! - [`measure`]: the measurements
//! - [`memory`]: what the operator's process holds
//! - [`figures`]: the results, for people and for programs

mod figures;
mod fleet;
mod measure;
mod memory;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// As a shell reports a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Measures the operator with many pipelines. `cargo xtask bench operator` brings up everything that it needs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The cluster; kubectl's own choice by default
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// A tenth of the pipelines, and a shorter rest
    #[arg(long)]
    quick: bool,
    /// Leave the pipelines in the cluster, because it goes with all that is in it
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let size = if arguments.quick {
        measure::QUICK
    } else {
        measure::WHOLE
    };
    let bench = match measure::Bench::prepare(arguments.kubeconfig.as_deref(), size).await {
        Ok(bench) => bench,
        Err(error) => return failed(&error),
    };
    let outcome = tokio::select! {
        outcome = bench.run() => Some(outcome),
        () = interrupted() => None,
    };
    let cleaned = if arguments.keep { Ok(()) } else { bench.clean_up().await };
    match (outcome, cleaned) {
        (None, _) => {
            eprintln!("interrupted");
            ExitCode::from(INTERRUPTED)
        }
        (Some(Err(error)), _) | (_, Err(error)) => failed(&error),
        (Some(Ok(figures)), Ok(())) => match figures.show() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("the benchmark failed: {error:#}");
    ExitCode::FAILURE
}

/// Ctrl-C, or the request of a supervisor to end. Where signals cannot be had, nothing is ever heard.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
