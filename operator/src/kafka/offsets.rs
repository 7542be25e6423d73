//! What the groups have read and what there is to read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use krafka::admin::{
    DescribeConsumerGroupsOptions, ListConsumerGroupOffsetsOptions, ListOffsetsOptions, OffsetSpec, TopicPartition,
};

use super::connection::{Cluster, KafkaError};
use crate::scale::lag::{Committed, Partition};

/// A reading that takes longer is worth nothing to a scaler that acts within a second or two.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// Start offsets move by retention only, which works in minutes.
const START_MAX_AGE: Duration = Duration::from_secs(30);

/// The partitions to be read, and the groups that read them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// Partitions of each topic.
    pub topics: BTreeMap<String, i32>,
    /// Topics of each group.
    pub groups: BTreeMap<String, Vec<String>>,
}

/// Offsets of every group at one moment: group → topic → partition.
pub type Reading = BTreeMap<String, BTreeMap<String, Vec<Partition>>>;

/// Offsets by topic and partition.
type Offsets = HashMap<(String, i32), i64>;

/// Start offsets, kept between readings.
#[derive(Debug, Default)]
pub struct Starts {
    known: Mutex<Option<(Instant, Offsets)>>,
}

impl Cluster {
    /// Reads committed offsets first and end offsets second, so that a busy reader never seems ahead of its
    /// topic. What cannot be read is unknown in the answer and does not fail the rest.
    pub async fn read_offsets(&self, subject: &Subject, starts: &Starts) -> Result<Reading, KafkaError> {
        let groups = subject.groups.keys().map(|group| async move {
            let options = ListConsumerGroupOffsetsOptions::default().timeout(READ_TIMEOUT);
            (
                group,
                self.admin.list_consumer_group_offsets(group.clone(), options).await,
            )
        });
        let committed: BTreeMap<_, _> = futures::future::join_all(groups).await.into_iter().collect();
        let ends = self.list(subject, OffsetSpec::Latest).await?;
        let starts = self.starts(subject, starts).await?;

        let mut reading = Reading::new();
        for (group, topics) in &subject.groups {
            let of_group = committed.get(group);
            let by_topic = reading.entry(group.clone()).or_default();
            for topic in topics {
                let partitions = subject.topics.get(topic).copied().unwrap_or(0);
                let rows = (0..partitions).map(|partition| {
                    let key = TopicPartition::new(topic.clone(), partition);
                    let committed = match of_group {
                        Some(Ok(offsets)) => match offsets.get(&key) {
                            None => Committed::Never,
                            Some(Ok(offset)) => offset.offset.map_or(Committed::Never, Committed::At),
                            Some(Err(_)) => Committed::Unknown,
                        },
                        _ => Committed::Unknown,
                    };
                    let at = (topic.clone(), partition);
                    Partition {
                        start: starts.get(&at).copied(),
                        committed,
                        end: ends.get(&at).copied(),
                    }
                });
                by_topic.insert(topic.clone(), rows.collect());
            }
        }
        Ok(reading)
    }

    /// Groups that are in the middle of a rebalance.
    pub async fn rebalancing(&self, groups: Vec<String>) -> Result<BTreeSet<String>, KafkaError> {
        let options = DescribeConsumerGroupsOptions::default().timeout(READ_TIMEOUT);
        let answers = self
            .admin
            .describe_consumer_groups(groups, options)
            .await
            .map_err(|error| self.error(error))?;
        let busy = |state: &str| {
            matches!(
                state,
                "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling"
            )
        };
        Ok(answers
            .into_iter()
            .filter_map(|(group, answer)| answer.ok().filter(|group| busy(&group.state)).map(|_| group))
            .collect())
    }

    async fn starts(&self, subject: &Subject, starts: &Starts) -> Result<Offsets, KafkaError> {
        let kept = starts.known.lock().ok().and_then(|kept| kept.clone());
        if let Some((read, offsets)) = kept
            && read.elapsed() < START_MAX_AGE
        {
            return Ok(offsets);
        }
        let offsets = self.list(subject, OffsetSpec::Earliest).await?;
        let wanted: i32 = subject.topics.values().sum();
        // An incomplete reading is used once and asked for again.
        if offsets.len() == usize::try_from(wanted).unwrap_or(0)
            && let Ok(mut kept) = starts.known.lock()
        {
            *kept = Some((Instant::now(), offsets.clone()));
        }
        Ok(offsets)
    }

    async fn list(&self, subject: &Subject, spec: OffsetSpec) -> Result<Offsets, KafkaError> {
        let wanted = subject.topics.iter().flat_map(|(topic, partitions)| {
            (0..*partitions).map(move |partition| (TopicPartition::new(topic.clone(), partition), spec))
        });
        // Our readers read committed data only: what an open transaction holds is not theirs to read yet.
        let options = ListOffsetsOptions::default().read_committed(true).timeout(READ_TIMEOUT);
        let answers = self
            .admin
            .list_offsets(wanted, options)
            .await
            .map_err(|error| self.error(error))?;
        Ok(answers
            .into_iter()
            .filter_map(|(key, answer)| answer.ok().map(|listed| ((key.topic, key.partition), listed.offset)))
            .collect())
    }
}
