//! A program that makes something in a cluster and takes it out again, however it ends.

use anyhow::Result;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// As a shell reports a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Does the work until it ends or somebody interrupts it, and then cleans up. Successful is what did all of this, and
/// whose result `judge` finds good.
pub async fn run<T>(
    what: &str,
    work: impl Future<Output = Result<T>>,
    clean_up: impl Future<Output = Result<()>>,
    judge: impl FnOnce(T) -> Result<bool>,
) -> ExitCode {
    let outcome = tokio::select! {
        outcome = work => Some(outcome),
        () = interrupted() => None,
    };
    let cleaned = clean_up.await;
    let Some(outcome) = outcome else {
        eprintln!("interrupted");
        return ExitCode::from(INTERRUPTED);
    };
    match outcome.and_then(|result| cleaned.and(Ok(result))).and_then(judge) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(what, &error),
    }
}

/// Says why a program failed.
pub fn failed(what: &str, error: &anyhow::Error) -> ExitCode {
    eprintln!("the {what} failed: {error:#}");
    ExitCode::FAILURE
}

/// Ctrl-C, or the request of a supervisor to end. Where signals cannot be had, nothing is ever heard.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
