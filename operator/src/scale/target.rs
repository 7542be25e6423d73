//! A pipeline → what its follower follows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::decide::Policy;
use super::follow::{Reader, Target};
use crate::kafka::Connection;
use crate::kafka::offsets::Subject;
use crate::kafka::topics::ObservedTopics;
use crate::ladder::{self, Bounds};
use crate::plan::naming;
use crate::validate::{Consumer, Pipeline, Scaling};

/// How long a rebalance holds decisions back.
const REBALANCE_HOLD: Duration = Duration::from_secs(3);
/// How long replicas that somebody set with `kubectl scale` are kept.
const MANUAL_HOLD: Duration = Duration::from_secs(30 * 60);

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
        .map(|consumer| reader(pipeline, consumer, &partitions))
        .collect();
    Target {
        connection,
        subject,
        readers,
    }
}

fn reader(pipeline: &Pipeline, consumer: &Consumer, partitions: &BTreeMap<String, i32>) -> Reader {
    let cap = consumer
        .topics
        .iter()
        .filter_map(|topic| partitions.get(topic))
        .max()
        .copied();
    let bounds = consumer.component.bounds;
    let cap = cap.unwrap_or(bounds.max);
    let bounds = Bounds {
        min: bounds.min.min(cap),
        max: bounds.max.min(cap),
    };
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
