//! Waiting for a condition instead of for a time.

use anyhow::{Result, bail};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const PAUSE: Duration = Duration::from_millis(200);

/// Asks until there is an answer. The error after the timeout names `what` and the last reason given by an `Err`;
/// a probe may fail as long as something is starting or broken on purpose.
pub async fn eventually<T>(
    what: &str,
    timeout: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + timeout;
    loop {
        let reason = match tokio::time::timeout(timeout, probe()).await {
            Ok(Ok(Some(answer))) => return Ok(answer),
            Ok(Ok(None)) => None,
            Ok(Err(error)) => Some(format!("{error:#}")),
            Err(_) => Some("a question was not answered in time".to_owned()),
        };
        if Instant::now() >= end {
            match reason {
                Some(reason) => bail!("{what}: not within {timeout:?}; last: {reason}"),
                None => bail!("{what}: not within {timeout:?}"),
            }
        }
        sleep(PAUSE).await;
    }
}
