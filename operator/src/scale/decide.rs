//! Lag, policy and memory → decision. Pure: the same history always gives the same decisions.
//!
//! What holds for every rule is here: bounds, what is not known, rebalances, replicas set by hand, pods that do not
//! come. How many replicas are asked for is the rule's: [`climb`] or [`drain`].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::climb::{self, Climb, Worst};
use super::drain::{self, Drain};
use super::floor::{self, Floor};
use super::idle::Idle;
use super::lag::Lag;
use super::rates::{Flow, Rates};
use crate::ladder::Bounds;
use crate::trace::line::as_seconds;

/// How a reader is scaled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// What the lag asks for.
    pub rule: Rule,
    /// Least and most replicas.
    pub bounds: Bounds,
    /// How long fewer must have been enough before there are fewer.
    pub cooldown: Duration,
    /// Longest time between two commits of a pod.
    pub commit_interval: Duration,
    /// How long a rebalance holds decisions back: meanwhile nobody reads, and the lag says nothing.
    pub rebalance_hold: Duration,
    /// How long replicas that somebody else has set are kept.
    pub manual_hold: Duration,
}

/// What the lag asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// Along the rungs of the ladder, by thresholds.
    Climb(Climb),
    /// As many as write what waits within a target time.
    Drain(Drain),
    /// One for each partition of the largest topic.
    PerPartition(i32),
}

/// What is seen at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// Time since any fixed moment.
    #[serde(with = "as_seconds")]
    pub now: Duration,
    /// Replicas that the Deployment asks for at present.
    pub replicas: i32,
    /// Lag of each topic, lowest within one commit interval.
    pub lags: Vec<(String, Lag)>,
    /// What has gone through the topics; absent where some of it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<Flow>,
    /// Pods that are ready.
    pub ready: i32,
    /// How long the group has been rebalancing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalancing: Option<Duration>,
    /// Who else has set the present replicas, and how long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<(String, Duration)>,
    /// What else asks for replicas at least.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<Floor>,
}

impl Observation {
    /// Lag over all topics, at least; absent where nothing is known.
    pub(super) fn lag(&self) -> Option<i64> {
        let known = self.lags.iter().filter_map(|(_, lag)| lag.lower_bound());
        known.reduce(i64::saturating_add)
    }
}

/// What is remembered between two decisions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Since when the lag has been low enough for the next rung down.
    pub(super) low_since: Option<Duration>,
    /// Since when the lag alone has been low enough for it.
    pub(super) quiet_since: Option<Duration>,
    /// What a pod seemed to write when fewer of them were tried out last.
    pub(super) tried_out: Option<f64>,
    /// What arrives and what pods write.
    pub(super) rates: Rates,
    /// What [`drain`] remembers.
    pub(super) drain: drain::Memory,
    idle: Idle,
    /// Whether replicas that somebody had set were kept at the last look.
    pub(super) was_held: bool,
    /// When the group was last seen to rebalance, and how long it had done so.
    pub(super) rebalanced: Option<(Duration, Duration)>,
    /// When something was seen last.
    last: Option<Duration>,
    /// Whether pods that were asked for do not come.
    short: Option<Short>,
}

/// Fewer pods are ready than are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Short {
    /// The most that were ready at once, and since when they have not become more.
    most: i32,
    since: Duration,
    /// Since when all of them have been ready.
    complete: Option<Duration>,
}

impl Short {
    /// What is known after another look; nothing when all pods have been ready for long enough. Pods that end and start
    /// again are ready now and then, and bring nothing.
    fn after(known: Option<Short>, now: Duration, ready: i32, replicas: i32) -> Option<Short> {
        let begun = Short {
            most: ready,
            since: now,
            complete: None,
        };
        if ready < replicas {
            let known = known.filter(|known| ready <= known.most).unwrap_or(begun);
            return Some(Short {
                complete: None,
                ..known
            });
        }
        let known = known?;
        let complete = known.complete.unwrap_or(now);
        (now < complete + STAYED).then_some(Short {
            complete: Some(complete),
            ..known
        })
    }
}

/// Why, in a word for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// More thresholds are exceeded than the present replicas answer.
    LagAboveThreshold,
    /// More arrives or waits than the present replicas write in time.
    Backlog,
    /// Something arrives and nobody reads.
    Arrivals,
    /// Nothing has arrived for the whole cooldown.
    Idle,
    /// Fewer replicas were enough for the whole cooldown.
    LagLow,
    /// Nothing has waited for the whole cooldown, and it is not known what a pod writes: fewer are enough, or show it.
    Probe,
    /// The replicas are what the lag asks for.
    Steady,
    /// Fewer replicas are enough, the cooldown is not over.
    Cooldown,
    /// The lag asks for fewer but is not low enough to be sure.
    NotLowYet,
    /// More replicas have written no more.
    NoHelp,
    /// As many as there are partitions.
    Partitions,
    /// The pods use more than half of their CPU.
    CpuAboveTarget,
    /// The pods use more than half of their memory.
    MemoryAboveTarget,
    /// At this hour there are so many at least.
    Schedule,
    /// The lag is not known.
    LagUnknown,
    /// The group is rebalancing.
    Rebalancing,
    /// More would be asked for, but those that were asked for do not come.
    PodsNotComing,
    /// Fewer replicas than the least.
    BelowMinimum,
    /// More replicas than the most.
    AboveMaximum,
    /// Somebody else has set the replicas, a short while ago.
    ManualScale,
    /// Somebody else had set the replicas, and their time is over.
    ManualScaleOver,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What to do, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Replicas wanted.
    pub wanted: i32,
    /// Thresholds exceeded by the topic furthest behind; absent while unknown, and where there are none.
    pub exceeded: Option<usize>,
    /// Why.
    pub reason: Reason,
    /// The numbers behind it.
    pub message: String,
}

/// What a rule asks for, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub(super) replicas: i32,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl Ask {
    pub(super) fn new(replicas: i32, reason: Reason, message: impl Into<String>) -> Ask {
        let message = message.into();
        Ask {
            replicas,
            reason,
            message,
        }
    }
}

/// A longer time without a look says nothing about what was in between.
const GAP: Duration = Duration::from_secs(15);
/// For how long pods may show no progress before no more of them are asked for.
const NOT_COMING: Duration = Duration::from_secs(120);
/// For how long all pods must be ready to count as having come.
const STAYED: Duration = Duration::from_secs(10);

impl Memory {
    /// A memory in which only what a pod writes is known from before.
    pub fn with_pod_rate(pod_rate: Option<f64>) -> Memory {
        Memory {
            rates: Rates::with_pod_rate(pod_rate),
            ..Memory::default()
        }
    }

    /// Records a second that a pod writes when they wait for it; absent until it was seen.
    pub fn pod_rate(&self) -> Option<f64> {
        self.rates.pod_rate()
    }

    /// Takes in what is seen.
    fn observe(&mut self, policy: &Policy, seen: &Observation) {
        if self.last.is_some_and(|last| seen.now > last + GAP) {
            self.interrupt();
            self.rates.interrupt();
            self.idle.interrupt();
        }
        self.last = Some(seen.now);
        if let Some(lasted) = seen.rebalancing {
            self.rebalanced = Some((seen.now, lasted));
        }
        self.short = Short::after(self.short, seen.now, seen.ready, seen.replicas);
        let (Some(flow), Some(lag)) = (&seen.flow, seen.lag()) else {
            self.rates.interrupt();
            self.idle.interrupt();
            return;
        };
        let rebalancing = seen.rebalancing.is_some();
        self.rates
            .look(seen.now, *flow, lag, rebalancing, policy.commit_interval);
        self.idle.observe(seen.now, flow, seen.replicas);
        self.drain.observe(seen, flow);
    }

    /// What was to lead down is over: it was not seen, or another policy holds.
    pub fn interrupt(&mut self) {
        self.forget_quiet();
        self.drain.interrupt();
    }

    /// The lag is not low.
    pub(super) fn forget_quiet(&mut self) {
        self.low_since = None;
        self.quiet_since = None;
    }

    fn are_pods_coming(&self, now: Duration) -> bool {
        self.short.is_none_or(|short| now < short.since + NOT_COMING)
    }
}

/// Chooses the replicas.
///
/// What all rules share: never outside the bounds, and not below a floor; a lag that is not wholly known may lead up,
/// never down; while nothing is known, while the group rebalances, and for a while after somebody else has set them,
/// replicas stay.
pub fn decide(policy: &Policy, seen: &Observation, memory: &mut Memory) -> Decision {
    memory.observe(policy, seen);
    let worst = climb::worst_topic(seen);
    let exceeded = match (&policy.rule, &worst) {
        (Rule::Climb(climb), Some(worst)) => Some(climb.exceeded(worst.lag)),
        _ => None,
    };
    let ask = held(policy, seen, memory).unwrap_or_else(|| {
        let max = policy.bounds.max;
        match outside_bounds(policy, seen, exceeded, memory) {
            Some(ask) => floor::raise(ask, &seen.floors, max),
            None => {
                let ask = by_rule(policy, seen, worst.as_ref(), memory);
                only_if_they_come(floor::raise(ask, &seen.floors, max), seen, memory)
            }
        }
    });
    Decision {
        wanted: ask.replicas,
        exceeded,
        reason: ask.reason,
        message: ask.message,
    }
}

/// Replicas that are left as they are for a while.
fn held(policy: &Policy, seen: &Observation, memory: &mut Memory) -> Option<Ask> {
    let Bounds { min, max } = policy.bounds;
    if let Some((who, since)) = seen.manual.as_ref().filter(|(_, since)| *since < policy.manual_hold) {
        memory.interrupt();
        memory.was_held = true;
        let left = seconds(policy.manual_hold.saturating_sub(*since));
        let message = format!(
            "{who} set {} replicas, the most is {max}; the lag decides again in {left}",
            seen.replicas
        );
        return Some(Ask::new(seen.replicas.min(max), Reason::ManualScale, message));
    }
    let is_settling = seen.rebalancing.is_some_and(|since| since < policy.rebalance_hold);
    let is_within = (min..=max).contains(&seen.replicas);
    if is_settling && is_within && !matches!(policy.rule, Rule::PerPartition(_)) {
        let message = "the group is rebalancing: replicas stay".to_owned();
        return Some(Ask::new(seen.replicas, Reason::Rebalancing, message));
    }
    None
}

/// Replicas that no rule would ask for come back within the bounds at once.
fn outside_bounds(policy: &Policy, seen: &Observation, exceeded: Option<usize>, memory: &mut Memory) -> Option<Ask> {
    let Bounds { min, max } = policy.bounds;
    if seen.replicas < min {
        memory.interrupt();
        let wanted = match (&policy.rule, exceeded) {
            (Rule::Climb(climb), Some(steps)) => climb.rungs[steps],
            _ => min,
        };
        let message = format!("{} replicas, the least is {min}", seen.replicas);
        return Some(Ask::new(wanted, Reason::BelowMinimum, message));
    }
    if seen.replicas > max {
        memory.interrupt();
        let message = format!("{} replicas, the most is {max}", seen.replicas);
        return Some(Ask::new(max, Reason::AboveMaximum, message));
    }
    None
}

fn by_rule(policy: &Policy, seen: &Observation, worst: Option<&Worst>, memory: &mut Memory) -> Ask {
    let Bounds { min, max } = policy.bounds;
    let stay = |reason, message: &str| Ask::new(seen.replicas, reason, message);
    if let Rule::PerPartition(partitions) = policy.rule {
        // One that is not there may have the most.
        if partitions == 0 {
            return stay(Reason::LagUnknown, "not all of its topics are there: replicas stay");
        }
        let message = format!("one for each of {partitions} partitions");
        return Ask::new(partitions.clamp(min, max), Reason::Partitions, message);
    }
    let Some(worst) = worst else {
        memory.interrupt();
        return stay(Reason::LagUnknown, "the lag is not known: replicas stay");
    };
    let ask = match &policy.rule {
        Rule::Climb(climb) => climb::ask(climb, policy, seen, worst, memory),
        Rule::Drain(drain) => drain::ask(drain, policy, seen, worst, memory),
        Rule::PerPartition(_) => stay(Reason::Steady, &worst.text()),
    };
    memory.was_held = false;
    around_nothing(ask, policy, seen, memory)
}

/// No more are asked for while those that were asked for do not become ready.
fn only_if_they_come(ask: Ask, seen: &Observation, memory: &Memory) -> Ask {
    if ask.replicas <= seen.replicas || memory.are_pods_coming(seen.now) {
        return ask;
    }
    let message = format!(
        "{}; but only {} of {} pods are ready, and no other became so for {}: no more are asked for",
        ask.message,
        seen.ready,
        seen.replicas,
        seconds(NOT_COMING)
    );
    Ask::new(seen.replicas, Reason::PodsNotComing, message)
}

/// From nothing as soon as something arrives, and to nothing only when nothing has for the whole cooldown.
fn around_nothing(ask: Ask, policy: &Policy, seen: &Observation, memory: &mut Memory) -> Ask {
    // All of it: also what no reader could read away, which without readers nobody can tell from the rest.
    let unread = seen.flow.map(|flow| flow.produced - flow.committed);
    let lag = unread.or_else(|| seen.lag()).unwrap_or(0);
    let is_exact = seen.lags.iter().all(|(_, lag)| lag.exact().is_some());
    if seen.replicas == 0 && ask.replicas == 0 && memory.idle.is_woken_by(lag, is_exact) {
        return Ask::new(
            policy.bounds.max.min(1),
            Reason::Arrivals,
            format!("{lag} wait and nobody reads"),
        );
    }
    if ask.replicas > 0 || seen.replicas == 0 || policy.bounds.max == 0 {
        return ask;
    }
    if !memory.idle.has_lasted(seen.now, policy.cooldown) {
        // Asked again at once, not after another cooldown.
        memory.low_since = memory.low_since.map(|_| seen.now.saturating_sub(policy.cooldown));
        return Ask::new(1, ask.reason, ask.message);
    }
    memory.idle.sleep(lag);
    let message = format!("nothing has arrived for {}", seconds(policy.cooldown));
    Ask::new(0, Reason::Idle, message)
}

pub(super) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_millis().div_ceil(1000))
}

#[cfg(test)]
mod tests;
