//! Daemons: processes that outlive the command that started them, and are found again by name.
//!
//! A daemon has a session of its own, so Ctrl-C in the terminal does not reach it. It begins only after its pid
//! file (`<state>/run/<name>.json`) is written: whenever the command that starts it is killed, there is either no
//! daemon or one that can be found. The file also holds the process's start time and the machine's boot, so another
//! process that got the same number later is never taken for the daemon.

mod identity;
mod spec;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::{log_tail, secret, state, wait_until};
use identity::Identity;
pub use spec::{DaemonSpec, User};

const KILL_TIMEOUT: Duration = Duration::from_secs(20);

/// A process started by [`DaemonSpec::spawn`], now or by an earlier command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Daemon {
    name: String,
    #[serde(flatten)]
    identity: Identity,
    stop_signal: StopSignal,
    log: PathBuf,
}

/// The signal that asks a daemon to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopSignal {
    /// SIGTERM, what most programs expect.
    #[default]
    Terminate,
    /// SIGINT: a fast shutdown where SIGTERM would wait for clients, as with PostgreSQL.
    Interrupt,
}

impl Daemon {
    /// The daemon of this name, if it is running.
    pub fn find(name: &str) -> Option<Self> {
        Self::find_in(&run_dir(), name)
    }

    /// Every daemon that is running, by name.
    pub fn all() -> Vec<Self> {
        let Ok(files) = fs::read_dir(run_dir()) else {
            return Vec::new();
        };
        let mut daemons: Vec<Self> = files
            .flatten()
            .filter_map(|file| Some(file.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .filter_map(|name| Self::find(&name))
            .collect();
        daemons.sort_by(|one, other| one.name.cmp(&other.name));
        daemons
    }

    /// Its name, unique in a state folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.identity.pid
    }

    /// The file that has its output.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Whether it is running: the very process that was started, not one that got its number later.
    pub fn is_alive(&self) -> bool {
        self.identity.is_alive()
    }

    /// Like [`wait_until`], but gives up at once when the daemon ends, and shows the end of its log on failure.
    pub fn wait_until<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut probe: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let outcome = wait_until(what, timeout, || {
            if !self.is_alive() {
                return Ok(Some(Err(anyhow!("{what}: {} has ended", self.name))));
            }
            Ok(probe()?.map(Ok))
        });
        outcome
            .flatten()
            .map_err(|error| anyhow!("{error:#}; the end of {}:\n{}", self.log.display(), log_tail(&self.log)))
    }

    /// Asks the daemon to stop; after `grace` it is killed, and so is whatever else is left in its session.
    pub fn stop(&self, grace: Duration) -> Result<()> {
        if self.signal(self.stop_signal.into())? {
            // Not gone in time is no failure: it is killed below.
            let _ = wait_until("stop", grace, || Ok((!self.is_alive()).then_some(())));
        }
        self.kill9()
    }

    /// Kills the daemon and what else is in its session at once, and waits until the daemon is gone.
    pub fn kill9(&self) -> Result<()> {
        if self.is_alive()
            && let Some(group) = Pid::from_raw(self.identity.pid)
        {
            sent(kill_process_group(group, Signal::KILL)).with_context(|| format!("kill {}", self.name))?;
            // One that was started a moment ago has no group of its own yet.
            sent(kill_process(group, Signal::KILL)).with_context(|| format!("kill {}", self.name))?;
        }
        for member in self.identity.session_members() {
            if let Some(pid) = Pid::from_raw(member) {
                sent(kill_process(pid, Signal::KILL)).with_context(|| format!("kill {member} of {}", self.name))?;
            }
        }
        wait_until(&format!("end of {}", self.name), KILL_TIMEOUT, || {
            Ok((!self.is_alive()).then_some(()))
        })?;
        self.forget()
    }

    fn signal(&self, signal: Signal) -> Result<bool> {
        match Pid::from_raw(self.identity.pid) {
            Some(pid) if self.is_alive() => {
                sent(kill_process(pid, signal)).with_context(|| format!("signal {}", self.name))
            }
            _ => Ok(false),
        }
    }

    fn find_in(run: &Path, name: &str) -> Option<Self> {
        let content = fs::read(pid_file(run, name)).ok()?;
        let daemon: Self = serde_json::from_slice(&content).ok()?;
        daemon.is_alive().then_some(daemon)
    }

    fn remember(&self) -> Result<()> {
        let run = run_dir();
        state::create_private(&state::dir())?;
        state::create_private(&run)?;
        secret::write_private(
            &pid_file(&run, &self.name),
            &serde_json::to_vec(self).context("write a pid file")?,
        )
    }

    fn forget(&self) -> Result<()> {
        let file = pid_file(&run_dir(), &self.name);
        let ours = fs::read(&file)
            .is_ok_and(|content| serde_json::from_slice(&content).is_ok_and(|d: Self| d.identity == self.identity));
        if ours { state::remove(&file) } else { Ok(()) }
    }
}

impl From<StopSignal> for Signal {
    fn from(signal: StopSignal) -> Self {
        match signal {
            StopSignal::Terminate => Self::TERM,
            StopSignal::Interrupt => Self::INT,
        }
    }
}

fn sent(result: rustix::io::Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => bail!(error),
    }
}

fn run_dir() -> PathBuf {
    state::dir().join("run")
}

fn pid_file(run: &Path, name: &str) -> PathBuf {
    run.join(format!("{name}.json"))
}

#[cfg(test)]
mod tests;
