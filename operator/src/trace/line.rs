//! A line of a trace.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::scale::decide::{Decision, Observation, Policy};

/// A line of a trace, one JSON object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// The policy of all looks from here on. What was remembered before is not known here.
    Policy(Box<Rules>),
    /// One look.
    Look(Box<Look>),
}

/// By what is decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rules {
    /// Name of the component.
    pub component: String,
    /// Its policy.
    pub policy: Policy,
    /// Messages a second that a pod writes, as far as it is known by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_rate: Option<f64>,
}

/// What was seen at one moment, and what was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Look {
    /// When.
    pub time: DateTime<Utc>,
    /// What was seen.
    pub seen: Observation,
    /// What was decided, where it is not the same as at the look before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// Times as numbers of seconds: nanoseconds beside them would only take up room.
pub(crate) mod as_seconds {
    use super::Duration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
    }
}
