//! The policy against KEDA, and with everything that can be wrong, in simulation: needs nothing but this machine.

use std::process::Command;

use anyhow::Result;
use host::progress::Progress;

use super::Bench;
use crate::binaries::Binaries;
use crate::foreground;
use crate::toolchain::{self, Needs};

const SIMULATION: &str = "scale_sim";

pub(super) fn run(bench: &Bench) -> Result<()> {
    toolchain::ensure(Needs::default())?;
    let binaries = Progress::new().run("cargo build", |step| Binaries::build_fast(step, SIMULATION))?;
    let mut command = Command::new(binaries.path(SIMULATION)?);
    command.args(bench.quick.then_some("--quick"));
    foreground::run(&mut command)
}
