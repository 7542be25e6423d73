//! A line of a trace.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::scale::decide::{Decision, Observation, Policy, Rule};

/// A line of a trace, one JSON object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Line {
    /// The policy of all looks from here on. What was remembered before is not known here.
    Policy(Box<Rules>),
    /// One look.
    Look(Box<Look>),
}

/// The most pods, and the largest sum of offsets, that a line may hold: sums of a few of them still fit.
const MOST_PODS: i32 = 1_000_000;
const MOST_RECORDS: i64 = 1 << 60;
/// The longest time, in a line: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3_600);

impl Line {
    /// What is wrong with numbers that nobody can have seen.
    pub(super) fn problem(&self) -> Option<&'static str> {
        match self {
            Line::Policy(rules) => rules.problem(),
            Line::Look(look) => look.problem(),
        }
    }
}

impl Rules {
    fn problem(&self) -> Option<&'static str> {
        let Policy { rule, bounds, .. } = &self.policy;
        let times = [
            self.policy.cooldown,
            self.policy.commit_interval,
            self.policy.manual_hold,
        ];
        let is_long = times.iter().any(|time| *time > LONGEST);
        match rule {
            _ if !(0..=MOST_PODS).contains(&bounds.min) || bounds.max > MOST_PODS || bounds.max < bounds.min => {
                Some("min and max of the replicas")
            }
            _ if is_long => Some("a time of more than a hundred years"),
            Rule::Climb(climb) if climb.rungs.len() != climb.thresholds.len() + 1 || climb.thresholds.is_empty() => {
                Some("there must be a threshold, and one rung more than thresholds")
            }
            Rule::Drain(drain) if drain.target > LONGEST || drain.target.is_zero() => Some("the target"),
            _ => None,
        }
    }
}

impl Look {
    fn problem(&self) -> Option<&'static str> {
        let Observation {
            now,
            replicas,
            lags,
            flow,
            ready,
            ..
        } = &self.seen;
        let pods = [*replicas, *ready];
        let records = lags.iter().filter_map(|(_, lag)| lag.lower_bound());
        let mut records: Vec<i64> = records.collect();
        let mut counts = pods.to_vec();
        if let Some(flow) = flow {
            records.extend([flow.produced, flow.committed, flow.expired]);
            counts.extend([flow.partitions, flow.waiting, flow.readers, flow.unready]);
        }
        if counts.iter().any(|count| !(0..=MOST_PODS).contains(count)) {
            return Some("a number of pods or partitions");
        }
        if records.iter().any(|count| !(0..=MOST_RECORDS).contains(count)) {
            return Some("a number of records");
        }
        (*now > LONGEST).then_some("a time of more than a hundred years")
    }
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
