//! How replicas follow the lag.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LadderColumn;

/// How replicas follow the lag.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.ladder) || self.type == 'Ladder'")
    .message("scaling.ladder: belongs to type Ladder only"))]
#[x_kube(validation = Rule::new("!has(self.drain) || self.type == 'Drain'")
    .message("scaling.drain: belongs to type Drain only"))]
#[x_kube(validation = Rule::new("!has(self.cooldown) || self.type == 'Ladder' || self.type == 'Drain'")
    .message("scaling.cooldown: belongs to types Ladder and Drain only"))]
#[x_kube(validation = Rule::new("!has(self.schedules) || self.type != 'Fixed'")
    .message("scaling.schedules: type Fixed leaves the replicas alone"))]
#[x_kube(validation = Rule::new("!has(self.trace) || !self.trace || self.type != 'Fixed'")
    .message("scaling.trace: with type Fixed nothing is decided"))]
pub struct Scaling {
    /// `Ladder` moves along the rungs of the ladder by lag; `Drain` has as many replicas as write what waits within a
    /// target time; `PerPartition` has one for each partition; `Fixed` leaves the replicas alone.
    #[serde(default, rename = "type")]
    pub type_: ScalingType,
    /// Settings of type `Ladder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<LadderScaling>,
    /// Settings of type `Drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainScaling>,
    /// How long fewer replicas must have been enough before there are fewer, a Go duration; `5m` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub cooldown: Option<String>,
    /// Times at which there are so many replicas at least, whatever the lag; the highest that holds counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub schedules: Option<Vec<ScheduleSpec>>,
    /// Whether all that the scaler sees and decides is kept for the last hours, in the ConfigMap
    /// `PIPELINE-COMPONENT-trace`: `operator replay` decides once more from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<bool>,
}

/// Times at which there are so many replicas at least.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSpec {
    /// When they begin, a cron expression of five fields: `0 8 * * 1-5` is eight in the morning from Monday to Friday.
    #[schemars(length(min = 9, max = 64))]
    pub start: String,
    /// When they end, a cron expression of five fields.
    #[schemars(length(min = 9, max = 64))]
    pub end: String,
    /// On which clocks, a name of the IANA database as `Asia/Kolkata`; `UTC` when left out.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// The least replicas between them, no more than `replicas.max` and the partitions allow.
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// Kind of scaling.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScalingType {
    /// Along the rungs of the ladder, by lag.
    #[default]
    Ladder,
    /// As many as write what waits within a target time.
    Drain,
    /// One for each partition of the largest topic, within `replicas`.
    PerPartition,
    /// Not at all.
    Fixed,
}

/// Settings of type `Drain`.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct DrainScaling {
    /// Within which what waits is to be written, a Go duration; `1m` when left out. It cannot be shorter than a new pod
    /// takes to start: then it is as short as it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub target: Option<String>,
}

/// Settings of type `Ladder`.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct LadderScaling {
    /// Column of the ladder that gives min and max: the component's own name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<LadderColumn>,
    /// Lags, in messages, each of which leads one step up; ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1)))]
    #[x_kube(validation = Rule::new("self.isSorted() && self.all(t, self.exists_one(u, u == t))")
        .message("scaling.ladder.lagThresholds: must be ascending, each larger than the one before"))]
    pub lag_thresholds: Option<Vec<i64>>,
}
