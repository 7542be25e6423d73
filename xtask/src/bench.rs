//! `cargo xtask bench`: how fast and how frugal it is, measured on real parts.

mod operator;
mod own_services;
mod scale;
mod scale_sim;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::environment::Options;

/// Measures, and shows the figures beside the most that they may be; the last line is JSON
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure
    #[arg(value_enum)]
    name: Name,
    /// Less of everything: says whether it works, not how good it is
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    options: Options,
    /// Leave the cluster and the data services running at the end
    #[arg(long)]
    keep: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// The operator with 500 pipelines: build-up, memory, writes at rest, and the way of one change
    Operator,
    /// How long a reading of 10,000 partitions takes
    Offsets,
    /// How fast lag is answered, on a real cluster and a real Kafka
    Scale,
    /// The scaling policy in simulation: against KEDA over 10,000 loads, and with everything that can be wrong
    ScaleSim,
    /// How fast the consumer writes, against psql's \copy and bare insertions
    Sink,
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench.name {
        Name::Operator => operator::run(bench),
        Name::Offsets => own_services::run(bench, "bench_offsets"),
        Name::Scale => scale::run(bench),
        Name::ScaleSim => scale_sim::run(bench),
        Name::Sink => own_services::run(bench, "bench_sink"),
    }
}
