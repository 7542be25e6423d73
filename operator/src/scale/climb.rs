//! Along the rungs of the ladder: up at once and straight to the rung that the thresholds ask for; down one rung at a
//! time, when the lag was at most half of the threshold that was crossed for the whole cooldown. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decide::{Ask, Memory, Observation, Policy, Reason, seconds};
use super::lag::Lag;
use super::rates::capacity;
use crate::ladder::{Bounds, rungs};

/// Part of what fewer replicas can write that the arrivals may take before a rung is given up.
const UNHURRIED: f64 = 0.8;

/// Rungs and what leads to them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Climb {
    /// Replicas for 0, 1, … thresholds exceeded, see [`rungs`].
    pub rungs: Vec<i32>,
    /// Lags, ascending, each of which leads one step up; one fewer than rungs.
    pub thresholds: Vec<i64>,
}

impl Climb {
    /// The rungs within `bounds` that so many thresholds make.
    pub fn new(bounds: Bounds, thresholds: Vec<i64>) -> Climb {
        Climb {
            rungs: rungs(bounds, thresholds.len()),
            thresholds,
        }
    }

    /// Thresholds that a lag strictly exceeds.
    pub(super) fn exceeded(&self, lag: i64) -> usize {
        self.thresholds.iter().filter(|threshold| lag > **threshold).count()
    }
}

/// The topic that is furthest behind.
pub(super) struct Worst {
    pub(super) topic: String,
    pub(super) lag: i64,
    /// Whether every topic is wholly known.
    pub(super) exact: bool,
}

impl Worst {
    pub(super) fn text(&self) -> String {
        if self.exact {
            self.lag.to_string()
        } else {
            format!("{} or more", self.lag)
        }
    }
}

/// The topic furthest behind: a group that reads several is as late as its worst.
pub(super) fn worst_topic(seen: &Observation) -> Option<Worst> {
    let exact = seen.lags.iter().all(|(_, lag)| matches!(lag, Lag::Known(_)));
    let (topic, lag) = seen
        .lags
        .iter()
        .filter_map(|(topic, lag)| lag.lower_bound().map(|lag| (topic, lag)))
        .max_by_key(|(_, lag)| *lag)?;
    Some(Worst {
        topic: topic.clone(),
        lag,
        exact,
    })
}

/// How many replicas the lag asks for.
pub(super) fn ask(climb: &Climb, policy: &Policy, seen: &Observation, worst: &Worst, memory: &mut Memory) -> Ask {
    let steps = climb.exceeded(worst.lag);
    let target = climb.rungs[steps];
    if target > seen.replicas {
        memory.low_since = None;
        let threshold = climb.thresholds[steps - 1];
        let message = format!("lag {} of {} is above {threshold}", worst.text(), worst.topic);
        return Ask::new(target, Reason::LagAboveThreshold, message);
    }
    if target == seen.replicas {
        memory.low_since = None;
        let message = format!("lag {} of {}", worst.text(), worst.topic);
        return Ask::new(target, Reason::Steady, message);
    }
    // Once: a count that the lag asked for afterwards is given up as any other.
    let enough = || {
        let mut rungs = climb
            .rungs
            .iter()
            .copied()
            .filter(|rung| (target..seen.replicas).contains(rung));
        rungs.find(|rung| too_much_for(*rung, policy.cooldown, seen, memory).is_none())
    };
    if let Some((who, since)) = &seen.manual
        && worst.exact
        && memory.was_held
        && let Some(enough) = enough()
    {
        memory.low_since = None;
        let message = format!(
            "{who} set {} replicas {} ago; for lag {} of {} {enough} are enough",
            seen.replicas,
            seconds(*since),
            worst.text(),
            worst.topic
        );
        return Ask::new(enough, Reason::ManualScaleOver, message);
    }
    step_down(climb, policy, seen, worst, memory)
}

fn step_down(climb: &Climb, policy: &Policy, seen: &Observation, worst: &Worst, memory: &mut Memory) -> Ask {
    // The threshold whose crossing led to the present replicas.
    let step = climb
        .rungs
        .iter()
        .position(|rung| *rung >= seen.replicas)
        .unwrap_or(climb.thresholds.len())
        .max(1);
    let threshold = climb.thresholds[step - 1];
    let lower = climb
        .rungs
        .iter()
        .rev()
        .find(|rung| **rung < seen.replicas)
        .copied()
        .unwrap_or(climb.rungs[0]);
    let lag = format!("lag {} of {}", worst.text(), worst.topic);
    if !worst.exact || worst.lag.saturating_mul(2) > threshold {
        memory.low_since = None;
        let message = format!("{lag} is not at most half of {threshold} yet");
        return Ask::new(seen.replicas, Reason::NotLowYet, message);
    }
    let since = *memory.low_since.get_or_insert(seen.now);
    let low_for = seen.now.saturating_sub(since);
    let cooldown = seconds(policy.cooldown);
    if low_for < policy.cooldown {
        let left = seconds(policy.cooldown.saturating_sub(low_for));
        let message =
            format!("{lag} is at most half of {threshold}; one rung down after {cooldown} of it, {left} to go");
        return Ask::new(seen.replicas, Reason::Cooldown, message);
    }
    // What arrived within the whole cooldown counts, so this looks back as far as the lag does.
    if let Some(problem) = too_much_for(lower, policy.cooldown, seen, memory) {
        return Ask::new(seen.replicas, Reason::NotLowYet, format!("{lag}; {problem}"));
    }
    memory.low_since = Some(seen.now);
    let message = format!("{lag} was at most half of {threshold} for {cooldown}");
    Ask::new(lower, Reason::LagLow, message)
}

/// Whether more arrives than fewer replicas could write, as far as it is known what a pod writes.
fn too_much_for(lower: i32, cooldown: Duration, seen: &Observation, memory: &Memory) -> Option<String> {
    let (flow, rate, arriving) = (seen.flow?, memory.rates.pod_rate()?, memory.rates.arriving()?);
    // What arrives in batches counts with its part of the cooldown.
    let arriving = arriving.max(memory.rates.arrived(cooldown).unwrap_or(0.0));
    let could = capacity(flow.partitions, lower) * rate;
    (arriving > UNHURRIED * could)
        .then(|| format!("{arriving:.0}/s arrive, too many for the {could:.0}/s that {lower} replicas write"))
}
