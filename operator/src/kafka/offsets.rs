//! What the groups have read and what there is to read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use krafka::admin::{
    DescribeConsumerGroupsOptions, ListConsumerGroupOffsetsOptions, ListOffsetsOptions, OffsetSpec, TopicPartition,
};

use super::connection::{Cluster, KafkaError};
use super::gather::Gather;
use super::quiet::Quiet;
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
pub(super) type Offsets = HashMap<(String, i32), i64>;

/// What the ends of many pipelines' topics are, or why that is not known.
pub(super) type Ends = Gather<(String, i32), Result<Arc<Offsets>, KafkaError>>;

/// With whom ends are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// In a request of its own: nobody else's trouble delays it.
    Alone,
    /// In one request with everybody who asks at nearly the same time.
    Others,
}

/// What is kept between the readings of one pipeline.
#[derive(Debug, Default)]
pub struct Kept {
    starts: Option<(Instant, Offsets)>,
    quiet: Quiet,
    /// Whether some end could not be read: such a question takes long, and nobody else shall wait for it.
    troubled: bool,
}

impl Cluster {
    /// Reads committed offsets first and end offsets second, so that a busy reader never seems ahead of its
    /// topic. What cannot be read is unknown in the answer and does not fail the rest. Groups that have read
    /// everything are not asked while nothing is added to their topics.
    pub async fn read_offsets(
        self: &Arc<Self>,
        subject: &Subject,
        kept: &mut Kept,
        company: Company,
    ) -> Result<Reading, KafkaError> {
        let mut reading = Reading::new();
        if !kept.quiet.is_empty() {
            let ends = self.ends(subject, kept, company).await?;
            let now = Instant::now();
            for group in subject.groups.keys() {
                if let Some(of_group) = kept.quiet.still(group, &ends, now) {
                    reading.insert(group.clone(), of_group.clone());
                }
            }
        }
        let to_ask: Vec<&String> = subject
            .groups
            .keys()
            .filter(|group| !reading.contains_key(*group))
            .collect();
        if to_ask.is_empty() {
            return Ok(reading);
        }
        let groups = to_ask.iter().map(|group| async move {
            let options = ListConsumerGroupOffsetsOptions::default().timeout(READ_TIMEOUT);
            let answer = self.admin.list_consumer_group_offsets((*group).clone(), options);
            (*group, answer.await)
        });
        let committed: BTreeMap<_, _> = futures::future::join_all(groups).await.into_iter().collect();
        let ends = self.ends(subject, kept, company).await?;
        let starts = self.starts(subject, kept).await?;

        let now = Instant::now();
        for group in to_ask {
            let of_group = committed.get(group);
            let mut by_topic = BTreeMap::new();
            for topic in subject.groups.get(group).into_iter().flatten() {
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
            kept.quiet.note(group, &by_topic, now);
            reading.insert(group.clone(), by_topic);
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

    async fn starts(&self, subject: &Subject, kept: &mut Kept) -> Result<Offsets, KafkaError> {
        if let Some((read, offsets)) = &kept.starts
            && read.elapsed() < START_MAX_AGE
        {
            return Ok(offsets.clone());
        }
        let offsets = self.list(partitions(subject), OffsetSpec::Earliest).await?;
        // An incomplete reading is used once and asked for again.
        if offsets.len() == partitions(subject).count() {
            kept.starts = Some((Instant::now(), offsets.clone()));
        }
        Ok(offsets)
    }

    async fn ends(
        self: &Arc<Self>,
        subject: &Subject,
        kept: &mut Kept,
        company: Company,
    ) -> Result<Arc<Offsets>, KafkaError> {
        let ends = if company == Company::Alone || kept.troubled {
            Arc::new(self.list(partitions(subject), OffsetSpec::Latest).await?)
        } else {
            let cluster = self.clone();
            let asking = self.ends.ask(partitions(subject), |all| async move {
                cluster.list(all, OffsetSpec::Latest).await.map(Arc::new)
            });
            asking.await?
        };
        kept.troubled = !partitions(subject).all(|partition| ends.contains_key(&partition));
        Ok(ends)
    }

    async fn list(
        &self,
        partitions: impl IntoIterator<Item = (String, i32)>,
        spec: OffsetSpec,
    ) -> Result<Offsets, KafkaError> {
        let wanted = partitions
            .into_iter()
            .map(|(topic, partition)| (TopicPartition::new(topic, partition), spec));
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

fn partitions(subject: &Subject) -> impl Iterator<Item = (String, i32)> {
    let topics = subject.topics.iter();
    topics.flat_map(|(topic, partitions)| (0..*partitions).map(|partition| (topic.clone(), partition)))
}
