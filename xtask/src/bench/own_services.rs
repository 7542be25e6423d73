//! Benchmarks that need data services of their own, and no cluster.

use std::process::Command;

use anyhow::{Context, Result};
use host::progress::{Progress, Step};

use super::Bench;
use crate::binaries::Binaries;
use crate::toolchain::{self, Needs};
use crate::{foreground, parallel};

/// Runs the benchmark that this binary is, once `build` has built it.
pub(super) fn run(bench: &Bench, binary: &str, build: fn(&Step) -> Result<Binaries>) -> Result<()> {
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
