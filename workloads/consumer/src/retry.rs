//! Waiting between attempts: exponential, with jitter, so that many readers do not return to a store at once.

use rand::RngExt;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Pauses that double from `first` to `longest`.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// For what comes back by itself: a restart, a failover, a network fault.
    pub fn brief() -> Backoff {
        Backoff {
            next: Duration::from_millis(100),
            longest: Duration::from_secs(5),
        }
    }

    /// For what only a person can repair: a missing table, a wrong password.
    pub fn slow() -> Backoff {
        Backoff {
            next: Duration::from_secs(2),
            longest: Duration::from_secs(30),
        }
    }

    /// The next pause: between half of the nominal one and all of it.
    pub fn pause(&mut self) -> Duration {
        let nominal = self.next;
        self.next = (nominal * 2).min(self.longest);
        nominal.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// Waits for the next pause. `false` when `stop` was cancelled meanwhile.
    pub async fn wait(&mut self, stop: &CancellationToken) -> bool {
        tokio::select! {
            () = stop.cancelled() => false,
            () = tokio::time::sleep(self.pause()) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_with_jitter_below() {
        let mut backoff = Backoff::brief();
        for nominal in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            let nominal = Duration::from_millis(nominal);
            let pause = backoff.pause();
            assert!(
                pause >= nominal / 2 && pause <= nominal,
                "{pause:?} is not within {nominal:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_cancelled_wait_ends_at_once() {
        let stop = CancellationToken::new();
        stop.cancel();
        assert!(!Backoff::slow().wait(&stop).await);
    }
}
