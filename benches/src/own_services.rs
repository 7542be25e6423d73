//! Data services of a benchmark's own, beside whatever else this machine runs.

use crate::figures::Figures;
use anyhow::{Context, Result, anyhow, ensure};
use host::progress::Progress;
use services::{Options, Running};
use std::{
    net::Ipv4Addr,
    panic::{AssertUnwindSafe, catch_unwind},
    process::{Command, ExitCode},
};

/// Set for the process that measures, whose state folder is its own.
const INSIDE: &str = "SYNCPIPELINE_BENCH_INSIDE";

/// Measures with as many brokers and both stores, and shows the figures. This program is started again for it, with the
/// same arguments.
pub fn bench(
    name: &str,
    brokers: usize,
    measure: impl AsyncFnOnce(&Running, &Progress) -> Result<Figures>,
) -> ExitCode {
    let outcome = if std::env::var_os(INSIDE).is_some() {
        inside(brokers, measure)
    } else {
        outside(name)
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn outside(name: &str) -> Result<()> {
    let folder = host::state::dir().join(format!("bench-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let status = Command::new(std::env::current_exe().context("find this program")?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .env(host::state::VARIABLE, &folder)
        .status();
    let status = status.context("run this program again")?;
    ensure!(
        status.success(),
        "it was not measured; logs are in {}",
        folder.display()
    );
    std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
}

fn inside(brokers: usize, measure: impl AsyncFnOnce(&Running, &Progress) -> Result<Figures>) -> Result<()> {
    runtime::tls::install_provider();
    let progress = Progress::new();
    let options = Options {
        brokers,
        address: Ipv4Addr::LOCALHOST.into(),
    };
    let work = AssertUnwindSafe(|| {
        let running = services::up(&options)?;
        let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        tokio.block_on(async {
            tokio::select! {
                measured = measure(&running, &progress) => measured,
                interrupted = tokio::signal::ctrl_c() => Err(match interrupted {
                    Ok(()) => anyhow!("stopped on request"),
                    Err(error) => error.into(),
                }),
            }
        })
    });
    let outcome = catch_unwind(work).unwrap_or_else(|_| Err(anyhow!("the benchmark panicked")));
    host::interrupt::clear();
    services::down()?;
    outcome?.show()
}
