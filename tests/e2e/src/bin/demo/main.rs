//! The demo: a pipeline on a real cluster goes through calm, burst, drain and calm, and is checked at the end.
//!
//! `cargo xtask demo` brings up the cluster, the data services and the operator, and then runs this program.

mod checks;
mod live;
mod show;

use clap::Parser;
use e2e::program;
use std::path::PathBuf;
use std::process::ExitCode;

/// What this program is called.
const WHAT: &str = "demo";

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
        Err(error) => return program::failed(WHAT, &error),
    };
    let clean_up = async {
        match arguments.keep {
            true => Ok(()),
            false => demo.clean_up().await,
        }
    };
    program::run(WHAT, demo.run(), clean_up, Ok).await
}
