//! A pipeline → what its follower follows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::climb::Climb;
use super::decide::{Policy, Rule};
use super::drain::Drain;
use super::schedule::Schedule;
use crate::kafka::Connection;
use crate::kafka::offsets::Subject;
use crate::kafka::topics::ObservedTopics;
use crate::ladder::Bounds;
use crate::plan::naming;
use crate::plan::sizing::{self, Size};
use crate::validate::{Consumer, Pipeline, Scaling};

/// How often offsets are read where somebody is scaled by them.
pub const READ_INTERVAL: Duration = Duration::from_millis(250);
/// How often they are read where the lag is only shown.
pub(super) const SHOW_INTERVAL: Duration = Duration::from_secs(1);
/// How long a rebalance holds decisions back.
const REBALANCE_HOLD: Duration = Duration::from_secs(3);
/// How long replicas that somebody set with `kubectl scale` are kept.
const MANUAL_HOLD: Duration = Duration::from_secs(30 * 60);

/// What one follower follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// How to reach Kafka.
    pub connection: Connection,
    /// Partitions and groups.
    pub subject: Subject,
    /// Readers that are scaled by lag.
    pub readers: Vec<Reader>,
}

impl Target {
    /// Whether some reader is scaled.
    pub fn scales(&self) -> bool {
        self.readers.iter().any(|reader| reader.policy.is_some())
    }

    /// How often it is read.
    pub(super) fn interval(&self) -> Duration {
        if self.scales() { READ_INTERVAL } else { SHOW_INTERVAL }
    }
}

/// One reader.
#[derive(Debug, Clone, PartialEq)]
pub struct Reader {
    /// Name of the component.
    pub component: String,
    /// Name of its Deployment.
    pub deployment: String,
    /// Its group.
    pub group: String,
    /// Topics it reads.
    pub topics: Vec<String>,
    /// How long Kafka keeps the messages of those topics that this pipeline looks after.
    pub retention: BTreeMap<String, Duration>,
    /// Longest time between two of its commits.
    pub commit_interval: Duration,
    /// How it is scaled; absent for one whose replicas are left alone and only its lag is shown.
    pub policy: Option<Policy>,
    /// What a pod may grow to.
    pub size: Size,
    /// Times at which there are so many replicas at least.
    pub schedules: Vec<Schedule>,
    /// Whether what is seen and decided is kept for a while.
    pub trace: bool,
}

/// What to follow. The caps count the partitions that exist, which may be fewer than the spec wants.
pub fn of(pipeline: &Pipeline, topics: &ObservedTopics, connection: Connection) -> Target {
    let partitions: BTreeMap<String, i32> = topics
        .topics
        .iter()
        .map(|topic| (topic.name.clone(), topic.partitions))
        .collect();
    let mut subject = Subject::default();
    for consumer in &pipeline.consumers {
        for topic in &consumer.topics {
            if let Some(count) = partitions.get(topic) {
                subject.topics.insert(topic.clone(), *count);
            }
        }
        subject
            .groups
            .entry(consumer.group.clone())
            .or_default()
            .extend(consumer.topics.iter().cloned());
    }
    let readers = pipeline
        .consumers
        .iter()
        .map(|consumer| reader(pipeline, consumer, topics))
        .collect();
    Target {
        connection,
        subject,
        readers,
    }
}

fn reader(pipeline: &Pipeline, consumer: &Consumer, topics: &ObservedTopics) -> Reader {
    let bounds = topics.possible(consumer.component.bounds, &consumer.topics);
    let partitions = topics.partitions_of(&consumer.topics).unwrap_or(0);
    Reader {
        component: consumer.component.name.clone(),
        deployment: naming::object_name(&pipeline.name, &consumer.component.name),
        group: consumer.group.clone(),
        topics: consumer.topics.clone(),
        retention: retention(pipeline, consumer),
        commit_interval: consumer.scaling.commit_interval(),
        policy: policy(&consumer.scaling, bounds, partitions),
        size: sizing::of_pipeline_pods(pipeline.environment),
        schedules: consumer.schedules.clone(),
        trace: consumer.trace,
    }
}

/// How long Kafka keeps messages that nobody has read: not known where it is for ever, or somebody else's decision.
fn retention(pipeline: &Pipeline, consumer: &Consumer) -> BTreeMap<String, Duration> {
    let read = pipeline
        .topics
        .iter()
        .filter(|topic| consumer.topics.contains(&topic.name));
    let times = read.filter_map(|topic| {
        let milliseconds = topic.config.get("retention.ms")?.parse().ok()?;
        Some((topic.name.clone(), Duration::from_millis(milliseconds)))
    });
    times.collect()
}

/// How a reader is scaled within `bounds`, where its largest topic has so many partitions; nothing for one whose
/// replicas are left alone.
pub fn policy(scaling: &Scaling, bounds: Bounds, partitions: i32) -> Option<Policy> {
    let (rule, cooldown) = match scaling {
        Scaling::Ladder {
            thresholds, cooldown, ..
        } => (Rule::Climb(Climb::new(bounds, thresholds.clone())), *cooldown),
        Scaling::Drain { target, cooldown, .. } => (Rule::Drain(Drain { target: *target }), *cooldown),
        Scaling::PerPartition => (Rule::PerPartition(partitions), Duration::ZERO),
        Scaling::Fixed => return None,
    };
    Some(with_rule(rule, bounds, cooldown, scaling.commit_interval()))
}

/// A policy with the operator's own times.
pub fn with_rule(rule: Rule, bounds: Bounds, cooldown: Duration, commit_interval: Duration) -> Policy {
    Policy {
        rule,
        bounds,
        cooldown,
        commit_interval,
        rebalance_hold: REBALANCE_HOLD,
        manual_hold: MANUAL_HOLD,
    }
}
