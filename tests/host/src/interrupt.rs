//! Whether the user has asked to stop.
//!
//! A command that takes long is made of threads that wait and of commands that run. [`crate::wait_until`],
//! [`crate::run`] and [`crate::process::DaemonSpec::spawn`] look here and give up with [`Interrupted`], so that
//! nothing new is started once the user wants an end.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// The error of what gave up because the user asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Asks everything in this process that looks here to stop.
pub fn request() {
    REQUESTED.store(true, Ordering::SeqCst);
}

/// Lets waiting and running work again: what stops the things that were started needs both.
pub fn clear() {
    REQUESTED.store(false, Ordering::SeqCst);
}

/// An error once an end was asked for.
pub fn check() -> Result<(), Interrupted> {
    if REQUESTED.load(Ordering::SeqCst) {
        Err(Interrupted)
    } else {
        Ok(())
    }
}
