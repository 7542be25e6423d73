//! From which offset a partition is read: the ledger's. Where the ledger has never seen a topic of this name, Kafka's
//! committed offset becomes its first entry; else, or where there is none, the earliest offset there is.
//!
//! Kafka keeps committed offsets by the topic's name. So a commit of a reader of the topic's predecessor may outlive
//! that one, and must not hide messages of the new topic.

use super::{BROKER_TIMEOUT, KAFKA, ReadError, membership::Membership};
use crate::{
    retry::Backoff,
    sink::{POSTGRES, StoreError},
    topic::Partition,
    topic_ids::TopicIdsError,
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use std::collections::{BTreeMap, BTreeSet};

/// Why the start offsets are not known.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    TopicIds(#[from] TopicIdsError),
    #[error("Kafka does not tell its offsets: {0}")]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Membership {
    /// The start offsets of these partitions, however long it takes to get them. `None` when the process is to stop,
    /// or when the group has taken the partitions away meanwhile.
    pub(super) fn starts_with_patience(
        &self,
        consumer: &BaseConsumer<Membership>,
        partitions: &BTreeSet<Partition>,
    ) -> Option<BTreeMap<Partition, i64>> {
        let mut backoff = Backoff::brief();
        loop {
            let error = match self.starts(consumer, partitions) {
                Ok(starts) => return Some(starts),
                Err(error) => error,
            };
            match error {
                StartError::Read(error) => {
                    self.state().failure = Some(error);
                    return None;
                }
                StartError::Store(error) => self.health.set(POSTGRES, Err(error.reason)),
                error => self.health.set(KAFKA, Err(error.to_string())),
            }
            if consumer.assignment_lost() || !self.runtime.block_on(backoff.wait(&self.stop)) {
                return None;
            }
        }
    }

    fn starts(
        &self,
        consumer: &BaseConsumer<Membership>,
        partitions: &BTreeSet<Partition>,
    ) -> Result<BTreeMap<Partition, i64>, StartError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let now = self.runtime.block_on(self.topic_ids.read())?;
        self.topics.same_as(&now)?;
        self.health.set(KAFKA, Ok(()));
        let known = self
            .runtime
            .block_on(self.postgres.read_ledger(&self.ledger, partitions))?;
        self.health.set(POSTGRES, Ok(()));
        let new: BTreeSet<Partition> = partitions
            .iter()
            .filter(|one| !known.contains_key(one))
            .cloned()
            .collect();
        if new.is_empty() {
            return Ok(known);
        }
        let names = new.iter().map(|one| one.topic.name.clone()).collect();
        let seen = self
            .runtime
            .block_on(self.postgres.known_topics(&self.ledger, &names))?;
        let first = first_offsets(consumer, &new, &seen)?;
        self.runtime
            .block_on(self.postgres.create_ledger(&self.ledger, &first))?;
        // Another reader may have been faster.
        Ok(self
            .runtime
            .block_on(self.postgres.read_ledger(&self.ledger, partitions))?)
    }

    /// Whether the partition's topic is still the one that this process began with.
    pub(super) fn check_identity(&self, partition: &Partition) -> Result<(), ReadError> {
        let now = self
            .runtime
            .block_on(self.topic_ids.read())
            .map_err(|source| ReadError::Unknown {
                partition: partition.to_string(),
                source,
            })?;
        self.topics.same_as(&now)
    }
}

/// `seen` are the topics whose commits in Kafka may be about a predecessor.
fn first_offsets(
    consumer: &BaseConsumer<Membership>,
    partitions: &BTreeSet<Partition>,
    seen: &BTreeSet<String>,
) -> Result<BTreeMap<Partition, i64>, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic.name, partition.number);
    }
    let committed = consumer.committed_offsets(list, BROKER_TIMEOUT)?.to_topic_map();
    partitions
        .iter()
        .map(|partition| {
            let offset = match committed.get(&(partition.topic.name.clone(), partition.number)) {
                Some(Offset::Offset(offset)) if !seen.contains(&partition.topic.name) => *offset,
                _ => {
                    consumer
                        .fetch_watermarks(&partition.topic.name, partition.number, BROKER_TIMEOUT)?
                        .0
                }
            };
            Ok((partition.clone(), offset))
        })
        .collect()
}
