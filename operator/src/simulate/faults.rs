//! The operator while something is wrong: it must not act in the wrong direction, and never give pods up on what it does
//! not know.
//!
//! Each fault is one of the odd states of Kafka, of pods or of the operator itself that have fooled scalers by lag. It
//! lasts for some minutes of a load that is steady, grows or shrinks meanwhile. [`judge`] says which actions are wrong.

mod judge;

pub use judge::{Act, Verdict, Wrong};

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::group::{Behaviour, Group};
use super::scaler::Own;
use crate::ladder::Bounds;
use crate::scale::climb::Climb;
use crate::scale::decide::{Observation, Policy, Rule};
use crate::scale::drain::Drain;
use crate::scale::lag::Lag;
use crate::scale::target::{READ_INTERVAL, with_rule};

/// The model's step: the one of the looks.
const TICK: Duration = READ_INTERVAL;
/// When a fault begins, how long it lasts, and how long there is to get over it, in seconds.
const BEGIN: u64 = 300;
const LASTS: u64 = 240;
const AFTER: u64 = 300;
/// How long fewer replicas must have been enough.
const COOLDOWN: Duration = Duration::from_secs(60);
/// How long replicas that somebody has set are kept here.
const BY_HAND: Duration = Duration::from_secs(120);
/// Until another load shows beyond doubt.
const SHOWS: Duration = Duration::from_secs(5);

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: what the others are compared with.
    None,
    /// No offset can be read.
    KafkaAway,
    /// The offsets of some partitions cannot be read.
    PartitionsUnknown,
    /// One of two topics cannot be read.
    TopicUnknown,
    /// The coordinator moves: committed offsets can be read now and then.
    CoordinatorMoves,
    /// Offsets are read with long and uneven pauses.
    SlowReadings,
    /// The operator does not look for minutes, and then goes on.
    Suspended,
    /// The operator starts anew, or another one takes over: it knows nearly what a pod writes, from the status.
    Restarted,
    /// The topic is deleted and made again.
    TopicRecreated,
    /// What waits is deleted by retention.
    Expired,
    /// There are more partitions all of a sudden.
    PartitionsAdded,
    /// Most records go to one partition.
    HotPartition,
    /// A partition's reader cannot get past a record.
    PoisonedPartition,
    /// A transaction's marker is left that nobody ever commits.
    Residue,
    /// A transaction stays open: what arrives cannot be read until it ends.
    OpenTransaction,
    /// Readers commit every five seconds.
    RareCommits,
    /// Pods are ready long before they join the group.
    LateJoin,
    /// Records arrive in batches, every ten seconds.
    Batches,
    /// The group rebalances every few seconds.
    RebalanceStorm,
    /// A rebalance takes most of a minute.
    LongRebalance,
    /// New pods do not start.
    PodsPending,
    /// A member ends every few seconds, and starts again.
    CrashLoop,
    /// New pods take a minute to start.
    SlowStart,
    /// What the readers write to can take no more.
    SinkSaturated,
    /// What the readers write to takes nothing at all.
    SinkDown,
    /// Somebody has set the replicas by hand.
    SetByHand,
    /// Something else sets other replicas now and then.
    Tampered,
    /// What is decided is not carried out.
    PatchesLost,
    /// Decisions are carried out ten seconds late.
    PatchesLate,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 29] = [
        Fault::None,
        Fault::KafkaAway,
        Fault::PartitionsUnknown,
        Fault::TopicUnknown,
        Fault::CoordinatorMoves,
        Fault::SlowReadings,
        Fault::Suspended,
        Fault::Restarted,
        Fault::TopicRecreated,
        Fault::Expired,
        Fault::PartitionsAdded,
        Fault::HotPartition,
        Fault::PoisonedPartition,
        Fault::Residue,
        Fault::OpenTransaction,
        Fault::RareCommits,
        Fault::LateJoin,
        Fault::Batches,
        Fault::RebalanceStorm,
        Fault::LongRebalance,
        Fault::PodsPending,
        Fault::CrashLoop,
        Fault::SlowStart,
        Fault::SinkSaturated,
        Fault::SinkDown,
        Fault::SetByHand,
        Fault::Tampered,
        Fault::PatchesLost,
        Fault::PatchesLate,
    ];

    /// Whether pods that are ready write less than they could, so that more arrivals than before are no reason to keep
    /// them.
    fn limits_writing(self) -> bool {
        matches!(
            self,
            Fault::SinkSaturated | Fault::SinkDown | Fault::PoisonedPartition | Fault::HotPartition
        )
    }
}

/// Lets a fault happen to a reader that is scaled by the ladder (even seeds) or by its drain (odd ones). Load, pods and
/// the moment are drawn.
pub fn suffer(fault: Fault, seed: u64) -> Verdict {
    Scene::new(fault, seed).play()
}

struct Scene {
    fault: Fault,
    random: StdRng,
    group: Group,
    policy: Policy,
    scaler: Own,
    pod_rate: f64,
    /// Records a second before and while the fault lasts.
    loads: [f64; 2],
    begin: Duration,
    by_hand: Option<Duration>,
    /// Since when fewer pods are ready than are asked for.
    short: Option<Duration>,
    /// What was decided, to be carried out later.
    late: Option<(Duration, i32)>,
    hidden: f64,
    verdict: Verdict,
}

impl Scene {
    fn new(fault: Fault, seed: u64) -> Scene {
        let mut random = StdRng::seed_from_u64(seed);
        let partitions = random.random_range(12..=24);
        let pod_rate = random.random_range(20.0..200.0);
        let mut behaviour = Behaviour::even(partitions, pod_rate);
        behaviour.start = Duration::from_millis(random.random_range(2_000..10_000));
        let bounds = Bounds {
            min: random.random_range(1..=2),
            max: i32::try_from(partitions).unwrap_or(i32::MAX),
        };
        let rule = if seed.is_multiple_of(2) {
            let thresholds = [5.0, 10.0, 20.0].map(|seconds: f64| (seconds * pod_rate) as i64);
            Rule::Climb(Climb::new(bounds, thresholds.to_vec()))
        } else {
            Rule::Drain(Drain {
                target: Duration::from_secs(60),
            })
        };
        if fault == Fault::RareCommits {
            behaviour.commit_interval = Duration::from_secs(5);
        }
        if fault == Fault::LateJoin {
            behaviour.join = Duration::from_secs(25);
        }
        let commit_interval = behaviour.commit_interval + Duration::from_millis(300);
        let mut policy = with_rule(rule, bounds, COOLDOWN, commit_interval);
        policy.manual_hold = BY_HAND;
        // A quarter of those that drain have not learned yet what a pod writes.
        let knows = matches!(policy.rule, Rule::Climb(_)) || random.random_range(0..4) > 0;
        let load = pod_rate * random.random_range(0.3..5.0);
        // Half of the loads stay, a quarter grows, a quarter shrinks while the fault lasts.
        let factor = match random.random_range(0..4) {
            0 => random.random_range(1.5..2.5),
            1 => random.random_range(0.2..0.7),
            _ => 1.0,
        };
        let replicas = (load / pod_rate / 0.8).ceil() as i32;
        Scene {
            fault,
            group: Group::new(behaviour, replicas.clamp(bounds.min, bounds.max)),
            scaler: Own::that_knows(policy.clone(), knows.then_some(pod_rate)),
            policy,
            pod_rate,
            loads: [load, load * factor],
            begin: Duration::from_secs(BEGIN) + Duration::from_millis(random.random_range(0..5000)),
            random,
            by_hand: None,
            short: None,
            late: None,
            hidden: 0.0,
            verdict: Verdict::default(),
        }
    }

    fn play(mut self) -> Verdict {
        let ticks = Duration::from_secs(BEGIN + LASTS + AFTER).as_millis() / TICK.as_millis();
        for _ in 0..ticks {
            let (lasts, began, ends) = self.phase();
            self.advance(lasts);
            self.disturb(lasts, began, ends);
            self.look(lasts);
        }
        self.judge_end();
        self.verdict
    }

    /// Whether the fault lasts, and whether this is its first or its last moment.
    fn phase(&self) -> (bool, bool, bool) {
        let now = self.group.now();
        let end = self.begin + Duration::from_secs(LASTS);
        let lasts = now >= self.begin && now < end;
        (lasts, lasts && now < self.begin + TICK, lasts && now + TICK >= end)
    }

    fn advance(&mut self, lasts: bool) {
        let noise = self.random.random_range(0.9..1.1);
        let mut arriving = self.loads[usize::from(lasts)] * TICK.as_secs_f64() * noise;
        match self.fault {
            Fault::Batches if lasts => {
                self.hidden += arriving;
                let is_due = self.group.now().as_millis() % 10_000 < TICK.as_millis();
                arriving = if is_due { std::mem::take(&mut self.hidden) } else { 0.0 };
            }
            Fault::OpenTransaction if lasts => {
                self.hidden += arriving;
                arriving = 0.0;
            }
            _ => arriving += std::mem::take(&mut self.hidden),
        }
        self.group.advance(TICK, arriving);
    }

    fn disturb(&mut self, lasts: bool, began: bool, ends: bool) {
        let every = |seconds: u64, now: Duration| now.as_millis() % (u128::from(seconds) * 1000) < TICK.as_millis();
        let now = self.group.now();
        let partitions = self.group.flow().partitions;
        match self.fault {
            Fault::Restarted if began => {
                let nearly = self.pod_rate * self.random.random_range(0.85..1.15);
                self.scaler = Own::that_knows(self.policy.clone(), Some(nearly));
            }
            Fault::TopicRecreated if began => self.group.recreate_topic(),
            Fault::Expired if lasts && every(20, now) => self.group.expire(),
            Fault::PartitionsAdded if began => self.group.double_partitions(),
            Fault::PoisonedPartition if began || ends => self.group.poison(began),
            Fault::HotPartition if began || ends => {
                let shares = &mut self.group.behaviour_mut().shares;
                let others = if began { 0.2 } else { 1.0 } / f64::from(partitions - i32::from(began));
                shares.fill(others);
                if began {
                    shares[0] = 0.8;
                }
            }
            Fault::RebalanceStorm if lasts && every(6, now) => self.group.rebalance(),
            Fault::LongRebalance if began || ends => {
                self.group.behaviour_mut().rebalance = Duration::from_secs(if began { 40 } else { 1 });
                if began {
                    self.group.rebalance();
                }
            }
            Fault::PodsPending if began || ends => {
                let start = if began { 100_000 } else { 3 };
                self.group.behaviour_mut().start = Duration::from_secs(start);
                if ends {
                    self.group.start_within(Duration::from_secs(3));
                }
            }
            Fault::SlowStart if began || ends => {
                self.group.behaviour_mut().start = Duration::from_secs(if began { 60 } else { 3 });
            }
            Fault::CrashLoop if lasts && every(15, now) => self.group.crash(),
            Fault::SinkSaturated if began || ends => {
                self.group.behaviour_mut().sink_rate = if began { 0.8 * self.loads[1] } else { f64::INFINITY };
            }
            Fault::SinkDown if began || ends => {
                self.group.behaviour_mut().sink_rate = if began { 0.0 } else { f64::INFINITY };
            }
            Fault::SetByHand if began => {
                let other = self
                    .random
                    .random_range(self.policy.bounds.min..=self.policy.bounds.max);
                self.group.scale(other);
                self.by_hand = Some(now);
            }
            Fault::Tampered if lasts && every(40, now) => {
                let other = self
                    .random
                    .random_range(self.policy.bounds.min..=self.policy.bounds.max);
                self.group.scale(other);
            }
            _ => {}
        }
        if let Some((_, to)) = self.late.filter(|(due, _)| *due <= now) {
            self.late = None;
            self.group.scale(to);
        }
    }

    fn look(&mut self, lasts: bool) {
        let now = self.group.now();
        let is_missed = match self.fault {
            Fault::Suspended => lasts,
            Fault::SlowReadings if lasts => self.random.random_range(0..20) > 0,
            _ => false,
        };
        if is_missed {
            return;
        }
        let lag = Lag::Known(self.group.visible_lag());
        let lag = if lasts { self.spoiled(lag) } else { lag };
        let mut seen = self.scaler.see(&self.group, lag);
        if lasts {
            self.spoil(&mut seen, lag);
        }
        if let Some(since) = self.by_hand {
            seen.manual = Some(("kubectl".to_owned(), now.saturating_sub(since)));
        }
        let is_short = seen.ready < seen.replicas;
        self.short = is_short.then(|| self.short.unwrap_or(now));
        let decision = self.scaler.decide(&seen);
        if decision.wanted == seen.replicas {
            return;
        }
        self.judge(&seen, &decision);
        match self.fault {
            Fault::PatchesLost if lasts => {}
            Fault::PatchesLate if lasts => {
                self.late
                    .get_or_insert((now + Duration::from_secs(10), decision.wanted));
            }
            _ => {
                self.by_hand = None;
                self.group.scale(decision.wanted);
            }
        }
    }

    /// The lag, as the fault shows it.
    fn spoiled(&mut self, lag: Lag) -> Lag {
        let known = lag.lower_bound().unwrap_or(0);
        match self.fault {
            Fault::KafkaAway => Lag::Unknown,
            Fault::CoordinatorMoves if self.random.random_range(0..3) > 0 => Lag::Unknown,
            Fault::PartitionsUnknown => Lag::AtLeast(known / 2),
            Fault::Residue => Lag::Known(known + 1),
            _ => lag,
        }
    }

    /// The rest of what is seen.
    fn spoil(&mut self, seen: &mut Observation, lag: Lag) {
        if self.fault == Fault::TopicUnknown {
            seen.lags.push(("other".to_owned(), Lag::Unknown));
        }
        if lag.exact().is_none() || self.fault == Fault::TopicUnknown {
            seen.flow = None;
        }
        if let (Fault::Residue, Some(flow)) = (self.fault, &mut seen.flow) {
            flow.produced += 1;
        }
    }

    /// Records a second that arrive, readable or not.
    fn arriving(&self) -> f64 {
        self.loads[usize::from(self.phase().0)]
    }

    /// The same, where another load shows only after some seconds: the less of both until then.
    fn arriving_lately(&self) -> f64 {
        let end = self.begin + Duration::from_secs(LASTS);
        let since = |moment: Duration| self.group.now().checked_sub(moment);
        let is_new = [self.begin, end].map(|moment| since(moment).is_some_and(|past| past < SHOWS));
        if is_new.contains(&true) {
            self.loads[0].min(self.loads[1])
        } else {
            self.arriving()
        }
    }

    /// Whether what arrives cannot be seen by anybody.
    fn is_hidden(&self) -> bool {
        self.fault == Fault::OpenTransaction && self.phase().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads for each fault; `cargo xtask bench scale-sim` tries a thousand.
    const SEEDS: u64 = 16;

    #[test]
    fn no_fault_leads_the_wrong_way() {
        for fault in Fault::ALL {
            for seed in 0..SEEDS {
                let verdict = suffer(fault, seed);
                assert!(verdict.wrong.is_empty(), "{fault:?}, seed {seed}: {:#?}", verdict.wrong);
            }
        }
    }
}
