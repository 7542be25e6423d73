//! Topics.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Region;

/// A topic.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Topic {
    /// Name, without prefix.
    #[schemars(length(min = 1, max = 180), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub name: String,
    /// Partitions: also the most readers that can share the topic. Never lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub partitions: Option<i32>,
    /// Copies; `kafka.replicationFactor` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub replication_factor: Option<i32>,
    /// How long messages are kept, a Go duration; `168h` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub retention: Option<String>,
    /// Most bytes kept of a partition; unlimited when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub retention_bytes: Option<i64>,
    /// Further settings, by Kafka's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub config: BTreeMap<String, String>,
    /// Whether the operator looks after the topic's partitions and settings. When left out it does so for topics
    /// that it created, and uses others as they are. `true` takes an existing topic over, `false` never touches
    /// one, not even to create it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manage: Option<bool>,
    /// What becomes of the topic when the SyncPipeline is deleted. Only topics that the operator looks after are
    /// ever deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Regions in which the topic does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub except_regions: Option<Vec<Region>>,
}

/// What becomes of a topic when its SyncPipeline is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// It stays, with all its messages. A SyncPipeline of the same name finds it again as its own.
    #[default]
    Retain,
    /// It is deleted, with all its messages.
    Delete,
}
