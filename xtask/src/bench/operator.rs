//! The operator with many pipelines.

use anyhow::Result;
use host::progress::Progress;

use super::Bench;
use crate::{environment, foreground};

pub(super) fn run(bench: &Bench) -> Result<()> {
    let progress = Progress::new();
    environment::with(&bench.options, bench.keep, &progress, |environment| {
        let mut command = environment.binary("bench_operator")?;
        command.args(bench.quick.then_some("--quick"));
        // What goes with its cluster need not be taken out of it first; its topics go with the data services.
        command.args(environment.temporary.then_some("--keep"));
        foreground::run(&mut command)
    })
}
