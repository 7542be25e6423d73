//! The offsets of one partition over a minute → how its reader is doing. Pure.
//!
//! The classes are those of Burrow (LinkedIn's monitor of lag): no threshold of lag, only what the offsets do.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lag::{self, Committed, Partition};

/// Time between two samples, and how many make the window.
const SPACING: Duration = Duration::from_secs(5);
const SAMPLES: usize = 13;

/// How the reader of a partition is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// It reads what there is, or has not been seen for long enough to say otherwise.
    Ok,
    /// It reads, but every sample has more unread messages than the one before it.
    FallingBehind,
    /// Messages wait, the group has members, and nothing is committed.
    Stalled,
    /// Messages wait, and the group has no members.
    Stopped,
    /// It was set back.
    Rewound,
    /// Messages were removed by retention before they were read.
    Expired,
    /// Its offsets cannot be read.
    Unknown,
}

impl Health {
    /// All of them.
    pub const ALL: [Health; 7] = [
        Health::Ok,
        Health::FallingBehind,
        Health::Stalled,
        Health::Stopped,
        Health::Rewound,
        Health::Expired,
        Health::Unknown,
    ];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::FallingBehind => "falling_behind",
            Health::Stalled => "stalled",
            Health::Stopped => "stopped",
            Health::Rewound => "rewound",
            Health::Expired => "expired",
            Health::Unknown => "unknown",
        }
    }

    /// What the reader of such a partition does.
    pub const fn text(self) -> &'static str {
        match self {
            Health::Ok => "is read",
            Health::FallingBehind => "gets more than is read of it",
            Health::Stalled => "is not read on, though the group has members",
            Health::Stopped => "is not read: the group has no members",
            Health::Rewound => "was set back",
            Health::Expired => "has lost messages to retention before they were read",
            Health::Unknown => "cannot be asked for its offsets",
        }
    }
}

/// A sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    at: Duration,
    committed: Option<i64>,
    lag: i64,
    expired: i64,
}

/// The last minute of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    samples: VecDeque<Sample>,
    /// Commit and end, and since when neither has moved although the group has members.
    still: Option<(Option<i64>, i64, Duration)>,
    /// The last commit, and when it was seen first where it was not there at the first look.
    committed: Option<i64>,
    read: Option<Duration>,
}

impl History {
    /// Takes in a reading at `now`, a time since any fixed moment that never goes back, and says how the reader is doing;
    /// `members` is what the group has, where it is known.
    pub fn look(&mut self, now: Duration, partition: &Partition, members: Option<i32>) -> Health {
        let (Some(lag), Some(end)) = (lag::of_partition(partition), partition.end) else {
            self.still = None;
            return Health::Unknown;
        };
        let sample = Sample {
            at: now,
            committed: match partition.committed {
                Committed::At(committed) => Some(committed),
                Committed::Never | Committed::Unknown => None,
            },
            lag,
            expired: lag::expired(partition),
        };
        if self.committed.is_some_and(|before| sample.committed > Some(before)) {
            self.read = Some(now);
        }
        self.committed = sample.committed.or(self.committed);
        self.still = match self.still {
            _ if members == Some(0) => None,
            Some(known) if (known.0, known.1) == (sample.committed, end) => Some(known),
            // Where it is not known whether there are members, nothing begins.
            _ => members.map(|_| (sample.committed, end, now)),
        };
        let is_due = self.samples.back().is_none_or(|last| last.at + SPACING <= now);
        let health = self.classify(sample, members);
        if is_due {
            self.samples.push_back(sample);
        }
        while self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
        health
    }

    /// Nothing was seen for a while: what stood still may have moved and come back.
    pub fn interrupt(&mut self) {
        self.still = None;
    }

    /// Whether its reader has committed something within `time`.
    pub fn has_been_read(&self, now: Duration, time: Duration) -> bool {
        self.read.is_some_and(|read| now < read + time)
    }

    /// Whether nothing has moved for `time`, whatever waits: the end of a partition that holds nothing but what was aborted
    /// or marks a transaction is never committed, and nobody can read it away.
    pub fn is_still(&self, now: Duration, time: Duration) -> bool {
        self.still.is_some_and(|(_, _, since)| now >= since + time)
    }

    fn classify(&self, newest: Sample, members: Option<i32>) -> Health {
        let all = || self.samples.iter().chain(std::iter::once(&newest));
        let steps = || all().zip(all().skip(1));
        if all().any(|sample| sample.expired > 0) {
            return Health::Expired;
        }
        if steps().any(|(one, next)| next.committed < one.committed) {
            return Health::Rewound;
        }
        // Whoever has read everything within the window keeps up.
        let is_whole = self.samples.len() == SAMPLES;
        if !is_whole || all().any(|sample| sample.lag == 0) {
            return Health::Ok;
        }
        // One alone that stays may be the marker at the end of a transaction, which nobody ever commits.
        let is_marker = members != Some(0) && all().all(|sample| sample.lag == 1);
        if !is_marker && steps().all(|(one, next)| next.committed == one.committed) {
            return match members {
                Some(0) => Health::Stopped,
                _ => Health::Stalled,
            };
        }
        // Between the last two there may be a moment only.
        let mut grown = self.samples.iter().zip(self.samples.iter().skip(1));
        if grown.all(|(one, next)| next.lag > one.lag) {
            return Health::FallingBehind;
        }
        Health::Ok
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(start: i64, committed: i64, end: i64) -> Partition {
        Partition {
            start: Some(start),
            committed: Committed::At(committed),
            end: Some(end),
        }
    }

    /// The class after two minutes in which the offsets are as `of` says at each second.
    fn after(members: Option<i32>, of: impl Fn(i64) -> Partition) -> Health {
        let mut history = History::default();
        let looks = (0..=120).map(|second: i64| {
            let now = Duration::from_secs(second.unsigned_abs());
            history.look(now, &of(second), members)
        });
        looks.last().unwrap()
    }

    #[test]
    fn what_the_offsets_do_says_how_the_reader_is_doing() {
        assert_eq!(after(Some(1), |now| partition(0, 10 * now, 10 * now)), Health::Ok);
        assert_eq!(after(Some(1), |now| partition(0, 10 * now, 10 * now + 500)), Health::Ok);
        assert_eq!(
            after(Some(1), |now| partition(0, 5 * now, 10 * now + 1)),
            Health::FallingBehind
        );
        assert_eq!(after(Some(2), |now| partition(0, 7, 100 + now)), Health::Stalled);
        assert_eq!(after(None, |_| partition(0, 7, 100)), Health::Stalled);
        assert_eq!(after(Some(2), |_| partition(0, 99, 100)), Health::Ok, "a marker");
        assert_eq!(after(Some(0), |_| partition(0, 7, 100)), Health::Stopped);
        assert_eq!(after(Some(1), |now| partition(50, 10 + now / 4, 100)), Health::Expired);
        assert_eq!(
            after(Some(1), |now| partition(0, if now < 100 { 90 } else { 10 }, 100)),
            Health::Rewound
        );
    }

    #[test]
    fn what_was_set_back_is_so_for_a_minute_only() {
        let set_back = |now: i64| partition(0, if now < 30 { 90 } else { 2 * now }, 300);
        assert_eq!(after(Some(1), set_back), Health::Ok);
    }

    #[test]
    fn a_reader_that_keeps_up_now_and_then_is_well() {
        let in_steps = |now: i64| partition(0, now / 30 * 30, now);
        assert_eq!(after(Some(1), in_steps), Health::Ok);
    }

    #[test]
    fn what_nobody_can_read_away_is_still() {
        let after = |members: Option<i32>, of: &dyn Fn(i64) -> Partition| {
            let mut history = History::default();
            for second in 0..=300 {
                history.look(Duration::from_secs(second), &of(second as i64), members);
            }
            history.is_still(Duration::from_secs(300), Duration::from_secs(300))
        };
        assert!(after(Some(1), &|_| partition(0, 7, 9)));
        assert!(!after(Some(0), &|_| partition(0, 7, 9)), "nobody has tried");
        assert!(!after(None, &|_| partition(0, 7, 9)));
        assert!(
            !after(Some(1), &|now| partition(0, 7, 9 + now / 299)),
            "something arrives"
        );
        assert!(
            !after(Some(1), &|now| partition(0, 7 + now / 299, 9)),
            "something was read"
        );
    }

    #[test]
    fn nothing_is_said_of_what_cannot_be_read_and_nothing_bad_before_a_minute_has_gone() {
        let unknown = Partition {
            start: None,
            committed: Committed::Unknown,
            end: None,
        };
        assert_eq!(
            History::default().look(Duration::ZERO, &unknown, Some(1)),
            Health::Unknown
        );
        let mut young = History::default();
        for second in 0..59 {
            assert_eq!(
                young.look(Duration::from_secs(second), &partition(0, 0, 9), Some(0)),
                Health::Ok
            );
        }
    }
}
