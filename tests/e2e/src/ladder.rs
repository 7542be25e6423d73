//! The design's rungs, written down again so that the operator's are not checked against themselves, and whether a
//! history climbed them.

/// Rows of the design's ladder: users, then least and most replicas of the consumers sms, events and common.
const ROWS: [(i64, [(i32, i32); 3]); 4] = [
    (25_000, [(1, 4), (1, 2), (1, 2)]),
    (50_000, [(2, 8), (1, 5), (1, 5)]),
    (75_000, [(3, 12), (2, 7), (2, 7)]),
    (100_000, [(4, 16), (3, 10), (3, 10)]),
];

/// What lag asks of one consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    /// Lags, ascending, each of which leads one step up.
    pub thresholds: Vec<i64>,
    /// Replicas for each number of thresholds exceeded, from none to all.
    pub rungs: Vec<i32>,
}

impl Ladder {
    /// The default ladder of a consumer, none above the last row or for an unknown consumer.
    pub fn of(consumer: &str, users: i64) -> Option<Ladder> {
        let (column, thresholds) = match consumer {
            "sms" => (0, vec![100, 500, 1000]),
            "events" => (1, vec![3, 6, 8, 10]),
            "common" => (2, vec![100, 500, 1000]),
            _ => return None,
        };
        let (_, columns) = ROWS.iter().find(|(most, _)| users <= *most)?;
        let (min, max) = columns[column];
        Some(Ladder::new(min, max, thresholds))
    }

    /// R(k) = min + ⌈k·(max−min)/n⌉ for k of n thresholds exceeded.
    pub fn new(min: i32, max: i32, thresholds: Vec<i64>) -> Ladder {
        let steps = thresholds.len() as i32;
        let rung = |exceeded: i32| min + (exceeded * (max - min) + steps - 1) / steps;
        Ladder {
            rungs: (0..=steps).map(rung).collect(),
            thresholds,
        }
    }

    /// Least replicas.
    pub fn min(&self) -> i32 {
        self.rungs[0]
    }

    /// Thresholds that a lag exceeds.
    pub fn exceeded(&self, lag: i64) -> usize {
        self.thresholds.iter().filter(|threshold| lag > **threshold).count()
    }

    /// Whether replica counts went from the least up the rungs, and back to the least one rung at a time. Answers
    /// the highest count, else what is wrong.
    pub fn judge(&self, history: &[i32]) -> Result<i32, String> {
        let mut rungs = self.rungs.clone();
        rungs.dedup();
        let (Some(first), Some(last)) = (history.first(), history.last()) else {
            return Err("no replica count was seen".to_owned());
        };
        if let Some(stray) = history.iter().find(|count| !rungs.contains(count)) {
            return Err(format!("{stray} is none of its rungs {rungs:?}"));
        }
        if *first != self.min() {
            return Err(format!("it began at {first}, not at its row's least {}", self.min()));
        }
        for step in history.windows(2) {
            let place = |count: i32| rungs.iter().position(|rung| *rung == count).unwrap_or(0);
            let (from, to) = (place(step[0]), place(step[1]));
            if to < from && from - to > 1 {
                return Err(format!(
                    "it went from {} to {}: more than one rung down",
                    step[0], step[1]
                ));
            }
        }
        let top = history.iter().copied().max().unwrap_or(*first);
        if top == self.min() {
            return Err("it never went up".to_owned());
        }
        if *last != self.min() {
            return Err(format!("it ended at {last}, not at its row's least {}", self.min()));
        }
        Ok(top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rungs_are_those_of_the_design() {
        let sms = Ladder::of("sms", 100_000).unwrap();
        assert_eq!(sms.rungs, [4, 8, 12, 16]);
        assert_eq!(
            [100, 101, 501, 1001].map(|lag| sms.rungs[sms.exceeded(lag)]),
            [4, 8, 12, 16]
        );
        assert_eq!(Ladder::of("sms", 50_000).unwrap().rungs, [2, 4, 6, 8]);
        assert_eq!(Ladder::of("events", 50_000).unwrap().rungs, [1, 2, 3, 4, 5]);
        assert_eq!(
            Ladder::of("common", 25_001).unwrap().rungs,
            [1, 3, 4, 5],
            "the next row up"
        );
        assert_eq!(Ladder::of("events", 1).unwrap().rungs, [1, 2, 2, 2, 2]);
        assert_eq!(Ladder::of("sms", 100_001), None);
    }

    #[test]
    fn a_climb_goes_up_in_leaps_and_down_in_steps() {
        let ladder = Ladder::new(2, 8, vec![100, 500, 1000]);
        assert_eq!(ladder.judge(&[2, 8, 6, 4, 2]), Ok(8));
        assert_eq!(ladder.judge(&[2, 4, 6, 4, 6, 4, 2]), Ok(6));
        let wrong: [(&[i32], &str); 6] = [
            (&[], "no replica count was seen"),
            (&[2, 2], "it never went up"),
            (&[2, 5, 2], "5 is none of its rungs [2, 4, 6, 8]"),
            (&[4, 6, 4, 2], "it began at 4, not at its row's least 2"),
            (&[2, 8, 4, 2], "it went from 8 to 4: more than one rung down"),
            (&[2, 8, 6], "it ended at 6, not at its row's least 2"),
        ];
        for (history, problem) in wrong {
            assert_eq!(ladder.judge(history), Err(problem.to_owned()));
        }
    }
}
