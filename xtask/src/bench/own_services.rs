//! Benchmarks that need data services of their own, and no cluster.

use std::process::Command;

use anyhow::{Context, Result};
use host::progress::{Progress, Step};

use super::Bench;
use crate::binaries::Binaries;
use crate::toolchain::{self, Needs};
use crate::{foreground, parallel};

/// Runs the benchmark that this binary is, which measures the operator.
pub(super) fn run(bench: &Bench, binary: &str) -> Result<()> {
    built(bench, binary, Binaries::build)
}

/// Runs the benchmark that this binary is, which measures the data path: as it is published, with these workloads.
pub(super) fn run_release(bench: &Bench, binary: &str, workloads: &[&str]) -> Result<()> {
    let names: Vec<&str> = std::iter::once(binary).chain(workloads.iter().copied()).collect();
    built(bench, binary, |step| Binaries::build_release(step, &names))
}

fn built(bench: &Bench, binary: &str, build: impl FnOnce(&Step) -> Result<Binaries> + Send) -> Result<()> {
    toolchain::ensure(Needs {
        services: true,
        ..Needs::default()
    })?;
    let progress = Progress::new();
    let mut binaries = None;
    parallel::all(vec![
        Box::new(|| {
            binaries = Some(progress.run("cargo build", build)?);
            Ok(())
        }),
        Box::new(|| services::prepare(&progress)),
    ])?;
    let binaries = binaries.context("cargo build ended without a result")?;
    let mut command = Command::new(binaries.path(binary)?);
    command.args(bench.quick.then_some("--quick"));
    foreground::run(&mut command)
}
