//! The scaling ladder: how many replicas a component may have for a number of daily active users, and which
//! counts in between it steps on.

use crate::api::spec::LadderColumn;

/// Least and most replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Least.
    pub min: i32,
    /// Most.
    pub max: i32,
}

impl Bounds {
    /// Whether a component with these bounds is switched off.
    pub const fn is_off(self) -> bool {
        self.max == 0
    }
}

/// One row: what a pipeline of `users` daily active users needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Daily active users up to which the row holds.
    pub users: i64,
    /// Replicas of the producer.
    pub producer: Bounds,
    /// Replicas of the reader of sms.
    pub sms: Bounds,
    /// Replicas of the reader of events.
    pub events: Bounds,
    /// Replicas of the reader of the other topics.
    pub common: Bounds,
    /// Recommended Kafka brokers.
    pub brokers: Bounds,
}

impl Row {
    /// Bounds in one column.
    pub const fn bounds(&self, column: LadderColumn) -> Bounds {
        match column {
            LadderColumn::Producer => self.producer,
            LadderColumn::Sms => self.sms,
            LadderColumn::Events => self.events,
            LadderColumn::Common => self.common,
        }
    }
}

const fn between(min: i32, max: i32) -> Bounds {
    Bounds { min, max }
}

/// The built-in rows, ascending.
pub const ROWS: [Row; 4] = [
    Row {
        users: 25_000,
        producer: between(1, 3),
        sms: between(1, 4),
        events: between(1, 2),
        common: between(1, 2),
        brokers: between(1, 3),
    },
    Row {
        users: 50_000,
        producer: between(2, 5),
        sms: between(2, 8),
        events: between(1, 5),
        common: between(1, 5),
        brokers: between(3, 3),
    },
    Row {
        users: 75_000,
        producer: between(3, 7),
        sms: between(3, 12),
        events: between(2, 7),
        common: between(2, 7),
        brokers: between(3, 3),
    },
    Row {
        users: 100_000,
        producer: between(4, 10),
        sms: between(4, 16),
        events: between(3, 10),
        common: between(3, 10),
        brokers: between(3, 5),
    },
];

/// A row, and whether the number of users lies beyond the ladder's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// The row; above the last one, that row scaled in proportion.
    pub row: Row,
    /// Whether the ladder ends below this number of users.
    pub beyond_end: bool,
}

/// The row for a number of users: the next one up; above the last, the last scaled in proportion.
pub fn row_for(users: i64) -> Chosen {
    if let Some(row) = ROWS.iter().find(|row| users <= row.users) {
        return Chosen {
            row: *row,
            beyond_end: false,
        };
    }
    let last = ROWS[ROWS.len() - 1];
    let grow = |count: i32| {
        let grown = (i128::from(count) * i128::from(users) + i128::from(last.users) - 1) / i128::from(last.users);
        i32::try_from(grown).unwrap_or(i32::MAX)
    };
    let stretch = |bounds: Bounds| between(grow(bounds.min), grow(bounds.max));
    let row = Row {
        users,
        producer: stretch(last.producer),
        sms: stretch(last.sms),
        events: stretch(last.events),
        common: stretch(last.common),
        brokers: stretch(last.brokers),
    };
    Chosen { row, beyond_end: true }
}

/// The replica counts for 0, 1, … n thresholds exceeded: R(k) = min + ceil(k·(max−min)/n). Ascending, with
/// `thresholds + 1` entries; neighbours may be equal where there are more thresholds than counts.
pub fn rungs(bounds: Bounds, thresholds: usize) -> Vec<i32> {
    let Bounds { min, max } = bounds;
    let span = i64::from(max.max(min)) - i64::from(min);
    let steps = thresholds.max(1) as i64;
    (0..=thresholds as i64)
        // The quotient is at most `span`, so it fits the type it came from.
        .map(|exceeded| min + i32::try_from((exceeded * span + steps - 1) / steps).unwrap_or(i32::MAX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sms_at_100_000_users_climbs_4_8_12_16() {
        assert_eq!(rungs(row_for(100_000).row.sms, 3), [4, 8, 12, 16]);
    }

    #[test]
    fn events_at_50_000_users_climbs_one_by_one() {
        assert_eq!(rungs(row_for(50_000).row.events, 4), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn common_at_50_000_users_rounds_up() {
        assert_eq!(rungs(row_for(50_000).row.common, 3), [1, 3, 4, 5]);
    }

    #[test]
    fn a_count_between_two_rows_takes_the_next_one_up() {
        for (users, row) in [(1, 25_000), (25_000, 25_000), (25_001, 50_000), (75_001, 100_000)] {
            assert_eq!(row_for(users).row.users, row);
            assert!(!row_for(users).beyond_end);
        }
    }

    #[test]
    fn above_the_last_row_it_grows_in_proportion() {
        let chosen = row_for(150_000);
        assert!(chosen.beyond_end);
        assert_eq!(chosen.row.sms, between(6, 24));
        assert_eq!(chosen.row.brokers, between(5, 8));
    }

    #[test]
    fn what_is_switched_off_has_no_rung_but_nothing() {
        assert_eq!(rungs(between(0, 0), 3), [0, 0, 0, 0]);
        assert!(between(0, 0).is_off() && !between(1, 1).is_off());
    }

    proptest! {
        #[test]
        fn rungs_start_at_min_end_at_max_and_never_fall(min in 1..500i32, span in 0..500i32, thresholds in 1..16usize) {
            let rungs = rungs(between(min, min + span), thresholds);
            prop_assert_eq!(rungs[0], min);
            prop_assert_eq!(rungs[thresholds], min + span);
            prop_assert!(rungs.windows(2).all(|pair| pair[0] <= pair[1]));
        }

        #[test]
        fn more_users_never_get_fewer_replicas(users in 1..500_000i64, more in 0..500_000i64) {
            let (few, many) = (row_for(users).row, row_for(users + more).row);
            for column in [LadderColumn::Producer, LadderColumn::Sms, LadderColumn::Events, LadderColumn::Common] {
                prop_assert!(few.bounds(column).min <= many.bounds(column).min);
                prop_assert!(few.bounds(column).max <= many.bounds(column).max);
            }
        }
    }
}
