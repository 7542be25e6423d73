//! The breaker: where nearly nothing can be stored, it is not the records that are wrong. Then nothing more is given up,
//! and a person has to look. Pure.

use std::collections::VecDeque;

/// Records that are looked at, at least: a few bad uploads are no pattern.
const WINDOW: u64 = 1_000;

/// The share of dead letters among the latest records of a lane.
#[derive(Debug, Clone)]
pub struct Breaker {
    /// Percent of the records from which on it is open; `None` for never.
    limit: Option<u8>,
    /// Records and dead letters of the latest batches, oldest first.
    latest: VecDeque<(u64, u64)>,
}

/// Nearly everything fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{failing} of the latest {records} records cannot be stored ({example}): nothing more is given up, and nothing is \
     lost. Correct the producer, the tables or this release; or set {variable} to 0 to let them become dead letters",
    variable = crate::config::DEAD_LETTER_LIMIT_PERCENT
)]
pub struct Open {
    /// Records looked at.
    pub records: u64,
    /// Of them, those that cannot be stored.
    pub failing: u64,
    /// Why one of them cannot be stored, without its content.
    pub example: String,
}

impl Breaker {
    /// Opens from `limit` percent on; never for 0.
    pub fn new(limit: u8) -> Breaker {
        Breaker {
            limit: (limit > 0).then_some(limit),
            latest: VecDeque::new(),
        }
    }

    /// Whether so many dead letters among the records of the next batch are still believed to be the records' own fault.
    pub fn admits(&self, records: u64, failing: u64, example: &str) -> Result<(), Open> {
        let Some(limit) = self.limit else { return Ok(()) };
        let sum = |part: fn(&(u64, u64)) -> u64| self.latest.iter().map(part).sum::<u64>();
        let records = records + sum(|(records, _)| *records);
        let all_failing = failing + sum(|(_, failing)| *failing);
        // What fails nothing more opens nothing.
        if failing == 0 || records < WINDOW || all_failing * 100 < records * u64::from(limit) {
            return Ok(());
        }
        Err(Open {
            records,
            failing: all_failing,
            example: example.to_owned(),
        })
    }

    /// A batch is done with.
    pub fn done(&mut self, records: u64, failing: u64) {
        self.latest.push_back((records, failing));
        let mut sum: u64 = self.latest.iter().map(|(records, _)| records).sum();
        while let Some((oldest, _)) = self.latest.front()
            && sum - oldest >= WINDOW
        {
            sum -= oldest;
            self.latest.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_few_bad_uploads_are_given_up_and_a_thousand_are_not() {
        let mut breaker = Breaker::new(90);
        assert_eq!(breaker.admits(999, 999, "x"), Ok(()));
        breaker.done(999, 898);
        assert_eq!(
            breaker.admits(1, 1, "x"),
            Ok(()),
            "899 of 1,000 are less than the limit"
        );
        breaker.done(1, 1);
        let open = breaker.admits(100, 100, "name: is missing").unwrap_err();
        assert_eq!((open.records, open.failing), (1_100, 999));
        assert!(open.to_string().starts_with(
            "999 of the latest 1100 records cannot be stored (name: is missing): nothing more is given up"
        ));
        assert_eq!(breaker.admits(100, 0, ""), Ok(()), "good records pass");
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let mut breaker = Breaker::new(90);
        breaker.done(5_000, 0);
        breaker.done(1_000, 900);
        assert!(breaker.admits(10, 10, "x").is_err());
        breaker.done(500, 0);
        assert_eq!(breaker.admits(100, 100, "x"), Ok(()));
    }

    #[test]
    fn without_a_limit_everything_is_admitted() {
        assert_eq!(Breaker::new(0).admits(10_000, 10_000, "x"), Ok(()));
    }

    proptest! {
        /// A share below the limit never opens it.
        #[test]
        fn a_smaller_share_never_opens_it(batches in proptest::collection::vec(1..3_000_u64, 1..40)) {
            let mut breaker = Breaker::new(90);
            for records in batches {
                let failing = records * 89 / 100;
                prop_assert_eq!(breaker.admits(records, failing, "x"), Ok(()));
                breaker.done(records, failing);
            }
        }
    }
}
