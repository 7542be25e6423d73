//! What a follower sees of its pipeline, for the status.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::decide::{Decision, Reason};
use super::delay::Delay;
use super::health::Health;
use super::lag::Lag;
use crate::kafka::KafkaError;

/// What a follower sees of one reader.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Lag of the topic furthest behind, lowest within one commit interval.
    pub lag: Lag,
    /// Lag over all topics of the reader.
    pub total: Lag,
    /// How long ago the oldest unread message arrived; absent while unknown.
    pub delay: Option<Delay>,
    /// Partitions that are not read as they should be.
    pub ill: Option<Ill>,
    /// Messages a second that a pod writes while they wait for it; absent until it was measured.
    pub pod_rate: Option<f64>,
    /// The last decision.
    pub decision: Option<Decision>,
    /// The last decision that changed the replicas.
    pub changed: Option<Change>,
}

/// Partitions that are not read as they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ill {
    /// What is wrong with most of them.
    pub health: Health,
    /// The topic of the first of them.
    pub topic: String,
}

impl Ill {
    /// What most of the partitions that are ill have, by topic and health; nothing where there are none.
    pub fn most(all: impl IntoIterator<Item = (String, Health)>) -> Option<Ill> {
        let mut by_health: BTreeMap<Health, (usize, String)> = BTreeMap::new();
        for (topic, health) in all {
            by_health.entry(health).or_insert((0, topic)).0 += 1;
        }
        let (health, (_, topic)) = by_health.into_iter().max_by_key(|(_, (count, _))| *count)?;
        Some(Ill { health, topic })
    }
}

/// A change of replicas.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// When it was made.
    pub time: DateTime<Utc>,
    /// Replicas before.
    pub from: i32,
    /// Replicas after.
    pub to: i32,
    /// Why, for machines.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
}

/// What a follower sees.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Readers by component.
    pub readers: BTreeMap<String, Seen>,
    /// Why offsets could not be read at the last attempt.
    pub problem: Option<KafkaError>,
    /// Why it is not known what the pods use, where that matters.
    pub unmeasured: Option<String>,
}
