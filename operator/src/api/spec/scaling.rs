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
pub struct Scaling {
    /// `Ladder` moves along the rungs of the ladder by lag; `Fixed` leaves the replicas alone.
    #[serde(default, rename = "type")]
    pub type_: ScalingType,
    /// Settings of type `Ladder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<LadderScaling>,
    /// How long the lag must be low before the next rung down, a Go duration; `5m` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub cooldown: Option<String>,
}

/// Kind of scaling.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScalingType {
    /// Along the rungs of the ladder, by lag.
    #[default]
    Ladder,
    /// Not at all.
    Fixed,
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
