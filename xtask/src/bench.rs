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
    /// How fast the consumer reads and decodes, against Kafka's own ConsumerPerformance
    Consume,
    /// How fast the producer takes uploads, against Kafka's own ProducerPerformance, and how long it takes for one
    Ingest,
    /// How much memory producer and consumer have under full load while what they write to is away
    Memory,
    /// The operator with 500 pipelines: build-up, memory, writes at rest, and the way of one change
    Operator,
    /// How long a reading of 10,000 partitions takes
    Offsets,
    /// How much what cannot be stored slows down what can
    Poison,
    /// How fast lag is answered, on a real cluster and a real Kafka
    Scale,
    /// The scaling policy in simulation: against KEDA over 10,000 loads, and with everything that can be wrong
    ScaleSim,
    /// How fast the consumer writes, against psql's \copy and bare insertions
    Sink,
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench.name {
        Name::Consume => own_services::run_release(bench, "bench_consume", &[]),
        Name::Ingest => own_services::run_release(bench, "bench_ingest", &["producer", "producer_without_kafka"]),
        Name::Memory => own_services::run_release(bench, "bench_memory", &["consumer", "producer"]),
        Name::Operator => operator::run(bench),
        Name::Offsets => own_services::run(bench, "bench_offsets"),
        Name::Scale => scale::run(bench),
        Name::ScaleSim => scale_sim::run(bench),
        Name::Poison => own_services::run_release(bench, "bench_poison", &["consumer"]),
        Name::Sink => own_services::run_release(bench, "bench_sink", &[]),
    }
}
