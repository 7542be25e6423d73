//! The demo: a pipeline on a real cluster goes through calm, burst, drain and calm, and is checked at the end.
//!
//! `cargo xtask demo` brings up the cluster, the data services and the operator, and then runs this program.

mod checks;
mod live;
mod show;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// As a shell reports a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Shows a pipeline that scales by lag. `cargo xtask demo` brings up everything that it needs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The cluster; kubectl's own choice by default
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// The SyncPipeline to run
    #[arg(long, default_value = "examples/mobileforge.yaml")]
    example: PathBuf,
    /// Traffic: NAME:DURATION@UPLOADS_PER_SECOND[xRECORDS],…
    #[arg(long, default_value = show::PHASES)]
    phases: String,
    /// Leave the pipeline and its namespace in the cluster
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let demo = match show::Demo::prepare(arguments.kubeconfig.as_deref(), &arguments.example, arguments.phases).await {
        Ok(demo) => demo,
        Err(error) => return failed(&error),
    };
    let outcome = tokio::select! {
        outcome = demo.run() => Some(outcome),
        () = interrupted() => None,
    };
    let cleaned = if arguments.keep { Ok(()) } else { demo.clean_up().await };
    match (outcome, cleaned) {
        (None, _) => {
            eprintln!("interrupted");
            ExitCode::from(INTERRUPTED)
        }
        (Some(Err(error)), _) | (_, Err(error)) => failed(&error),
        (Some(Ok(true)), Ok(())) => ExitCode::SUCCESS,
        (Some(Ok(false)), Ok(())) => ExitCode::FAILURE,
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("the demo failed: {error:#}");
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
