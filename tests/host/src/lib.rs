//! The machine under the tests: what the embedded cluster, the data services and the developer's command
//! need from the host, in plain synchronous code that compiles before everything else.
//!
//! - [`cache`]: downloads and builds, outside the checkout, never half-finished
//! - [`state`]: folders of what is running now
//! - [`process`]: daemons that outlive the command that started them and are found again
//! - [`wait_until`]: wait for a condition, and say what was missing
//! - [`run`]: run a command to its end, and show the end of its log when it fails
//! - [`progress`]: what is being done, on a terminal or in a log
//! - [`packages`]: programs of the operating system
//! - [`ports`]: free TCP ports
//! - [`interrupt`]: the user asked to stop: whatever takes long gives up
//! - [`secret`]: random passwords and files only their owner reads

mod command;
mod wait;

pub mod cache;
pub mod interrupt;
pub mod packages;
pub mod ports;
pub mod process;
pub mod progress;
pub mod secret;
pub mod state;

pub use command::{log_tail, run, run_with_input};
pub use wait::wait_until;

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
