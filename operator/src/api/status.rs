//! What the operator answers.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator sees and has decided.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct SyncPipelineStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One line for `kubectl get`.
    #[serde(default)]
    pub summary: String,
    /// Messages not yet read, over all readers; absent while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Ready and wanted pods, for example `9/12`.
    #[serde(default)]
    pub pods: String,
    /// Ready, TopicsReady, WorkloadsAvailable, ScalingActive, Degraded, Paused.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Kafka's own id of the cluster; absent until it has answered once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_cluster_id: Option<String>,
    /// Every default that was filled in, by the path of the field that could have been written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub resolved: BTreeMap<String, String>,
    /// Row of the ladder in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<LadderStatus>,
    /// The components.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub components: Vec<ComponentStatus>,
    /// The topics.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub topics: Vec<TopicStatus>,
}

/// Row of the ladder in use.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LadderStatus {
    /// Users that the row is made for.
    pub users: i64,
    /// Brokers that the row recommends; absent where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommended_brokers: Option<i32>,
    /// Brokers of the Kafka cluster; absent while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokers: Option<i32>,
}

/// A component.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Name.
    pub name: String,
    /// producer, consumer, insights or smsExtraction.
    pub kind: String,
    /// Pods that exist.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// Pods that are wanted.
    pub wanted: i32,
    /// Least pods.
    pub min: i32,
    /// Most pods, after the cap by partitions.
    pub max: i32,
    /// Who changes the replicas: `Ladder`, `Drain`, `PerPartition`, `Fixed` or `HorizontalPodAutoscaler`.
    pub scaled_by: String,
    /// Rung that the present lag asks for, 0 being the lowest; absent for what is not scaled by lag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rung: Option<i32>,
    /// Replica counts of the rungs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<i32>,
    /// Those of them that can write no more than the one below, as the partitions at hand cannot be shared out any better:
    /// of 16 partitions, 12 pods read no faster than 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs_without_gain: Vec<i32>,
    /// Lag of the topic that is furthest behind; absent while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<i64>,
    /// Seconds since the oldest message arrived that is not read; to ten seconds from ten on, to a minute from a minute on.
    /// Absent while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
    /// Messages a minute that one pod writes while they wait for it, as measured; absent until it was. An operator that
    /// starts goes by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_rate: Option<i64>,
    /// The last decision that changed the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_decision: Option<DecisionStatus>,
    /// What holds the component back, or why it stays as it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What the scaler chose, and why.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DecisionStatus {
    /// When.
    pub time: Time,
    /// Replicas before.
    pub from: i32,
    /// Replicas after.
    pub to: i32,
    /// A word for machines.
    pub reason: String,
    /// The numbers behind it.
    pub message: String,
}

/// A topic.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// Name, prefix included.
    pub name: String,
    /// Partitions that exist.
    pub partitions: i32,
    /// Copies that exist of each partition.
    pub replication_factor: i32,
    /// Whether the operator looks after its partitions and settings.
    #[serde(default)]
    pub managed: bool,
    /// `Ready`, or what differs from the spec.
    pub state: String,
}
