//! Waiting for the writes that are under way. What has to wait for them queues for its lock again and again, each time for
//! a moment only, because whoever wants to write queues behind it.

use crate::{
    retry::Backoff,
    sink::{Fault, POSTGRES, StoreError},
};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Longest wait: the search for records that cannot be stored takes up to ten minutes.
const WAIT: Duration = Duration::from_secs(660);

/// What comes of the attempt that gets its turn; one that does not answers `None`. A person is told of the wait.
pub async fn take<T>(mut attempt: impl AsyncFnMut() -> Result<Option<T>, StoreError>) -> Result<T, StoreError> {
    let until = Instant::now() + WAIT;
    let mut backoff = Backoff::brief();
    let mut is_told = false;
    loop {
        if let Some(done) = attempt().await? {
            return Ok(done);
        }
        if Instant::now() >= until {
            return Err(StoreError {
                store: POSTGRES,
                fault: Fault::Passing,
                reason: format!("writes were under way for {} s; try again", WAIT.as_secs()),
            });
        }
        if !is_told {
            eprintln!("waiting for writes that are under way");
            is_told = true;
        }
        sleep(backoff.pause()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn attempts_are_made_until_one_has_its_turn() {
        let mut attempts = 0;
        let done = take(async || {
            attempts += 1;
            Ok((attempts == 3).then_some("done"))
        });
        assert_eq!(done.await.unwrap(), "done");
        assert_eq!(attempts, 3);
    }

    #[tokio::test]
    async fn what_fails_is_not_tried_again() {
        let failed = take::<()>(async || {
            Err(StoreError {
                store: POSTGRES,
                fault: Fault::Setup,
                reason: "no such table".to_owned(),
            })
        });
        assert_eq!(failed.await.unwrap_err().to_string(), "postgres: no such table");
    }
}
