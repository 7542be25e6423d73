//! The operator's command line.

use std::io::Write;

use clap::{Parser, Subcommand};
use kube::CustomResourceExt;
use operator::api::SyncPipeline;
use operator::manifest;

#[derive(Parser)]
#[command(name = "operator", version, about = "The SyncPipeline operator")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the CustomResourceDefinition as YAML.
    Crd,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Arguments::parse().command {
        Command::Crd => {
            std::io::stdout().write_all(manifest::render(&SyncPipeline::crd())?.as_bytes())?;
        }
    }
    Ok(())
}
