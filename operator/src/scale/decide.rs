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
    /// What arrives and what pods write.
    pub(super) rates: Rates,
    /// What [`drain`] remembers.
    pub(super) drain: drain::Memory,
    idle: Idle,
    /// Whether replicas that somebody had set were kept at the last look.
    pub(super) was_held: bool,
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
        self.low_since = None;
        self.drain.interrupt();
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sms() -> Policy {
        climbing(Bounds { min: 4, max: 16 }, &[100, 500, 1000])
    }

    fn climbing(bounds: Bounds, thresholds: &[i64]) -> Policy {
        Policy {
            rule: Rule::Climb(Climb::new(bounds, thresholds.to_vec())),
            bounds,
            cooldown: Duration::from_secs(300),
            commit_interval: Duration::from_millis(500),
            rebalance_hold: Duration::from_secs(3),
            manual_hold: Duration::from_secs(1800),
        }
    }

    fn seen(now: u64, replicas: i32, lag: Lag) -> Observation {
        Observation {
            now: Duration::from_secs(now),
            replicas,
            lags: vec![("sms_batched".into(), lag)],
            flow: None,
            ready: replicas,
            rebalancing: None,
            manual: None,
            floors: vec![],
        }
    }

    fn once(replicas: i32, lag: Lag) -> Decision {
        decide(&sms(), &seen(0, replicas, lag), &mut Memory::default())
    }

    #[test]
    fn each_threshold_strictly_exceeded_is_one_step_and_one_patch_goes_straight_there() {
        for (lag, wanted) in [
            (0, 4),
            (100, 4),
            (101, 8),
            (500, 8),
            (501, 12),
            (1000, 12),
            (1001, 16),
            (1 << 40, 16),
        ] {
            assert_eq!(once(4, Lag::Known(lag)).wanted, wanted, "lag {lag}");
        }
    }

    #[test]
    fn what_is_switched_off_goes_to_nothing_and_stays_there_whatever_the_lag() {
        let off = climbing(Bounds { min: 0, max: 0 }, &[100, 500, 1000]);
        for lag in [Lag::Known(0), Lag::Known(1 << 40), Lag::Unknown] {
            for replicas in [0, 4] {
                let decision = decide(&off, &seen(0, replicas, lag), &mut Memory::default());
                assert_eq!(decision.wanted, 0, "{replicas} replicas, lag {lag:?}");
            }
        }
        let mut by_hand = seen(0, 3, Lag::Known(0));
        by_hand.manual = Some(("kubectl".into(), Duration::ZERO));
        assert_eq!(decide(&off, &by_hand, &mut Memory::default()).wanted, 0);
    }

    #[test]
    fn a_group_takes_its_worst_topic() {
        let mut both = seen(0, 4, Lag::Known(7));
        both.lags.push(("calls".into(), Lag::Known(600)));
        let decision = decide(&sms(), &both, &mut Memory::default());
        assert_eq!(
            (decision.wanted, decision.message.as_str()),
            (12, "lag 600 of calls is above 500")
        );
    }

    #[test]
    fn down_one_rung_after_each_whole_cooldown() {
        let (policy, mut memory) = (sms(), Memory::default());
        let mut replicas = 16;
        let mut history = vec![];
        for now in 0..=901 {
            let decision = decide(&policy, &seen(now, replicas, Lag::Known(0)), &mut memory);
            if decision.wanted != replicas {
                replicas = decision.wanted;
                history.push((now, replicas, decision.reason));
            }
        }
        assert_eq!(
            history,
            [
                (300, 12, Reason::LagLow),
                (600, 8, Reason::LagLow),
                (900, 4, Reason::LagLow)
            ]
        );
    }

    #[test]
    fn a_lag_above_half_of_the_crossed_threshold_starts_the_cooldown_again() {
        let (policy, mut memory) = (sms(), Memory::default());
        let mut until = |times: std::ops::RangeInclusive<u64>, lag: i64| {
            let decisions = times
                .step_by(10)
                .map(|now| decide(&policy, &seen(now, 8, Lag::Known(lag)), &mut memory));
            decisions.last().unwrap()
        };
        assert_eq!(until(0..=190, 50).reason, Reason::Cooldown);
        assert_eq!(until(200..=200, 51).reason, Reason::NotLowYet);
        assert_eq!(until(210..=500, 50).reason, Reason::Cooldown);
        assert_eq!(until(510..=510, 50).wanted, 4);
    }

    #[test]
    fn unknown_lag_changes_nothing_and_a_lower_bound_only_leads_up() {
        assert_eq!(once(12, Lag::Unknown).wanted, 12);
        assert_eq!(once(4, Lag::AtLeast(501)).wanted, 12);
        let (policy, mut memory) = (sms(), Memory::default());
        for now in 0..1000 {
            assert_eq!(decide(&policy, &seen(now, 12, Lag::AtLeast(0)), &mut memory).wanted, 12);
        }
    }

    #[test]
    fn a_rebalance_holds_for_a_while_and_not_for_ever() {
        let mut rebalancing = seen(0, 4, Lag::Known(5000));
        rebalancing.rebalancing = Some(Duration::from_secs(1));
        assert_eq!(
            decide(&sms(), &rebalancing, &mut Memory::default()).reason,
            Reason::Rebalancing
        );
        rebalancing.rebalancing = Some(Duration::from_secs(3));
        assert_eq!(decide(&sms(), &rebalancing, &mut Memory::default()).wanted, 16);
    }

    #[test]
    fn replicas_set_by_hand_are_kept_for_their_time_and_no_more_than_the_most() {
        let by_hand = |replicas: i32, lag: i64, since: u64| {
            let mut seen = seen(0, replicas, Lag::Known(lag));
            seen.manual = Some(("kubectl".into(), Duration::from_secs(since)));
            let decision = decide(&sms(), &seen, &mut Memory::default());
            (decision.wanted, decision.reason)
        };
        assert_eq!(by_hand(9, 5000, 0), (9, Reason::ManualScale));
        assert_eq!(by_hand(0, 5000, 1799), (0, Reason::ManualScale));
        assert_eq!(by_hand(40, 0, 10), (16, Reason::ManualScale));
        let mut memory = Memory::default();
        let mut until_over = |since: u64| {
            let mut seen = seen(since, 9, Lag::Known(0));
            seen.manual = Some(("kubectl".into(), Duration::from_secs(since)));
            let decision = decide(&sms(), &seen, &mut memory);
            (decision.wanted, decision.reason)
        };
        assert_eq!(until_over(1799), (9, Reason::ManualScale));
        assert_eq!(until_over(1800), (4, Reason::ManualScaleOver));
        assert_eq!(by_hand(9, 5000, 1800), (16, Reason::LagAboveThreshold));
        assert_eq!(by_hand(8, 200, 1800), (8, Reason::Steady));
    }

    #[test]
    fn no_more_pods_are_asked_for_while_those_that_were_do_not_come() {
        let (policy, mut memory) = (sms(), Memory::default());
        let mut pending = |now: u64, lag: i64, ready: i32| {
            let mut seen = seen(now, 8, Lag::Known(lag));
            seen.ready = ready;
            let decision = decide(&policy, &seen, &mut memory);
            (decision.wanted, decision.reason)
        };
        assert_eq!(pending(0, 200, 4), (8, Reason::Steady));
        assert_eq!(pending(119, 200, 5), (8, Reason::Steady));
        assert_eq!(pending(238, 600, 5), (12, Reason::LagAboveThreshold));
        for now in 239..300 {
            pending(now, 200, 5);
        }
        assert_eq!(pending(300, 600, 5), (8, Reason::PodsNotComing));
        assert_eq!(pending(301, 600, 6), (12, Reason::LagAboveThreshold));
    }

    #[test]
    fn pods_that_end_and_start_again_are_none_that_come() {
        let (policy, mut memory) = (sms(), Memory::default());
        let mut after = |now: u64, lag: i64, ready: i32| {
            let mut seen = seen(now, 8, Lag::Known(lag));
            seen.ready = ready;
            decide(&policy, &seen, &mut memory).reason
        };
        for now in 0..130 {
            // All of them for five seconds of every twenty.
            after(now, 200, if now % 20 < 5 { 8 } else { 4 });
        }
        assert_eq!(after(130, 600, 4), Reason::PodsNotComing);
        assert_eq!(after(141, 600, 8), Reason::PodsNotComing);
        for now in 142..151 {
            after(now, 200, 8);
        }
        assert_eq!(after(151, 600, 8), Reason::LagAboveThreshold);
    }

    #[test]
    fn a_reader_that_is_none_comes_also_where_only_a_part_is_known() {
        let policy = climbing(Bounds { min: 0, max: 4 }, &[100]);
        let mut memory = Memory::default();
        let mut look = |lag| decide(&policy, &seen(0, 0, lag), &mut memory);
        assert_eq!(look(Lag::AtLeast(0)).wanted, 0);
        assert_eq!(look(Lag::Unknown).wanted, 0);
        let woken = look(Lag::AtLeast(50));
        assert_eq!((woken.wanted, woken.reason), (1, Reason::Arrivals));
    }

    #[test]
    fn a_rung_is_kept_while_more_arrives_than_the_lower_one_could_write() {
        let policy = sms();
        let mut memory = Memory::with_pod_rate(Some(10.0));
        let mut last = None;
        for quarter in 0..4 * 400_i64 {
            let mut seen = seen(0, 8, Lag::Known(0));
            seen.now = Duration::from_millis(250 * quarter as u64);
            // 40 a second; four pods write 40, of which they may be used to four fifths.
            seen.flow = Some(Flow {
                produced: 10 * quarter,
                committed: 10 * quarter,
                expired: 0,
                partitions: 16,
                waiting: 0,
                hottest: 0.0,
                spread: 0.0,
                readers: 8,
            });
            last = Some(decide(&policy, &seen, &mut memory));
        }
        let last = last.unwrap();
        assert_eq!((last.wanted, last.reason), (8, Reason::NotLowYet));
        assert!(
            last.message
                .ends_with("40/s arrive, too many for the 40/s that 4 replicas write"),
            "{}",
            last.message
        );
    }

    #[test]
    fn a_floor_is_the_least_whatever_the_lag_and_no_more_than_the_most() {
        let floor = |replicas| Floor {
            replicas,
            reason: Reason::Schedule,
            message: "it is morning".to_owned(),
        };
        let with = |replicas: i32, lag: Lag, floors: Vec<Floor>| {
            let mut seen = seen(0, replicas, lag);
            seen.floors = floors;
            let decision = decide(&sms(), &seen, &mut Memory::default());
            (decision.wanted, decision.reason)
        };
        for lag in [Lag::Known(0), Lag::AtLeast(0), Lag::Unknown] {
            assert_eq!(with(4, lag, vec![floor(6), floor(5)]), (6, Reason::Schedule));
            assert_eq!(with(4, lag, vec![floor(60)]), (16, Reason::Schedule));
        }
        assert_eq!(with(1, Lag::Unknown, vec![floor(6)]), (6, Reason::Schedule));
        assert_eq!(
            with(4, Lag::Known(501), vec![floor(6)]),
            (12, Reason::LagAboveThreshold)
        );
        assert_eq!(with(6, Lag::Known(0), vec![floor(6)]).0, 6);
    }

    #[test]
    fn a_rung_is_not_given_up_below_a_floor() {
        let (policy, mut memory) = (sms(), Memory::default());
        for now in 0..=700 {
            let mut seen = seen(now, 12, Lag::Known(0));
            seen.floors = vec![Floor {
                replicas: 12,
                reason: Reason::CpuAboveTarget,
                message: "60 % of their CPU is used".to_owned(),
            }];
            assert_eq!(decide(&policy, &seen, &mut memory).wanted, 12);
        }
    }

    #[test]
    fn there_is_one_replica_for_each_partition() {
        let policy = Policy {
            rule: Rule::PerPartition(6),
            bounds: Bounds { min: 1, max: 10 },
            ..sms()
        };
        for lag in [Lag::Unknown, Lag::Known(0), Lag::Known(1 << 40)] {
            let decision = decide(&policy, &seen(0, 3, lag), &mut Memory::default());
            assert_eq!((decision.wanted, decision.reason), (6, Reason::Partitions));
        }
    }

    #[test]
    fn replicas_outside_the_bounds_come_back_at_once() {
        assert_eq!(once(1, Lag::Unknown).wanted, 4);
        assert_eq!(once(1, Lag::Known(501)).wanted, 12);
        assert_eq!(once(40, Lag::Known(0)).wanted, 16);
    }

    #[test]
    fn equal_rungs_are_stepped_over_on_the_way_down() {
        let policy = Policy {
            cooldown: Duration::ZERO,
            ..climbing(Bounds { min: 1, max: 2 }, &[3, 6, 8, 10])
        };
        assert_eq!(
            decide(&policy, &seen(0, 2, Lag::Known(0)), &mut Memory::default()).wanted,
            1
        );
    }

    proptest! {
        #[test]
        fn never_outside_the_bounds_and_never_fewer_for_more_lag(
            min in 1..20i32, span in 0..40i32, replicas in 0..80i32, lag in 0..5000i64, more in 0..5000i64,
        ) {
            let policy = Policy {
                cooldown: Duration::ZERO,
                ..climbing(Bounds { min, max: min + span }, &[100, 500, 1000])
            };
            let low = decide(&policy, &seen(0, replicas, Lag::Known(lag)), &mut Memory::default()).wanted;
            let high = decide(&policy, &seen(0, replicas, Lag::Known(lag + more)), &mut Memory::default()).wanted;
            prop_assert!((min..=min + span).contains(&low));
            prop_assert!(low <= high);
        }

        #[test]
        fn a_decision_carried_out_is_followed_by_none_in_the_other_direction(lag in 0..5000i64, start in 4..=16i32) {
            let (policy, mut memory) = (sms(), Memory::default());
            let mut replicas = start;
            let mut directions = vec![];
            for now in (0..3000).step_by(10) {
                let wanted = decide(&policy, &seen(now, replicas, Lag::Known(lag)), &mut memory).wanted;
                if wanted != replicas {
                    directions.push(wanted > replicas);
                    replicas = wanted;
                }
            }
            prop_assert!(directions.windows(2).all(|pair| pair[0] == pair[1]), "{:?}", directions);
        }
    }
}
