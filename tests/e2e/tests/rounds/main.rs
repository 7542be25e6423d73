//! Rounds of faults under load, on processes of this machine: `cargo test -p e2e --test rounds [-- --rounds N --seed S]`.
//!
//! Two producers, three consumers, three brokers, PostgreSQL and the MongoDB protocol, with relays in between. In each
//! round something is killed, cut off, restored from a base backup or comes and goes, as the seed says; the round is
//! over when everything is alive again and all that was written is stored. After every ten rounds, and at the end, all
//! that was sent is held against all that is stored, and against the consumers' accounts: 0 lost, 0 twice.
//!
//! - [`plan`]: what happens in a round; [`faults`]: makes it happen; [`backups`]
//! - [`stage`], [`workload`], [`relay`]: what it happens to
//! - [`load`], [`poison`]: what is written meanwhile
//! - [`recovery`]: whether everything is alive again
//! - [`messages`], [`stores`], [`accounts`], [`verdict`]: what is there in the end
//! - [`game`]: the rounds, one after the other

mod accounts;
mod backups;
mod faults;
mod game;
mod load;
mod messages;
mod plan;
mod poison;
mod recovery;
mod relay;
mod stage;
mod stores;
mod verdict;
mod workload;

use crate::workload::{Kind, PART};
use anyhow::{Context, Result, anyhow};
use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use std::env;
use std::fs;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;
use tokio::process::Command;

/// The part that plays the rounds; the others are those of the workloads.
const INSIDE: &str = "inside";
/// Stops what the one above has left.
const DOWN: &str = "down";
/// As a shell reports a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;
/// Longest wait for work under way when the rounds are over.
const LAST_WORK: Duration = Duration::from_secs(30);

/// Rounds of faults under load
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// How many
    #[arg(long, default_value_t = 10)]
    pub(crate) rounds: u64,
    /// Decides what happens in each
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Number of the first one
    #[arg(long, default_value_t = 1)]
    pub(crate) first: u64,
    /// Taken for the sake of those who run all tests; the rounds follow each other in any case
    #[arg(long, hide = true)]
    test_threads: Option<usize>,
    /// The same
    #[arg(long, hide = true)]
    nocapture: bool,
}

fn main() -> ExitCode {
    let part = env::var(PART).unwrap_or_default();
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.name() == part) {
        return kind.play();
    }
    let outcome = match part.as_str() {
        INSIDE => inside(&Arguments::parse()),
        DOWN => down(),
        _ => outside(&Arguments::parse()),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

/// Plays in a process with an empty state folder, next to whatever else this machine runs, and cleans up after it.
fn outside(arguments: &Arguments) -> Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = tokio.block_on(async {
        // Heard from the beginning, so that the one below is never left alone.
        let stop = runtime::shutdown::token();
        let mut playing = part(INSIDE, folder.path())?.spawn()?;
        tokio::select! {
            status = playing.wait() => return Ok::<_, anyhow::Error>(status?),
            () = stop.cancelled() => {}
        }
        // Ctrl-C has reached it, too, and twice is as good as once; the end of a supervisor has not.
        if let Some(pid) = playing.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may have ended this moment.
            let _ = kill_process(pid, Signal::TERM);
        }
        Ok(playing.wait().await?)
    })?;
    if !status.success() {
        let cleaned =
            tokio.block_on(async { part(DOWN, folder.path())?.status().await.map_err(anyhow::Error::from) })?;
        if !cleaned.success() {
            eprintln!("something may still run: {cleaned}");
        }
    }
    Ok(report(arguments, status, folder))
}

/// This program again, in another part.
fn part(name: &str, state: &Path) -> Result<Command> {
    let mut command = Command::new(env::current_exe().context("find this program")?);
    command
        .args(env::args_os().skip(1))
        .env(PART, name)
        .env(host::state::VARIABLE, state);
    Ok(command)
}

/// As the standard test harness says it, for whoever adds up the tests of all programs.
fn report(arguments: &Arguments, status: ExitStatus, folder: tempfile::TempDir) -> ExitCode {
    let Arguments {
        rounds, seed, first, ..
    } = arguments;
    let name = format!("test rounds {first} to {} of seed {seed}", first + rounds - 1);
    if status.success() {
        println!("{name} ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored");
        return ExitCode::SUCCESS;
    }
    if status.code() == Some(INTERRUPTED.into()) {
        eprintln!("interrupted");
        return ExitCode::from(INTERRUPTED);
    }
    println!("{name} ... FAILED\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored");
    eprintln!(
        "logs are kept in {}; the same again:\n    \
         cargo test --workspace --test rounds -- --seed {seed} --first {first} --rounds {rounds}",
        folder.keep().display()
    );
    ExitCode::FAILURE
}

fn inside(arguments: &Arguments) -> Result<ExitCode> {
    runtime::tls::install_provider();
    let tokio = tokio::runtime::Runtime::new()?;
    let outcome = tokio.block_on(async {
        let stop = runtime::shutdown::token();
        tokio::select! {
            outcome = game::play(arguments) => Some(outcome),
            () = stop.cancelled() => {
                // Whatever waits in another thread gives up.
                host::interrupt::request();
                None
            }
        }
    });
    tokio.shutdown_timeout(LAST_WORK);
    host::interrupt::clear();
    let down = workload::kill_all().and(services::down());
    let Some(outcome) = outcome else {
        down?;
        return Ok(ExitCode::from(INTERRUPTED));
    };
    outcome.and_then(|()| no_panics()).and(down)?;
    Ok(ExitCode::SUCCESS)
}

fn down() -> Result<ExitCode> {
    workload::kill_all().and(services::down())?;
    Ok(ExitCode::SUCCESS)
}

/// No workload has ended in a way that nobody meant.
fn no_panics() -> Result<()> {
    let folder = host::state::log_dir();
    for entry in fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let text = String::from_utf8_lossy(&text);
        if let Some(line) = text.lines().find(|line| line.contains("panicked at")) {
            return Err(anyhow!("{}: {line}", path.display()));
        }
    }
    Ok(())
}
