//! Offsets that are missing between two messages: those before the log's beginning were deleted by Kafka before they were
//! read; the others never were messages (markers of transactions), or were compacted.

use crate::topic::Partition;
use std::{
    collections::HashMap,
    ops::Range,
    time::{Duration, Instant},
};

/// How long the beginning of a log is believed where next to nothing is missing: in topics with transactions something
/// always is, and the broker is not asked each time.
const FRESH: Duration = Duration::from_secs(60);
/// Most offsets that are next to nothing: the markers of a few transactions.
const MARKERS: i64 = 8;

/// Where the logs begin, as far as that was asked.
#[derive(Debug, Default)]
pub(super) struct LogStarts {
    known: HashMap<Partition, (i64, Instant)>,
}

impl LogStarts {
    /// How many of the missing offsets Kafka had deleted. `ask` answers where the log begins; `None` where that is needed
    /// and cannot be told.
    pub(super) fn expired(
        &mut self,
        partition: &Partition,
        missing: Range<i64>,
        ask: impl FnOnce() -> Option<i64>,
    ) -> Option<i64> {
        let known = self.known.get(partition).filter(|(start, asked)| {
            // A log only ever loses more of its beginning.
            let lost_all = *start >= missing.end;
            let lost_none = *start <= missing.start && missing.end - missing.start <= MARKERS;
            lost_all || lost_none && asked.elapsed() < FRESH
        });
        let start = match known {
            Some((start, _)) => *start,
            None => {
                let start = ask()?;
                self.known.insert(partition.clone(), (start, Instant::now()));
                start
            }
        };
        Some(start.clamp(missing.start, missing.end) - missing.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::partition;

    #[test]
    fn what_is_before_the_log_was_deleted() {
        let mut starts = LogStarts::default();
        assert_eq!(starts.expired(&partition(0), 10..20, || Some(17)), Some(7));
        assert_eq!(starts.expired(&partition(1), 10..20, || Some(90)), Some(10));
        assert_eq!(starts.expired(&partition(2), 10..20, || Some(3)), Some(0));
    }

    #[test]
    fn nothing_is_taken_for_a_marker_while_nobody_can_tell() {
        let mut starts = LogStarts::default();
        assert_eq!(starts.expired(&partition(0), 10..12, || None), None);
        assert_eq!(starts.expired(&partition(0), 10..12, || Some(3)), Some(0));
        assert_eq!(starts.expired(&partition(0), 30..90, || None), None);
    }

    #[test]
    fn the_broker_is_asked_again_unless_what_is_known_is_enough() {
        let mut starts = LogStarts::default();
        let asked_again = || panic!("asked again");
        assert_eq!(starts.expired(&partition(0), 10..20, || Some(3)), Some(0));
        // A marker, a cut, and what lies before it.
        assert_eq!(starts.expired(&partition(0), 20..21, asked_again), Some(0));
        assert_eq!(starts.expired(&partition(0), 30..90, || Some(90)), Some(60));
        assert_eq!(starts.expired(&partition(0), 40..70, asked_again), Some(30));
        // A beginning in the midst of what is missing may have moved on.
        assert_eq!(starts.expired(&partition(0), 89..95, || Some(94)), Some(5));
    }
}
