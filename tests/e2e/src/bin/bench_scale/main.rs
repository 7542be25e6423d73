//! How fast the operator answers lag: on a real cluster and a real Kafka, from the moment that messages wait to the
//! Deployment's new replica count.
//!
//! `cargo xtask bench scale` brings up the cluster, the data services and the operator, and then runs this program. What
//! waits is made by this program alone: its readers are pods that read nothing, so that each step of the lag is known.
//!
//! - [`subject`]: the pipeline, with one reader on the ladder and one that comes from nothing
//! - [`crossings`]: steps of the lag, one after another

mod crossings;
mod subject;

use benches::figures::{Bound, Figures};
use clap::Parser;
use crossings::{Bench, Crossing};
use e2e::program;
use std::path::PathBuf;
use std::process::ExitCode;

/// What this program is called.
const WHAT: &str = "benchmark";
/// The most that the figures may be, in seconds, and the least part of steps that one patch answers.
const P50: f64 = 1.0;
const P99: f64 = 2.5;
const SINGLE: f64 = 0.9;

/// Measures how fast lag is answered. `cargo xtask bench scale` brings up everything that it needs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The cluster; kubectl's own choice by default
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// A few crossings only
    #[arg(long)]
    quick: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let bench = match Bench::prepare(arguments.kubeconfig.as_deref(), arguments.quick).await {
        Ok(bench) => bench,
        Err(error) => return program::failed(WHAT, &error),
    };
    let work = bench.run();
    program::run(WHAT, work, bench.clean_up(), |(steps, from_nothing)| {
        let mut figures = Figures::new("scale");
        add(&mut figures, "step", &steps);
        add(&mut figures, "from nothing", &from_nothing);
        let single = steps.iter().filter(|step| step.patches == 1).count();
        let part = single as f64 / steps.len().max(1) as f64;
        figures.add("steps answered by one patch", part, "of steps", Bound::AtLeast(SINGLE));
        figures.show().and(Ok(true))
    })
    .await
}

fn add(figures: &mut Figures, what: &str, crossings: &[Crossing]) {
    let mut times: Vec<f64> = crossings.iter().map(|crossing| crossing.took.as_secs_f64()).collect();
    times.sort_by(f64::total_cmp);
    let quantile = |part: f64| {
        let place = (times.len() as f64 * part).ceil() as usize;
        times.get(place.max(1) - 1).copied().unwrap_or(f64::NAN)
    };
    figures.add(format!("{what}, p50"), quantile(0.5), "s", Bound::AtMost(P50));
    figures.add(format!("{what}, p99"), quantile(0.99), "s", Bound::AtMost(P99));
}
