//! Offsets that are missing between two messages: those before the log's beginning were deleted by Kafka before they were
//! read; the others never were messages (markers of transactions), or were compacted.

use crate::topic::Partition;
use std::{
    collections::HashMap,
    ops::Range,
    time::{Duration, Instant},
};

/// How long the beginning of a log is believed: in topics with transactions something is always missing, and the broker
/// is not asked each time.
const FRESH: Duration = Duration::from_secs(60);

/// Where the logs begin, as far as that was asked.
#[derive(Debug, Default)]
pub(super) struct LogStarts {
    known: HashMap<Partition, (i64, Instant)>,
}

impl LogStarts {
    /// How many of the missing offsets Kafka had deleted. `ask` answers where the log begins, if that can be told.
    pub(super) fn expired(
        &mut self,
        partition: &Partition,
        missing: Range<i64>,
        ask: impl FnOnce() -> Option<i64>,
    ) -> i64 {
        let known = self.known.get(partition).filter(|(_, at)| at.elapsed() < FRESH);
        let start = match known {
            Some((start, _)) => *start,
            None => {
                let Some(start) = ask() else { return 0 };
                self.known.insert(partition.clone(), (start, Instant::now()));
                start
            }
        };
        start.clamp(missing.start, missing.end) - missing.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::partition;

    #[test]
    fn what_is_before_the_log_was_deleted() {
        let mut starts = LogStarts::default();
        assert_eq!(starts.expired(&partition(0), 10..20, || None), 0, "nobody can tell");
        assert_eq!(starts.expired(&partition(0), 10..20, || Some(17)), 7);
        assert_eq!(starts.expired(&partition(0), 20..22, || panic!("asked again")), 0);
        assert_eq!(starts.expired(&partition(1), 10..20, || Some(90)), 10);
        assert_eq!(starts.expired(&partition(2), 10..20, || Some(3)), 0);
    }
}
