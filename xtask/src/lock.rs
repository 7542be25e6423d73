//! One command at a time may start and stop things.

use std::fs::{self, File, TryLockError};

use anyhow::{Context, Result, bail};

/// Held while a command runs that starts or stops the cluster or the data services.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Fails at once while another command holds it, and is given up with the process, however that ends.
    pub(crate) fn take() -> Result<Self> {
        let state = host::state::dir();
        host::state::create_private(&state)?;
        let path = state.join("xtask.lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let owner = fs::read_to_string(&path).unwrap_or_default();
                bail!(
                    "another `cargo xtask` is at work here (process {}); wait for it or stop it",
                    owner.trim()
                );
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
        }
        fs::write(&path, format!("{}\n", std::process::id())).with_context(|| format!("write {}", path.display()))?;
        Ok(Self { _file: file })
    }
}
