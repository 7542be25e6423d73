//! The breaker: where nearly nothing can be stored, it is not the records that are wrong. Then nothing more is given up,
//! and a person has to look. Pure.

use std::collections::VecDeque;

/// Records that are looked at, at least: a few bad ones are no pattern.
const WINDOW: u64 = 1_000;
/// Messages that are looked at, at least: all records of one have one sender.
const MESSAGES: u64 = 20;

/// What is looked at of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Records, good and bad.
    pub records: u64,
    /// Those that cannot be stored.
    pub failing: u64,
    /// Messages.
    pub messages: u64,
    /// Those in which a record cannot be stored.
    pub failing_messages: u64,
}

/// The share of dead letters among the latest records of a lane.
#[derive(Debug, Clone)]
pub struct Breaker {
    /// Percent of the records from which on it is open; `None` for never.
    limit: Option<u8>,
    /// The latest batches, oldest first.
    latest: VecDeque<Share>,
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

    /// Whether the dead letters of the next batch are still believed to be the records' own fault. `example` says why one
    /// of them is one.
    pub fn admits(&self, next: Share, example: &str) -> Result<(), Open> {
        let Some(limit) = self.limit else { return Ok(()) };
        let sum = |part: fn(&Share) -> u64| part(&next) + self.latest.iter().map(part).sum::<u64>();
        let (records, failing) = (sum(|share| share.records), sum(|share| share.failing));
        let (messages, failing_messages) = (sum(|share| share.messages), sum(|share| share.failing_messages));
        let is_few = records < WINDOW || messages < MESSAGES;
        let is_little = |part: u64, of: u64| part * 100 < of * u64::from(limit);
        // One large upload is many records, and still one client's. What fails nothing more opens nothing.
        if next.failing == 0 || is_few || is_little(failing, records) || is_little(failing_messages, messages) {
            return Ok(());
        }
        Err(Open {
            records,
            failing,
            example: example.to_owned(),
        })
    }

    /// A batch is done with.
    pub fn done(&mut self, share: Share) {
        self.latest.push_back(share);
        let sum = |part: fn(&Share) -> u64| self.latest.iter().map(part).sum::<u64>();
        let (mut records, mut messages) = (sum(|share| share.records), sum(|share| share.messages));
        while let Some(oldest) = self.latest.front()
            && records - oldest.records >= WINDOW
            && messages - oldest.messages >= MESSAGES
        {
            records -= oldest.records;
            messages -= oldest.messages;
            self.latest.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Uploads of a record each.
    fn share(records: u64, failing: u64) -> Share {
        Share {
            records,
            failing,
            messages: records,
            failing_messages: failing,
        }
    }

    #[test]
    fn a_few_bad_uploads_are_given_up_and_a_thousand_are_not() {
        let mut breaker = Breaker::new(90);
        assert_eq!(breaker.admits(share(999, 999), "x"), Ok(()));
        breaker.done(share(999, 898));
        assert_eq!(
            breaker.admits(share(1, 1), "x"),
            Ok(()),
            "899 of 1,000 are less than the limit"
        );
        breaker.done(share(1, 1));
        let open = breaker.admits(share(100, 100), "name: is missing").unwrap_err();
        assert_eq!((open.records, open.failing), (1_100, 999));
        assert!(open.to_string().starts_with(
            "999 of the latest 1100 records cannot be stored (name: is missing): nothing more is given up"
        ));
        assert_eq!(breaker.admits(share(100, 0), ""), Ok(()), "good records pass");
    }

    #[test]
    fn a_large_bad_upload_of_one_user_is_given_up() {
        let large = |failing_messages| Share {
            records: 1_000 * failing_messages,
            failing: 1_000 * failing_messages,
            messages: failing_messages,
            failing_messages,
        };
        let mut breaker = Breaker::new(90);
        breaker.done(share(30, 0));
        assert_eq!(breaker.admits(large(1), "x"), Ok(()), "one of 31 messages");
        let mut breaker = Breaker::new(90);
        for _ in 0..19 {
            assert_eq!(breaker.admits(large(1), "x"), Ok(()));
            breaker.done(large(1));
        }
        assert!(breaker.admits(large(1), "x").is_err());
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let mut breaker = Breaker::new(90);
        breaker.done(share(5_000, 0));
        breaker.done(share(1_000, 900));
        assert!(breaker.admits(share(10, 10), "x").is_err());
        breaker.done(share(500, 0));
        assert_eq!(breaker.admits(share(100, 100), "x"), Ok(()));
    }

    #[test]
    fn without_a_limit_everything_is_admitted() {
        assert_eq!(Breaker::new(0).admits(share(10_000, 10_000), "x"), Ok(()));
    }

    proptest! {
        /// A share below the limit never opens it.
        #[test]
        fn a_smaller_share_never_opens_it(batches in proptest::collection::vec(1..3_000_u64, 1..40)) {
            let mut breaker = Breaker::new(90);
            for records in batches {
                let next = share(records, records * 89 / 100);
                prop_assert_eq!(breaker.admits(next, "x"), Ok(()));
                breaker.done(next);
            }
        }
    }
}
