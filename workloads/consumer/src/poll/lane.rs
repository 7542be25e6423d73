//! Lanes: partitions whose records are written together, one batch after the other. Each topic has its own, so that a
//! store that is slow or fails for one source holds nobody else up, and as many as are written at a time.

use crate::{
    batch::usual_records,
    collected::Collected,
    config::BatchLimits,
    topic::{Partition, Topic, Topics},
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// Batches with a lane's writer: one being written, one waiting.
pub const BATCHES_WITH_WRITER: usize = 2;
/// Batches of a lane that are in memory: one more is being collected.
const BATCHES: usize = BATCHES_WITH_WRITER + 1;

/// What of one lane is on its way.
pub(super) struct Lane {
    /// What is being collected.
    pub(super) collected: Collected,
    /// Records that a message has on average, as the writer found it in the last ones.
    pub(super) density: f64,
    /// Partitions of the batches that are with the writer, oldest first.
    pub(super) in_flight: VecDeque<BTreeSet<Partition>>,
    /// Since when a full batch has been waiting for the writer.
    pub(super) blocked_since: Option<Instant>,
    /// Its partitions are paused.
    pub(super) paused: bool,
}

impl Lane {
    /// Whether the writer takes another batch.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < BATCHES_WITH_WRITER
    }
}

/// All lanes of a reader.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    topics: Vec<Arc<Topic>>,
    of_topic: usize,
    limits: BatchLimits,
}

/// How many lanes there are for these topics, with so many of each.
pub fn count(topics: &Topics, of_topic: usize) -> usize {
    topics.topics.len() * of_topic
}

impl Lanes {
    /// Lanes with nothing in them: `of_topic` of each topic, at least one.
    pub(super) fn new(topics: &Topics, of_topic: usize, limits: BatchLimits) -> Lanes {
        let count = count(topics, of_topic);
        // What all batches may hold together is what bounds the memory of this process.
        let limits = BatchLimits {
            bytes: (limits.bytes / (count * BATCHES).max(1)).max(1),
            ..limits
        };
        let of_each = topics
            .topics
            .iter()
            .flat_map(|topic| std::iter::repeat_n(topic, of_topic));
        let lane = |topic: &Arc<Topic>| {
            let density = usual_records(topic.source) as f64;
            Lane {
                collected: Collected::new(limits, density, 0),
                density,
                in_flight: VecDeque::new(),
                blocked_since: None,
                paused: false,
            }
        };
        Lanes {
            lanes: of_each.map(lane).collect(),
            topics: topics.topics.clone(),
            of_topic,
            limits,
        }
    }

    /// Number of the lane of this partition.
    pub(super) fn number(&self, partition: &Partition) -> usize {
        let topic = self.topics.iter().position(|topic| topic.id == partition.topic.id);
        let place = usize::try_from(partition.number).unwrap_or(0) % self.of_topic;
        topic.unwrap_or(0) * self.of_topic + place
    }

    /// The lane of this partition.
    pub(super) fn of(&mut self, partition: &Partition) -> &mut Lane {
        let number = self.number(partition);
        &mut self.lanes[number]
    }

    /// The lane of this number.
    pub(super) fn at(&mut self, number: usize) -> &mut Lane {
        &mut self.lanes[number]
    }

    /// The offset that is to come next among those collected; `None` where nothing of the partition is.
    pub(super) fn next(&self, partition: &Partition) -> Option<i64> {
        self.lanes[self.number(partition)].collected.moves.next(partition)
    }

    /// Whether the partition is paused.
    pub(super) fn is_paused(&self, partition: &Partition) -> bool {
        self.lanes[self.number(partition)].paused
    }

    /// What was collected in this lane; it begins anew with nothing.
    pub(super) fn take(&mut self, number: usize, epoch: u64) -> Collected {
        let lane = &mut self.lanes[number];
        let nothing = Collected::new(self.limits, lane.density, epoch);
        let collected = std::mem::replace(&mut lane.collected, nothing);
        lane.in_flight
            .push_back(collected.moves.partitions().cloned().collect());
        lane.blocked_since = None;
        collected
    }

    /// Drops what was collected everywhere.
    pub(super) fn clear(&mut self, epoch: u64) {
        for lane in &mut self.lanes {
            lane.collected = Collected::new(self.limits, lane.density, epoch);
        }
    }

    /// Drops what was collected of these partitions.
    pub(super) fn forget(&mut self, partitions: &BTreeSet<Partition>) {
        for lane in &mut self.lanes {
            lane.collected.forget(partitions);
        }
    }

    /// Whether a writer has something of these partitions.
    pub(super) fn is_writing(&self, partitions: &BTreeSet<Partition>) -> bool {
        let mut in_flight = self.lanes.iter().flat_map(|lane| &lane.in_flight);
        in_flight.any(|batch| !batch.is_disjoint(partitions))
    }

    /// Whether everything that was collected is written.
    pub(super) fn is_done(&self) -> bool {
        self.lanes
            .iter()
            .all(|lane| lane.collected.is_empty() && lane.in_flight.is_empty())
    }

    /// When the next batch is due; `None` where nothing is collected. Batches that wait for a writer do not count.
    pub(super) fn due_in(&self) -> Option<Duration> {
        let waiting = self.lanes.iter().filter(|lane| lane.blocked_since.is_none());
        waiting.filter_map(|lane| lane.collected.due_in()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{
        Delivery,
        tests::{delivery, kept},
    };
    use contract::Source;
    use uuid::Uuid;

    fn topics() -> Topics {
        let topic = |source: Source, id| {
            Arc::new(Topic {
                name: source.topic().to_owned(),
                id: Uuid::from_u128(id),
                source,
            })
        };
        Topics {
            cluster: "c".into(),
            topics: vec![topic(Source::Sms, 1), topic(Source::Contacts, 2)],
        }
    }

    fn partition(topics: &Topics, topic: usize, number: i32) -> Partition {
        Partition {
            topic: topics.topics[topic].clone(),
            number,
        }
    }

    fn limits() -> BatchLimits {
        BatchLimits {
            records: 1_000,
            bytes: 1_200,
            linger: Duration::from_secs(3_600),
        }
    }

    fn message(partition: &Partition, bytes: usize) -> Delivery<'_> {
        Delivery {
            partition,
            ..delivery(0, 0, Some(kept(vec![b'x'; bytes])))
        }
    }

    #[test]
    fn topics_share_no_lane_and_a_partition_always_has_the_same() {
        let topics = topics();
        let lanes = Lanes::new(&topics, 2, limits());
        let number = |topic, number| lanes.number(&partition(&topics, topic, number));
        assert_eq!(lanes.lanes.len(), 4);
        assert_eq!([number(0, 0), number(0, 1), number(0, 2), number(0, 7)], [0, 1, 0, 1]);
        assert_eq!([number(1, 0), number(1, 1)], [2, 3]);
    }

    #[test]
    fn all_batches_together_hold_no_more_than_the_limit() {
        let topics = topics();
        let mut lanes = Lanes::new(&topics, 2, limits());
        let one = partition(&topics, 1, 0);
        lanes.of(&one).collected.push(message(&one, 99), 0).unwrap();
        assert_ne!(lanes.due_in(), Some(Duration::ZERO));
        let other = partition(&topics, 1, 1);
        lanes.of(&other).collected.push(message(&other, 100), 0).unwrap();
        assert_eq!(
            lanes.due_in(),
            Some(Duration::ZERO),
            "1,200 bytes are 100 for each of 12 batches"
        );
    }

    #[test]
    fn what_is_with_the_writer_is_writing_until_it_says_so() {
        let topics = topics();
        let mut lanes = Lanes::new(&topics, 1, limits());
        let (one, other) = (partition(&topics, 0, 0), partition(&topics, 0, 1));
        lanes.of(&one).collected.push(message(&one, 1), 0).unwrap();
        assert!(!lanes.is_writing(&BTreeSet::from([one.clone()])));
        assert_eq!(lanes.next(&one), Some(1));
        let number = lanes.number(&one);
        let collected = lanes.take(number, 0);
        assert_eq!(collected.len(), 1);
        assert_eq!(lanes.next(&one), None);
        assert!(lanes.is_writing(&BTreeSet::from([one.clone()])));
        assert!(!lanes.is_writing(&BTreeSet::from([other])));
        assert!(!lanes.is_done());
        lanes.at(number).in_flight.pop_front();
        assert!(lanes.is_done());
    }

    #[test]
    fn a_batch_that_waits_for_its_writer_hurries_nobody() {
        let topics = topics();
        let mut lanes = Lanes::new(&topics, 1, limits());
        let one = partition(&topics, 0, 0);
        lanes.of(&one).collected.push(message(&one, 1_000), 0).unwrap();
        assert_eq!(lanes.due_in(), Some(Duration::ZERO));
        lanes.of(&one).blocked_since = Some(Instant::now());
        assert_eq!(lanes.due_in(), None);
    }
}
