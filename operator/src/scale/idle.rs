//! Whether anything happens at all: what readers that may be none go by. Pure.
//!
//! A lag alone does not say so: the marker at the end of a transaction is a message that no reader ever commits, so
//! that a lag of one may stay for ever.

use std::time::Duration;

use super::rates::Flow;

/// What is remembered of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Idle {
    /// Records produced and committed, and since when they have not changed while somebody could have read them.
    since: Option<(i64, i64, Duration)>,
    /// What was left unread when the last reader was given up.
    residue: i64,
}

impl Idle {
    /// Takes in a look.
    pub(super) fn observe(&mut self, now: Duration, flow: &Flow, replicas: i32) {
        // All of it: what does not move may be what the stores do not take, and not only what nobody can read away.
        let lag = flow.produced.saturating_sub(flow.committed);
        let lag = lag.max(0);
        // More than a marker in each partition in which something waits is what somebody has to read.
        let is_stuck = lag > i64::from(flow.waiting) || flow.readers == 0 && replicas > 0 && lag > 0;
        self.since = match self.since {
            _ if is_stuck => None,
            Some((produced, committed, since)) if (produced, committed) == (flow.produced, flow.committed) => {
                Some((produced, committed, since))
            }
            _ => Some((flow.produced, flow.committed, now)),
        };
    }

    /// Nothing was seen for a moment.
    pub(super) fn interrupt(&mut self) {
        self.since = None;
    }

    /// Whether nothing has happened for `time`.
    pub(super) fn has_lasted(&self, now: Duration, time: Duration) -> bool {
        self.since.is_some_and(|(_, _, since)| now >= since + time)
    }

    /// The last reader is given up while so much is left unread.
    pub(super) fn sleep(&mut self, lag: i64) {
        self.residue = lag;
    }

    /// Whether there is more to read than there was then. What has gone since, by retention or with its topic, is left no
    /// more; a lag that is not exact may be any higher, and shows nothing to have gone.
    pub(super) fn is_woken_by(&mut self, lag: i64, is_exact: bool) -> bool {
        let is_woken = lag > self.residue;
        if is_exact {
            self.residue = self.residue.min(lag);
        }
        is_woken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(lag: i64, waiting: i32) -> Flow {
        Flow {
            produced: 100 + lag,
            committed: 100,
            expired: 0,
            partitions: 24,
            waiting,
            hottest: 1.0,
            spread: 1.0,
            readers: 1,
            unready: 0,
        }
    }

    fn lasts(flow: &Flow) -> bool {
        let mut idle = Idle::default();
        (0..100).for_each(|second| idle.observe(Duration::from_secs(second), flow, 1));
        idle.has_lasted(Duration::from_secs(99), Duration::from_secs(60))
    }

    #[test]
    fn a_marker_in_each_partition_in_which_something_waits_is_nothing_to_read() {
        assert!(lasts(&flow(0, 0)));
        assert!(lasts(&flow(24, 24)));
        assert!(!lasts(&flow(24, 1)), "24 messages in one partition are");
        assert!(!lasts(&flow(25, 24)));
    }
}
