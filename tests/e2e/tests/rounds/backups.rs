//! Base backups of PostgreSQL: two are kept.

use crate::faults::blocking;
use anyhow::{Result, ensure};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many were made; they take turns with two names.
#[derive(Debug, Default)]
pub(crate) struct Backups(AtomicUsize);

impl Backups {
    /// Makes one, in place of the older of the two.
    pub(crate) async fn make(&self) -> Result<()> {
        let number = self.0.load(Ordering::Relaxed);
        blocking(move || services::postgres::backup(name(number))).await?;
        self.0.store(number + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Puts PostgreSQL back to the older or the newer one.
    pub(crate) async fn restore(&self, older: bool) -> Result<()> {
        let made = self.0.load(Ordering::Relaxed);
        ensure!(made > 0, "there is no base backup yet");
        let number = if older && made > 1 { made - 2 } else { made - 1 };
        blocking(move || services::postgres::restore(name(number))).await
    }
}

fn name(number: usize) -> &'static str {
    if number.is_multiple_of(2) { "even" } else { "odd" }
}
