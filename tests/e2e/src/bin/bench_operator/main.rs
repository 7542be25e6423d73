//! The operator with many pipelines: how fast it makes them, what it holds, and what it does at rest.
//!
//! `cargo xtask bench operator` brings up the cluster, the data services and the operator, and then runs this program.
//!
//! - [`fleet`]: the pipelines, without a pod
//! - [`measure`]: the measurements
//! - [`memory`]: what the operator's process holds

mod fleet;
mod measure;
mod memory;

use clap::Parser;
use e2e::program;
use std::path::PathBuf;
use std::process::ExitCode;

/// What this program is called.
const WHAT: &str = "benchmark";

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
        Err(error) => return program::failed(WHAT, &error),
    };
    let clean_up = async {
        match arguments.keep {
            true => Ok(()),
            false => bench.clean_up().await,
        }
    };
    program::run(WHAT, bench.run(), clean_up, |figures| figures.show().and(Ok(true))).await
}
