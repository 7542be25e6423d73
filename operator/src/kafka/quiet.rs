//! Groups that have read everything. Pure.
//!
//! As long as nothing is added to its topics, such a group cannot have read any more, and need not be asked. It is
//! asked again now and then all the same: somebody may have set it back.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::offsets::Offsets;
use crate::scale::lag::{self, Partition};

/// How long a group is taken at its last word.
const MAX_AGE: Duration = Duration::from_secs(10);

/// Partitions of each topic of one group.
type OfGroup = BTreeMap<String, Vec<Partition>>;

/// The groups of one pipeline that have read everything.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    groups: HashMap<String, (Instant, OfGroup)>,
}

impl Quiet {
    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Notes what was read of a group.
    pub(super) fn note(&mut self, group: &str, reading: &OfGroup, now: Instant) {
        let everything = |partitions: &Vec<Partition>| {
            let mut lags = partitions.iter().map(lag::of_partition);
            !partitions.is_empty() && lags.all(|lag| lag == Some(0))
        };
        if !reading.is_empty() && reading.values().all(everything) {
            self.groups.insert(group.to_owned(), (now, reading.clone()));
        } else {
            self.groups.remove(group);
        }
    }

    /// What was read of the group, if it is the same with these ends.
    pub(super) fn still(&self, group: &str, ends: &Offsets, now: Instant) -> Option<&OfGroup> {
        let (read, reading) = self.groups.get(group)?;
        let same = |topic: &String, number: usize, partition: &Partition| {
            let number = i32::try_from(number).unwrap_or(i32::MAX);
            let end = ends.get(&(topic.clone(), number)).copied();
            end.is_some() && end == partition.end
        };
        let all_same = reading.iter().all(|(topic, partitions)| {
            let mut partitions = partitions.iter().enumerate();
            partitions.all(|(number, partition)| same(topic, number, partition))
        });
        (all_same && now.duration_since(*read) < MAX_AGE).then_some(reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::lag::Committed;

    fn reading(committed: i64, end: i64) -> OfGroup {
        let partition = Partition {
            start: Some(0),
            committed: Committed::At(committed),
            end: Some(end),
        };
        BTreeMap::from([("t".to_owned(), vec![partition])])
    }

    fn ends(end: i64) -> Offsets {
        Offsets::from([(("t".to_owned(), 0), end)])
    }

    #[test]
    fn a_group_that_has_read_everything_is_asked_again_once_there_is_more() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        quiet.note("g", &reading(5, 5), now);
        assert_eq!(quiet.still("g", &ends(5), now), Some(&reading(5, 5)));
        assert_eq!(quiet.still("g", &ends(6), now), None);
        assert_eq!(quiet.still("g", &Offsets::new(), now), None, "ends that are not known");
        assert_eq!(
            quiet.still("g", &ends(5), now + MAX_AGE),
            None,
            "it may have been set back"
        );
        assert_eq!(quiet.still("other", &ends(5), now), None);
    }

    #[test]
    fn a_group_that_is_behind_or_unknown_is_asked_each_time() {
        let (mut quiet, now) = (Quiet::default(), Instant::now());
        quiet.note("g", &reading(5, 5), now);
        quiet.note("g", &reading(5, 6), now);
        assert_eq!(quiet.still("g", &ends(6), now), None);
        let mut unknown = reading(5, 5);
        unknown.get_mut("t").unwrap()[0].committed = Committed::Unknown;
        quiet.note("g", &unknown, now);
        quiet.note("none", &OfGroup::new(), now);
        quiet.note("no partitions", &OfGroup::from([("t".to_owned(), vec![])]), now);
        assert!(quiet.is_empty());
    }
}
