use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Calls `probe` until it returns `Some`, at most for `timeout`.
///
/// `Ok(None)` means "not yet"; an error means "not yet, because". The error after the timeout names `what`
/// and the last reason; it is [`interrupt::Interrupted`] once the user asked to stop. The pause between two calls grows from 10 to 250 milliseconds.
pub fn wait_until<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        interrupt::check()?;
        let reason = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        let left = timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            match reason {
                Some(error) => bail!("{what}: not within {timeout:?}; last reason: {error:#}"),
                None => bail!("{what}: not within {timeout:?}"),
            }
        }
        sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn returns_the_first_value() {
        let mut calls = 0;
        let value = wait_until("third call", Duration::from_secs(10), || {
            calls += 1;
            Ok((calls == 3).then_some(calls))
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn names_what_and_the_last_reason() {
        let mut calls = 0;
        let error = wait_until::<()>("port 9092", Duration::from_millis(25), || {
            calls += 1;
            Err(anyhow!("refused, call {calls}").context("connect"))
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("port 9092: not within 25ms; last reason: connect: refused, call {calls}")
        );
        assert!(calls > 1, "a probe is repeated");
    }

    #[test]
    fn a_wait_without_a_reason_says_only_what() {
        let error = wait_until::<()>("the moon", Duration::ZERO, || Ok(None)).unwrap_err();
        assert_eq!(error.to_string(), "the moon: not within 0ns");
    }
}
