//! The highest offset that Kafka has acknowledged in each partition, by which an acknowledgement is known that tells no
//! offset of its own.
//!
//! Where a broker says that it has a batch already, and nothing else about it, librdkafka counts it as acknowledged and
//! makes up its offsets, from -1 on: those would be the receipts of other messages. Offsets of a partition only grow, so
//! that one which was given before a message was queued cannot be that message's.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

/// No offset was acknowledged yet.
const NONE: i64 = -1;

/// Of all partitions. Shared by all who write.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    topics: RwLock<HashMap<String, Arc<[AtomicI64]>>>,
    /// Partitions in which an offset was given that was not new.
    doubts: Mutex<BTreeSet<(String, i32)>>,
}

/// What was acknowledged of a topic before a message was queued.
#[derive(Debug)]
pub(super) struct Before {
    then: Vec<i64>,
    now: Arc<[AtomicI64]>,
}

impl Acknowledged {
    /// Takes in how many partitions a topic has.
    pub(super) fn learn(&self, topic: &str, partitions: usize) {
        if self.of(topic).is_some_and(|known| known.len() >= partitions) {
            return;
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let known = topics.get(topic);
        let of_partition = |number| known.and_then(|known: &Arc<[AtomicI64]>| known.get(number));
        let highest = (0..partitions)
            .map(|number| AtomicI64::new(of_partition(number).map_or(NONE, |own| own.load(Ordering::Acquire))))
            .collect();
        topics.insert(topic.to_owned(), highest);
    }

    /// To be asked for before messages are queued.
    pub(super) fn before(&self, topic: &str) -> Before {
        let now = self.of(topic).unwrap_or_default();
        Before {
            then: now.iter().map(|highest| highest.load(Ordering::Acquire)).collect(),
            now,
        }
    }

    /// Notes that an offset of the partition was not new. It is so, too, where its log was cut, or its topic made again:
    /// to be found out by where it ends.
    pub(super) fn doubt(&self, topic: &str, partition: i32) {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.insert((topic.to_owned(), partition));
    }

    /// The partitions whose end has to be found out. They are forgotten by this.
    pub(super) fn doubtful(&self) -> BTreeSet<(String, i32)> {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *doubts)
    }

    /// Takes in where a partition ends. Answers the highest offset that was acknowledged where it lies past that: then
    /// offsets are given once more.
    pub(super) fn ends_at(&self, topic: &str, partition: i32, end: i64) -> Option<i64> {
        let known = self.of(topic)?;
        let highest = known.get(usize::try_from(partition).ok()?)?;
        let acknowledged = highest.load(Ordering::Acquire);
        if acknowledged < end {
            return None;
        }
        highest.store(end - 1, Ordering::Release);
        Some(acknowledged)
    }

    fn of(&self, topic: &str) -> Option<Arc<[AtomicI64]>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(topic).cloned()
    }
}

impl Before {
    /// Whether a message that was queued since may have this offset, which then counts as acknowledged.
    pub(super) fn allows(&self, partition: i32, offset: i64) -> bool {
        if offset < 0 || offset <= self.highest(partition) {
            return false;
        }
        let now = usize::try_from(partition).ok().and_then(|number| self.now.get(number));
        if let Some(highest) = now {
            highest.fetch_max(offset, Ordering::AcqRel);
        }
        true
    }

    fn highest(&self, partition: i32) -> i64 {
        let then = usize::try_from(partition).ok().and_then(|number| self.then.get(number));
        then.copied().unwrap_or(NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Acknowledged {
        let acknowledged = Acknowledged::default();
        acknowledged.learn("sms", 2);
        acknowledged
    }

    #[test]
    fn an_offset_is_above_what_was_acknowledged_before_its_message_was_queued() {
        let acknowledged = known();
        let (first, second) = (acknowledged.before("sms"), acknowledged.before("sms"));
        assert!(second.allows(0, 9));
        assert!(first.allows(0, 8), "queued at the same time, told later");
        let third = acknowledged.before("sms");
        for given in [-1, 0, 8, 9] {
            assert!(!third.allows(0, given), "{given}");
        }
        assert!(third.allows(0, 10));
        assert!(third.allows(1, 0), "of another partition");
        assert!(!acknowledged.before("events").allows(0, -1));
        assert!(
            acknowledged.before("events").allows(0, 0),
            "of a topic that is not known yet"
        );
    }

    #[test]
    fn partitions_are_added_and_what_is_known_stays() {
        let acknowledged = known();
        assert!(acknowledged.before("sms").allows(1, 5));
        acknowledged.learn("sms", 3);
        acknowledged.learn("sms", 1);
        let before = acknowledged.before("sms");
        assert!(!before.allows(1, 5));
        assert!(before.allows(2, 0));
        assert!(!acknowledged.before("sms").allows(2, 0));
    }

    #[test]
    fn offsets_begin_anew_where_the_partition_ends_sooner() {
        let acknowledged = known();
        assert!(acknowledged.before("sms").allows(0, 41));
        let before = acknowledged.before("sms");
        assert!(!before.allows(0, 3));
        acknowledged.doubt("sms", 0);
        acknowledged.doubt("sms", 0);
        assert_eq!(acknowledged.doubtful(), BTreeSet::from([("sms".to_owned(), 0)]));
        assert!(acknowledged.doubtful().is_empty());
        assert_eq!(acknowledged.ends_at("sms", 0, 42), None);
        assert!(!acknowledged.before("sms").allows(0, 3));
        assert_eq!(acknowledged.ends_at("sms", 0, 4), Some(41));
        assert!(acknowledged.before("sms").allows(0, 4));
    }
}
