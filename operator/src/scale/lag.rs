//! Offsets → lag.

use serde::{Deserialize, Serialize};

/// What a group has committed on a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The next offset it will read.
    At(i64),
    /// Nothing yet.
    Never,
    /// It could not be read.
    Unknown,
}

/// Offsets of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// First offset that is still there; absent when it could not be read.
    pub start: Option<i64>,
    /// What the group has read.
    pub committed: Committed,
    /// First offset that is not there yet; absent when it could not be read.
    pub end: Option<i64>,
}

/// Messages between what was read and what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Lag {
    /// All partitions are known.
    Known(i64),
    /// Some partitions are not known: at least this much.
    AtLeast(i64),
    /// Nothing is known.
    Unknown,
}

impl Lag {
    /// The number, exact or as a lower bound.
    pub const fn lower_bound(self) -> Option<i64> {
        match self {
            Lag::Known(lag) | Lag::AtLeast(lag) => Some(lag),
            Lag::Unknown => None,
        }
    }

    /// The number, where all of it is known.
    pub const fn exact(self) -> Option<i64> {
        match self {
            Lag::Known(lag) => Some(lag),
            Lag::AtLeast(_) | Lag::Unknown => None,
        }
    }
}

/// Lag of one partition; absent when it cannot be told. Never negative.
///
/// Our readers start at the earliest offset, so a group without a commit has everything before it. A commit
/// behind the start means that unread messages expired: only those that are left count. A commit beyond the
/// end means that the topic was made anew: all of it is unread. A start beyond the end is one of a topic that is gone.
pub fn of_partition(partition: &Partition) -> Option<i64> {
    let end = partition.end?;
    let start = partition.start.filter(|start| *start <= end)?;
    match partition.committed {
        Committed::Unknown => None,
        Committed::Never => Some(end - start),
        Committed::At(committed) if committed > end => Some(end - start),
        Committed::At(committed) => Some(end - committed.max(start)),
    }
}

/// Records that a group has not read and that are gone.
pub fn expired(partition: &Partition) -> i64 {
    match (partition.start, partition.committed, partition.end) {
        (Some(start), Committed::At(committed), Some(end)) if committed <= end && start <= end => {
            (start - committed).max(0)
        }
        _ => 0,
    }
}

/// Lag of one topic.
pub fn of_topic(partitions: &[Partition]) -> Lag {
    sum(partitions.iter().map(of_partition))
}

/// Lag of several partitions together.
pub fn sum(lags: impl IntoIterator<Item = Option<i64>>) -> Lag {
    let (mut sum, mut known, mut all) = (0_i64, 0, 0);
    for lag in lags {
        all += 1;
        if let Some(lag) = lag {
            known += 1;
            sum = sum.saturating_add(lag);
        }
    }
    match known {
        0 => Lag::Unknown,
        known if known == all => Lag::Known(sum),
        _ => Lag::AtLeast(sum),
    }
}

/// Both together.
pub fn both(sum: Lag, lag: Lag) -> Lag {
    match (sum, lag) {
        (Lag::Known(sum), Lag::Known(lag)) => Lag::Known(sum + lag),
        (Lag::Unknown, other) | (other, Lag::Unknown) => other.lower_bound().map_or(Lag::Unknown, Lag::AtLeast),
        (Lag::Known(sum) | Lag::AtLeast(sum), Lag::Known(lag) | Lag::AtLeast(lag)) => Lag::AtLeast(sum + lag),
    }
}

/// The largest of several topics; at least that where some are not known.
pub fn worst(lags: &[(String, Lag)]) -> Lag {
    let largest = lags.iter().filter_map(|(_, lag)| lag.lower_bound()).max();
    let exact = lags.iter().all(|(_, lag)| matches!(lag, Lag::Known(_)));
    match largest {
        None => Lag::Unknown,
        Some(lag) if exact => Lag::Known(lag),
        Some(lag) => Lag::AtLeast(lag),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partition(start: i64, committed: Committed, end: i64) -> Partition {
        Partition {
            start: Some(start),
            committed,
            end: Some(end),
        }
    }

    #[test]
    fn without_a_commit_everything_is_unread() {
        assert_eq!(of_partition(&partition(5, Committed::Never, 12)), Some(7));
    }

    #[test]
    fn expired_messages_do_not_count() {
        assert_eq!(of_partition(&partition(10, Committed::At(3), 12)), Some(2));
    }

    #[test]
    fn a_recreated_topic_is_unread_from_its_start_and_never_negative() {
        assert_eq!(of_partition(&partition(0, Committed::At(900), 4)), Some(4));
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_not_zero() {
        assert_eq!(of_partition(&partition(0, Committed::Unknown, 4)), None);
        assert_eq!(
            of_partition(&Partition {
                start: Some(0),
                committed: Committed::At(1),
                end: None
            }),
            None
        );
    }

    #[test]
    fn a_partly_known_topic_is_a_lower_bound() {
        let known = partition(0, Committed::At(1), 4);
        let unknown = partition(0, Committed::Unknown, 4);
        assert_eq!(of_topic(&[known, known]), Lag::Known(6));
        assert_eq!(of_topic(&[known, unknown]), Lag::AtLeast(3));
        assert_eq!(of_topic(&[unknown]), Lag::Unknown);
        assert_eq!(of_topic(&[]), Lag::Unknown);
    }

    #[test]
    fn a_start_beyond_the_end_is_of_a_topic_that_is_gone_and_says_nothing() {
        for committed in [Committed::At(100), Committed::Never, Committed::At(2_000_000)] {
            let gone = partition(1_000_000, committed, 500);
            assert_eq!((of_partition(&gone), expired(&gone)), (None, 0), "{committed:?}");
        }
    }

    proptest! {
        #[test]
        fn no_lag_is_negative_and_none_is_more_than_there_is(start in 0..1000i64, committed in 0..1000i64, end in 0..1000i64) {
            for committed in [Committed::At(committed), Committed::Never] {
                let one = partition(start, committed, end);
                let within = |lag| (0..=end - start).contains(&lag);
                prop_assert_eq!(of_partition(&one).is_some(), start <= end);
                prop_assert!(of_partition(&one).is_none_or(within) && expired(&one) >= 0);
            }
        }
    }
}
