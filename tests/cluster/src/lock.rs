//! One command at a time brings the cluster up or takes it down.

use std::fs::{self, File, TryLockError};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use host::progress::Progress;

/// The lock's file while this process has it.
static HELD: Mutex<Option<File>> = Mutex::new(None);

/// The right to change the cluster. It ends with the process, and with the commands that [`share`] it.
#[derive(Debug)]
pub(crate) struct Lock;

impl Drop for Lock {
    fn drop(&mut self) {
        // Closed and not unlocked: that would take it from a command that still runs.
        *HELD.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Waits for the lock. It is in the cache: the state folder goes at the end.
pub(crate) fn take(progress: &Progress) -> Result<Lock> {
    let folder = host::cache::dir();
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let path = folder.join("cluster.lock");
    let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress.line("waiting for another command to finish with the cluster");
            file.lock().with_context(|| format!("lock {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("lock {}", path.display())),
    }
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    Ok(Lock)
}

/// For an unused stream of a command that changes the machine: where this process is killed meanwhile, nobody begins to
/// take the cluster down before the command has ended.
pub(crate) fn share() -> Stdio {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = held.as_ref().and_then(|file| file.try_clone().ok());
    shared.map_or_else(Stdio::null, Stdio::from)
}
