//! The scaling ladder: how many replicas a component may have for a number of daily active users, and which
//! counts in between it steps on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::spec::LadderColumn;

/// Least and most replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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

    /// The same bounds where no more than `cap` can be made use of.
    #[must_use]
    pub fn at_most(self, cap: i32) -> Bounds {
        Bounds {
            min: self.min.min(cap),
            max: self.max.min(cap),
        }
    }
}

/// Bounds in the columns of a row; a column that is not there gives no bounds.
pub type Columns = BTreeMap<LadderColumn, Bounds>;

/// One row: what a pipeline of `users` daily active users needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Daily active users up to which the row holds.
    pub users: i64,
    /// Replicas of the components.
    pub columns: Columns,
    /// Recommended Kafka brokers.
    pub brokers: Option<Bounds>,
}

const fn between(min: i32, max: i32) -> Bounds {
    Bounds { min, max }
}

/// Columns of [`BUILT_IN`], in its order.
const COLUMNS: [LadderColumn; 6] = [
    LadderColumn::Producer,
    LadderColumn::Sms,
    LadderColumn::Events,
    LadderColumn::Common,
    LadderColumn::Insights,
    LadderColumn::SmsExtraction,
];

/// The design's ladder: users, recommended brokers, and least and most replicas in each of [`COLUMNS`].
type BuiltIn = (i64, (i32, i32), [(i32, i32); 6]);
const BUILT_IN: [BuiltIn; 4] = [
    (25_000, (1, 3), [(1, 3), (1, 4), (1, 2), (1, 2), (1, 2), (1, 1)]),
    (50_000, (3, 3), [(2, 5), (2, 8), (1, 5), (1, 5), (2, 5), (1, 3)]),
    (75_000, (3, 3), [(3, 7), (3, 12), (2, 7), (2, 7), (4, 7), (2, 4)]),
    (100_000, (3, 5), [(4, 10), (4, 16), (3, 10), (3, 10), (6, 10), (3, 5)]),
];

/// The built-in rows, ascending.
pub fn built_in() -> Vec<Row> {
    let row = |(users, brokers, columns): BuiltIn| Row {
        users,
        brokers: Some(between(brokers.0, brokers.1)),
        columns: COLUMNS
            .into_iter()
            .zip(columns.map(|(min, max)| between(min, max)))
            .collect(),
    };
    BUILT_IN.map(row).to_vec()
}

/// A row, and whether the number of users lies beyond the ladder's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The row; above the last one, that row scaled in proportion.
    pub row: Row,
    /// Users of the last row, where it was scaled up.
    pub beyond: Option<i64>,
}

/// The row of `rows`, which are ascending, for a number of users: the next one up; above the last, the last scaled
/// in proportion. Nothing without rows.
pub fn row_for(rows: &[Row], users: i64) -> Option<Chosen> {
    let last = rows.last()?;
    if let Some(row) = rows.iter().find(|row| users <= row.users) {
        return Some(Chosen {
            row: row.clone(),
            beyond: None,
        });
    }
    let grow = |count: i32| {
        let grown = (i128::from(count) * i128::from(users) + i128::from(last.users) - 1) / i128::from(last.users);
        i32::try_from(grown).unwrap_or(i32::MAX)
    };
    let stretch = |bounds: Bounds| between(grow(bounds.min), grow(bounds.max));
    let row = Row {
        users,
        columns: last
            .columns
            .iter()
            .map(|(column, bounds)| (*column, stretch(*bounds)))
            .collect(),
        brokers: last.brokers.map(stretch),
    };
    Some(Chosen {
        row,
        beyond: Some(last.users),
    })
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

    fn chosen(users: i64) -> Chosen {
        row_for(&built_in(), users).unwrap()
    }

    fn bounds(users: i64, column: LadderColumn) -> Bounds {
        chosen(users).row.columns[&column]
    }

    #[test]
    fn sms_at_100_000_users_climbs_4_8_12_16() {
        assert_eq!(rungs(bounds(100_000, LadderColumn::Sms), 3), [4, 8, 12, 16]);
    }

    #[test]
    fn events_at_50_000_users_climbs_one_by_one() {
        assert_eq!(rungs(bounds(50_000, LadderColumn::Events), 4), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn common_at_50_000_users_rounds_up() {
        assert_eq!(rungs(bounds(50_000, LadderColumn::Common), 3), [1, 3, 4, 5]);
    }

    #[test]
    fn a_count_between_two_rows_takes_the_next_one_up() {
        for (users, row) in [(1, 25_000), (25_000, 25_000), (25_001, 50_000), (75_001, 100_000)] {
            assert_eq!(chosen(users).row.users, row);
            assert_eq!(chosen(users).beyond, None);
        }
    }

    #[test]
    fn above_the_last_row_it_grows_in_proportion() {
        let chosen = chosen(150_000);
        assert_eq!(chosen.beyond, Some(100_000));
        assert_eq!(chosen.row.columns[&LadderColumn::Sms], between(6, 24));
        assert_eq!(chosen.row.brokers, Some(between(5, 8)));
    }

    #[test]
    fn rows_of_ones_own_give_what_they_say_and_no_more() {
        let own = |users, min, max| Row {
            users,
            columns: Columns::from([(LadderColumn::Sms, between(min, max))]),
            brokers: None,
        };
        let rows = [own(10, 1, 2), own(20, 3, 4)];
        let chosen = row_for(&rows, 11).unwrap();
        assert_eq!(chosen.row, rows[1]);
        assert_eq!(row_for(&rows, 30).unwrap().row, own(30, 5, 6));
        assert_eq!(row_for(&[], 1), None);
    }

    #[test]
    fn what_is_switched_off_has_no_rung_but_nothing() {
        assert_eq!(rungs(between(0, 0), 3), [0, 0, 0, 0]);
        assert!(between(0, 0).is_off() && !between(1, 1).is_off());
    }

    proptest! {
        #[test]
        fn rungs_start_at_min_end_at_max_and_never_fall(min in 0..500i32, span in 0..500i32, thresholds in 1..16usize) {
            let rungs = rungs(between(min, min + span), thresholds);
            prop_assert_eq!(rungs[0], min);
            prop_assert_eq!(rungs[thresholds], min + span);
            prop_assert!(rungs.windows(2).all(|pair| pair[0] <= pair[1]));
        }

        #[test]
        fn more_users_never_get_fewer_replicas(users in 1..500_000i64, more in 0..500_000i64) {
            let (few, many) = (chosen(users).row, chosen(users + more).row);
            for column in COLUMNS {
                let (few, many) = (few.columns[&column], many.columns[&column]);
                prop_assert!(few.min <= many.min && few.max <= many.max);
            }
        }
    }
}
