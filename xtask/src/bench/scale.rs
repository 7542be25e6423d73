//! How fast lag is answered.

use anyhow::Result;
use host::progress::Progress;

use super::Bench;
use crate::{environment, foreground};

pub(super) fn run(bench: &Bench) -> Result<()> {
    let progress = Progress::new();
    environment::with(&bench.options, bench.keep, &progress, |environment| {
        let mut command = environment.binary("bench_scale")?;
        command.args(bench.quick.then_some("--quick"));
        foreground::run(&mut command)
    })
}
