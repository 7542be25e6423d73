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

/// Cooldowns without any lag after which a rung is given up although more arrives than it seems to be able to write,
/// where nothing has shown for all that time what a pod writes.
const PROBED_AFTER: u32 = 6;
const LEAST_PROBED: Duration = Duration::from_secs(3_600);
/// A rate that differs by less than this part from the one that was tried out before is not tried out again.
const ANOTHER: f64 = 0.25;
/// A rebalance leaves behind what arrives while nobody reads. So many times as much, and as long to write it off, is still
/// taken for that.
const LEFT: f64 = 2.0;
/// Longest time after a rebalance in which what waits is taken for what that has left behind.
const WRITTEN_OFF: Duration = Duration::from_secs(60);

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

/// Rungs with which so many partitions are read no faster than with the one below.
pub fn without_gain(rungs: &[i32], partitions: i32) -> Vec<i32> {
    let faster = |pair: &[i32]| capacity(partitions, pair[1]) > capacity(partitions, pair[0]);
    let pairs = rungs.windows(2).filter(|pair| pair[0] < pair[1]);
    match partitions {
        0 => vec![],
        _ => pairs.filter(|pair| !faster(pair)).map(|pair| pair[1]).collect(),
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
        memory.forget_quiet();
        if let Some(message) = left_by_rebalance(policy, seen, worst, memory) {
            return Ask::new(seen.replicas, Reason::Rebalancing, message);
        }
        let threshold = climb.thresholds[steps - 1];
        let message = format!("lag {} of {} is above {threshold}", worst.text(), worst.topic);
        return Ask::new(target, Reason::LagAboveThreshold, message);
    }
    if target == seen.replicas {
        memory.forget_quiet();
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
        let arriving = [memory.rates.arriving(), memory.rates.arrived(policy.cooldown)];
        let arriving = arriving.into_iter().flatten().reduce(f64::max);
        rungs.find(|rung| too_much_for(*rung, arriving, seen, memory).is_none())
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

impl Memory {
    /// Whether what a pod writes is another rate than the one that was tried out before.
    fn may_try_out(&self) -> bool {
        match (self.rates.pod_rate(), self.tried_out) {
            (Some(known), Some(tried)) => (known - tried).abs() > ANOTHER * tried,
            _ => true,
        }
    }
}

/// Says so where what waits is what a rebalance has left behind, and the present replicas write it off by themselves: a
/// rung that was just given up must not come back because of the giving up.
fn left_by_rebalance(policy: &Policy, seen: &Observation, worst: &Worst, memory: &Memory) -> Option<String> {
    let (ended, lasted) = memory.rebalanced?;
    let (flow, arriving) = (seen.flow?, memory.rates.arriving()?);
    let missed = (lasted + policy.commit_interval).as_secs_f64() * arriving;
    let could = match memory.rates.pod_rate() {
        Some(rate) => capacity(flow.partitions, seen.replicas) * rate,
        // Not known: as if they were used to two thirds.
        None => 1.5 * arriving,
    };
    let spare = could - arriving;
    if spare <= 0.0 || worst.lag as f64 > LEFT * missed + f64::from(flow.partitions) {
        return None;
    }
    let patience = Duration::try_from_secs_f64(LEFT * missed / spare).ok()?;
    let patience = (patience + policy.commit_interval * 2).min(WRITTEN_OFF);
    (seen.now < ended + patience).then(|| {
        format!(
            "lag {} of {} is what a rebalance of {} has left: {} replicas write it off",
            worst.text(),
            worst.topic,
            seconds(lasted),
            seen.replicas
        )
    })
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
        memory.forget_quiet();
        let message = format!("{lag} is not at most half of {threshold} yet");
        return Ask::new(seen.replicas, Reason::NotLowYet, message);
    }
    let quiet_since = *memory.quiet_since.get_or_insert(seen.now);
    let now_and_lately = [memory.rates.arriving(), memory.rates.arrived(policy.cooldown)];
    if let Some(problem) = too_much_for(lower, now_and_lately[0], seen, memory) {
        memory.low_since = None;
        // What a pod writes may be known from a bad time.
        let quiet_for = seen.now.saturating_sub(quiet_since);
        let is_old = quiet_for >= (policy.cooldown * PROBED_AFTER).max(LEAST_PROBED)
            && !memory.rates.has_learned_since(quiet_since)
            && memory.may_try_out();
        if !is_old {
            return Ask::new(seen.replicas, Reason::NotLowYet, format!("{lag}; {problem}"));
        }
        memory.quiet_since = Some(seen.now);
        memory.tried_out = memory.rates.pod_rate();
        let message = format!("{lag}; {problem}, as was seen long ago: whether they do will show");
        return Ask::new(lower, Reason::Probe, message);
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
    // What arrives in batches counts with its part of the cooldown. It looks back as far as the lag does.
    if let Some(problem) = too_much_for(lower, now_and_lately[1].or(now_and_lately[0]), seen, memory) {
        return Ask::new(seen.replicas, Reason::NotLowYet, format!("{lag}; {problem}"));
    }
    memory.quiet_since = Some(seen.now);
    memory.low_since = Some(seen.now);
    let message = format!("{lag} was at most half of {threshold} for {cooldown}");
    Ask::new(lower, Reason::LagLow, message)
}

/// Whether `arriving` a second is more than fewer replicas could write, as far as it is known what a pod writes.
fn too_much_for(lower: i32, arriving: Option<f64>, seen: &Observation, memory: &Memory) -> Option<String> {
    let (flow, rate) = (seen.flow?, memory.rates.pod_rate()?);
    let Some(arriving) = arriving else {
        return Some("what arrives is not measured yet".to_owned());
    };
    let could = capacity(flow.partitions, lower) * rate;
    (arriving > UNHURRIED * could)
        .then(|| format!("{arriving:.0}/s arrive, too many for the {could:.0}/s that {lower} replicas write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rung_between_two_divisors_of_the_partitions_gains_nothing() {
        assert_eq!(without_gain(&[4, 8, 12, 16], 16), [12]);
        assert_eq!(without_gain(&[3, 5, 7, 10], 20), Vec::<i32>::new());
        assert_eq!(without_gain(&[1, 1, 2, 2], 1), [2]);
        assert_eq!(without_gain(&[4, 8], 0), Vec::<i32>::new());
    }
}
