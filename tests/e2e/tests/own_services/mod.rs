//! Data services of a test's own, beside whatever else this machine runs.

use std::net::Ipv4Addr;
use std::panic::AssertUnwindSafe;
use std::process::Command;

use services::{Options, Running};

/// Runs a test with as many brokers, in a process with an empty state folder: this one, started anew.
pub(crate) fn with_brokers(brokers: usize, test: impl AsyncFnOnce(Running)) {
    const INSIDE: &str = "OWN_SERVICES_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return inside(brokers, test);
    }
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .arg("--nocapture")
        .env(INSIDE, "1")
        .env(host::state::VARIABLE, folder.path())
        .status()
        .unwrap();
    if !status.success() {
        panic!("logs are kept in {}", folder.keep().display());
    }
}

fn inside(brokers: usize, test: impl AsyncFnOnce(Running)) {
    runtime::tls::install_provider();
    let running = services::up(&Options {
        brokers,
        address: Ipv4Addr::LOCALHOST.into(),
    });
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let running = running.unwrap();
        let tokio = tokio::runtime::Runtime::new().unwrap();
        tokio.block_on(test(running));
    }));
    services::down().unwrap();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}
