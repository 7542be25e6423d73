//! A pipeline → what its follower follows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::decide::Policy;
use crate::kafka::Connection;
use crate::kafka::offsets::Subject;
use crate::kafka::topics::ObservedTopics;
use crate::ladder;
use crate::plan::naming;
use crate::validate::{Consumer, Pipeline, Scaling};

/// How often offsets are read where somebody is scaled by them.
pub(super) const READ_INTERVAL: Duration = Duration::from_millis(250);
/// How often they are read where the lag is only shown.
pub(super) const SHOW_INTERVAL: Duration = Duration::from_secs(1);
/// How long a rebalance holds decisions back.
const REBALANCE_HOLD: Duration = Duration::from_secs(3);
/// How long replicas that somebody set with `kubectl scale` are kept.
const MANUAL_HOLD: Duration = Duration::from_secs(30 * 60);

/// What one follower follows.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// Name of the component.
    pub component: String,
    /// Name of its Deployment.
    pub deployment: String,
    /// Its group.
    pub group: String,
    /// Topics it reads.
    pub topics: Vec<String>,
    /// Longest time between two of its commits.
    pub commit_interval: Duration,
    /// How it is scaled; absent for one whose replicas are left alone and only its lag is shown.
    pub policy: Option<Policy>,
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
    let (policy, commit_interval) = match &consumer.scaling {
        Scaling::Ladder {
            thresholds,
            cooldown,
            commit_interval,
        } => (
            Some(Policy {
                rungs: ladder::rungs(bounds, thresholds.len()),
                thresholds: thresholds.clone(),
                cooldown: *cooldown,
                rebalance_hold: REBALANCE_HOLD,
                manual_hold: MANUAL_HOLD,
            }),
            *commit_interval,
        ),
        Scaling::Fixed => (None, Duration::ZERO),
    };
    Reader {
        component: consumer.component.name.clone(),
        deployment: naming::object_name(&pipeline.name, &consumer.component.name),
        group: consumer.group.clone(),
        topics: consumer.topics.clone(),
        commit_interval,
        policy,
    }
}
