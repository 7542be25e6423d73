//! What the groups have read and what there is to read.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use krafka::admin::{
    DescribeConsumerGroupsOptions, GroupOffset, ListConsumerGroupOffsetsOptions, ListOffsetsOptions, OffsetSpec,
    TopicPartition,
};
use krafka::error::KrafkaError;

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

impl Subject {
    fn partitions(&self, topic: &str) -> i32 {
        self.topics.get(topic).copied().unwrap_or(0)
    }
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

/// What a consumer group is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupState {
    /// Its members.
    pub members: i32,
    /// Whether it is in the middle of a rebalance.
    pub is_rebalancing: bool,
}

/// Whose end of a partition is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// That of our readers, who read committed data only: what an open transaction holds is not theirs to read yet.
    Committed,
    /// That of the log.
    Uncommitted,
}

/// States of a group, of either protocol, in which partitions are being handed out.
const REBALANCING: [&str; 4] = ["PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling"];

/// What Kafka says of the commits of one group.
type GroupAnswer = Result<HashMap<TopicPartition, Result<GroupOffset, KrafkaError>>, KrafkaError>;

/// Commits of one group by topic and partition.
type OfGroup = HashMap<(String, i32), Committed>;

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
            // A new coordinator answers before it knows that the last commits are on enough brokers: such an answer would lack
            // them, and everything would seem to wait.
            let options = ListConsumerGroupOffsetsOptions::default()
                .require_stable(true)
                .timeout(READ_TIMEOUT);
            let answer = self.admin.list_consumer_group_offsets((*group).clone(), options);
            (*group, answer.await)
        });
        let committed: BTreeMap<_, _> = futures::future::join_all(groups).await.into_iter().collect();
        let ends = self.ends(subject, kept, company).await?;
        let mut starts = self.starts(subject, kept).await?;
        if starts
            .iter()
            .any(|(at, start)| ends.get(at).is_some_and(|end| start > end))
        {
            // They are of a topic that was made anew since.
            kept.starts = None;
            starts = self.starts(subject, kept).await?;
        }
        let committed: BTreeMap<&String, OfGroup> = to_ask
            .iter()
            .map(|group| (*group, of_group(subject, group, committed.get(*group))))
            .collect();
        let ahead: BTreeSet<_> = committed
            .values()
            .flatten()
            .filter(|(at, committed)| {
                let end = ends.get(*at);
                matches!(committed, Committed::At(offset) if end.is_some_and(|end| offset > end))
            })
            .map(|(at, _)| at.clone())
            .collect();
        let log_ends = self.log_ends(ahead).await?;

        let now = Instant::now();
        for group in to_ask {
            let of_group = committed.get(group);
            let mut by_topic = BTreeMap::new();
            for topic in subject.groups.get(group).into_iter().flatten() {
                let rows = (0..subject.partitions(topic)).map(|partition| {
                    let at = (topic.clone(), partition);
                    let committed = of_group.and_then(|of_group| of_group.get(&at));
                    let committed = committed.copied().unwrap_or(Committed::Unknown);
                    Partition {
                        start: starts.get(&at).copied(),
                        committed,
                        end: ends
                            .get(&at)
                            .and_then(|end| readable_end(*end, committed, log_ends.get(&at).copied())),
                    }
                });
                by_topic.insert(topic.clone(), rows.collect());
            }
            kept.quiet.note(group, &by_topic, now);
            reading.insert(group.clone(), by_topic);
        }
        Ok(reading)
    }

    /// What the groups are like; those that are not known are left out.
    pub async fn groups(&self, groups: Vec<String>) -> Result<BTreeMap<String, GroupState>, KafkaError> {
        let options = DescribeConsumerGroupsOptions::default().timeout(READ_TIMEOUT);
        let answers = self
            .admin
            .describe_consumer_groups(groups, options)
            .await
            .map_err(|error| self.error(error))?;
        let known = answers
            .into_iter()
            .filter_map(|(name, answer)| Some((name, answer.ok()?)));
        let state = known.map(|(name, group)| {
            let state = GroupState {
                members: i32::try_from(group.members.len()).unwrap_or(i32::MAX),
                is_rebalancing: REBALANCING.contains(&group.state.as_str()),
            };
            (name, state)
        });
        Ok(state.collect())
    }

    /// Ends of the logs of some partitions, open transactions and all; those that are not known are left out.
    async fn log_ends(&self, partitions: BTreeSet<(String, i32)>) -> Result<Offsets, KafkaError> {
        if partitions.is_empty() {
            return Ok(Offsets::new());
        }
        self.list(partitions, OffsetSpec::Latest, Isolation::Uncommitted).await
    }

    async fn starts(&self, subject: &Subject, kept: &mut Kept) -> Result<Offsets, KafkaError> {
        if let Some((read, offsets)) = &kept.starts
            && read.elapsed() < START_MAX_AGE
        {
            return Ok(offsets.clone());
        }
        let offsets = self
            .list(partitions(subject), OffsetSpec::Earliest, Isolation::Committed)
            .await?;
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
            Arc::new(
                self.list(partitions(subject), OffsetSpec::Latest, Isolation::Committed)
                    .await?,
            )
        } else {
            let cluster = self.clone();
            let asking = self.ends.ask(partitions(subject), |all| async move {
                cluster
                    .list(all, OffsetSpec::Latest, Isolation::Committed)
                    .await
                    .map(Arc::new)
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
        isolation: Isolation,
    ) -> Result<Offsets, KafkaError> {
        let wanted = partitions
            .into_iter()
            .map(|(topic, partition)| (TopicPartition::new(topic, partition), spec));
        let options = ListOffsetsOptions::default()
            .read_committed(isolation == Isolation::Committed)
            .timeout(READ_TIMEOUT);
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

/// What a group has committed of each of the topics that it reads.
fn of_group(subject: &Subject, group: &str, answer: Option<&GroupAnswer>) -> OfGroup {
    let read = subject.groups.get(group).into_iter().flatten();
    let read = read.flat_map(|topic| (0..subject.partitions(topic)).map(|partition| (topic.clone(), partition)));
    let committed = |(topic, partition): &(String, i32)| match answer {
        Some(Ok(offsets)) => match offsets.get(&TopicPartition::new(topic.clone(), *partition)) {
            None => Committed::Never,
            Some(Ok(offset)) => offset.offset.map_or(Committed::Never, Committed::At),
            Some(Err(_)) => Committed::Unknown,
        },
        _ => Committed::Unknown,
    };
    read.map(|at| {
        let committed = committed(&at);
        (at, committed)
    })
    .collect()
}

/// Where what a group can read ends: a group that has committed more than the last stable offset, and no more than there
/// is, reads what is not committed, too. Not known where the log's end could not be read then.
fn readable_end(stable: i64, committed: Committed, log_end: Option<i64>) -> Option<i64> {
    match (committed, log_end) {
        (Committed::At(offset), None) if offset > stable => None,
        (Committed::At(offset), Some(end)) if offset > stable && offset <= end => Some(end),
        _ => Some(stable),
    }
}

fn partitions(subject: &Subject) -> impl Iterator<Item = (String, i32)> {
    let topics = subject.topics.iter();
    topics.flat_map(|(topic, partitions)| (0..*partitions).map(|partition| (topic.clone(), partition)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_reads_what_is_not_committed_reads_to_the_end_of_the_log() {
        let end = |committed, log_end| readable_end(100, committed, log_end);
        assert_eq!(end(Committed::At(100), Some(130)), Some(100));
        assert_eq!(end(Committed::At(101), Some(130)), Some(130));
        assert_eq!(end(Committed::At(130), Some(130)), Some(130));
        // More than there is: of a topic that was made anew.
        assert_eq!(end(Committed::At(131), Some(130)), Some(100));
        assert_eq!(end(Committed::Never, Some(130)), Some(100));
    }

    #[test]
    fn an_end_of_the_log_that_could_not_be_read_is_needed_only_past_the_stable_offset() {
        let end = |committed| readable_end(100, committed, None);
        assert_eq!(end(Committed::At(101)), None);
        assert_eq!(end(Committed::At(100)), Some(100));
        assert_eq!(end(Committed::Never), Some(100));
    }
}
