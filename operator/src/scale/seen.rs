//! What a follower sees of its pipeline, for the status.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::decide::{Decision, Reason};
use super::lag::Lag;
use crate::kafka::KafkaError;

/// What a follower sees of one reader.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Lag of the topic furthest behind, lowest within one commit interval.
    pub lag: Lag,
    /// Lag over all topics of the reader.
    pub total: Lag,
    /// The last decision.
    pub decision: Option<Decision>,
    /// The last decision that changed the replicas.
    pub changed: Option<Change>,
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
}
