//! The operator's drain against KEDA with its best threshold, over many loads.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::group::Behaviour;
use super::keda::{Keda, STABILIZATION, Settings};
use super::load::{Load, Shape};
use super::scaler::Own;
use super::trial::{Outcome, Trial, run};
use crate::ladder::Bounds;
use crate::scale::decide::{Policy, Rule};
use crate::scale::drain::Drain;
use crate::scale::rates::capacity;
use crate::scale::target::with_rule;

/// Partitions of the topic, and most replicas.
const PARTITIONS: i32 = 24;
/// Part of what pods write that arrivals may take where the operator asks for more of them.
const ROOM: f64 = 0.77;
/// Seconds until a load that has changed is known.
const NOTICED: f64 = 6.0;
/// Within which the operator is to write what waits.
const TARGET: Duration = Duration::from_secs(60);
/// How long fewer replicas must have been enough.
const COOLDOWN: Duration = Duration::from_secs(60);
/// When a load changes that changes once.
const CHANGES: Duration = Duration::from_secs(120);
/// A group is behind while more than this many seconds' worth of arrivals wait.
const BEHIND_AFTER: f64 = 1.5;
/// Thresholds that KEDA may choose from, as seconds of one pod's work.
const GRID: [f64; 11] = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0];
/// Pod-seconds that may be spent, in parts of those of the other, for a result to count as as dear.
const AS_DEAR: f64 = 1.1;

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// More from a moment on.
    Step,
    /// Evenly more.
    Ramp,
    /// Up and down.
    Sine,
    /// More for a while.
    Spike,
    /// A day, in a tenth of the time.
    Daily,
    /// The same, with much noise.
    Noisy,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [
        Kind::Step,
        Kind::Ramp,
        Kind::Sine,
        Kind::Spike,
        Kind::Daily,
        Kind::Noisy,
    ];
}

/// One load with what both made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// What kind of load it was.
    pub kind: Kind,
    /// The operator's outcome.
    pub own: Outcome,
    /// KEDA's, with the threshold and the window that left it behind for the shortest time among those as dear as the
    /// operator's, or nearly as cheap as the cheapest where none is.
    pub rival: Outcome,
    /// Partitions of the topic.
    pub partitions: i32,
    /// The most replicas that could be needed: those that write the most that arrives in any few seconds, and what has
    /// waited until new pods read, within the target, with the room that the policy keeps.
    pub need: i32,
}

impl Round {
    /// How often the operator asked for more once the load had changed.
    pub fn climbs(&self) -> usize {
        let changes = self.own.changes.iter();
        changes
            .filter(|change| change.at >= CHANGES && change.to > change.from)
            .count()
    }

    /// How often the operator changed its mind about one step. There are two: the load begins with one replica, and changes
    /// later.
    pub fn reversals_of_a_step(&self) -> usize {
        self.own.most_reversals_around(CHANGES)
    }
}

/// The load of a seed: its kind, its numbers and the pods' rate are drawn.
pub fn round(seed: u64) -> Round {
    let mut random = StdRng::seed_from_u64(seed);
    let kind = Kind::ALL[usize::try_from(seed).unwrap_or(0) % Kind::ALL.len()];
    let pod_rate = random.random_range(20.0..500.0);
    let second = Duration::from_secs;
    let factor = random.random_range(3.0..12.0);
    let (shape, noise, length) = match kind {
        Kind::Step => (Shape::Step { at: CHANGES, factor }, 0.1, 900),
        Kind::Ramp => (
            Shape::Ramp {
                from: CHANGES,
                to: second(random.random_range(180..600)),
                factor,
            },
            0.1,
            1200,
        ),
        Kind::Sine => (
            Shape::Sine {
                period: second(random.random_range(300..1200)),
                amplitude: random.random_range(0.4..0.95),
            },
            0.1,
            2400,
        ),
        Kind::Spike => (
            Shape::Spike {
                at: CHANGES,
                length: second(random.random_range(20..180)),
                factor,
            },
            0.1,
            1200,
        ),
        Kind::Daily => (
            Shape::Sine {
                period: second(8640),
                amplitude: 0.9,
            },
            0.1,
            8640,
        ),
        Kind::Noisy => (Shape::Constant, 0.5, 1800),
    };
    let base = pod_rate * random.random_range(0.5..1.6);
    let base = match kind {
        Kind::Sine | Kind::Daily | Kind::Noisy => base * factor / 2.0,
        Kind::Step | Kind::Ramp | Kind::Spike => base,
    };
    let load = Load {
        base,
        shape,
        noise,
        length: second(length),
    };
    let mut behaviour = Behaviour::even(usize::try_from(PARTITIONS).unwrap_or(1), pod_rate);
    behaviour.start = Duration::from_millis(random.random_range(2_000..15_000));
    behaviour.rebalance = Duration::from_millis(random.random_range(500..3_000));
    let trial = Trial {
        seconds: load.seconds(seed),
        replicas: 1,
        behind_after: BEHIND_AFTER,
        behaviour,
    };
    against(kind, &trial)
}

fn against(kind: Kind, trial: &Trial) -> Round {
    let behaviour = &trial.behaviour;
    let own = run(trial, &mut Own::new(policy(behaviour)));
    let of_keda = |seconds: f64, stabilization: Duration| {
        let settings = Settings {
            lag_threshold: (behaviour.pod_rate * seconds).max(1.0),
            min: 1,
            max: PARTITIONS,
            partitions: PARTITIONS,
            polling: Duration::from_secs(30),
            stabilization,
        };
        run(trial, &mut Keda::at_odds(settings))
    };
    let windows = [STABILIZATION, COOLDOWN];
    let rivals: Vec<Outcome> = windows
        .iter()
        .flat_map(|window| GRID.map(|seconds| of_keda(seconds, *window)))
        .collect();
    let least = rivals
        .iter()
        .map(|rival| rival.pod_seconds)
        .fold(f64::INFINITY, f64::min);
    // Where none is as dear, the best of those that are nearly the cheapest.
    let budget = own.pod_seconds.max(least) * AS_DEAR;
    let rival = rivals
        .into_iter()
        .filter(|rival| rival.pod_seconds <= budget)
        .min_by_key(|rival| rival.behind)
        .unwrap_or_default();
    Round {
        kind,
        own,
        rival,
        partitions: PARTITIONS,
        need: need(trial),
    }
}

fn need(trial: &Trial) -> i32 {
    let behaviour = &trial.behaviour;
    let most = trial
        .seconds
        .windows(2)
        .map(|seconds| seconds.iter().sum::<f64>() / 2.0)
        .fold(0.0, f64::max);
    // What has waited when the new pods read must be written in what is left of the target.
    let late = (behaviour.start + behaviour.rebalance).as_secs_f64();
    let left = TARGET.as_secs_f64() - late;
    let rate = most * (1.0 + (late + NOTICED) / left);
    let pods = (rate / behaviour.pod_rate / ROOM).ceil() as i32;
    let even = (1..=PARTITIONS).find(|count| capacity(PARTITIONS, *count) >= f64::from(pods));
    even.unwrap_or(PARTITIONS)
}

/// A day of a constant load that varies by a fifth from second to second.
pub fn constant_day(seed: u64) -> Outcome {
    let mut random = StdRng::seed_from_u64(seed);
    let pod_rate = random.random_range(20.0..500.0);
    let load = Load {
        base: pod_rate * random.random_range(0.5..16.0),
        shape: Shape::Constant,
        noise: 0.2,
        length: Duration::from_secs(24 * 3600),
    };
    let behaviour = Behaviour::even(usize::try_from(PARTITIONS).unwrap_or(1), pod_rate);
    let trial = Trial {
        seconds: load.seconds(seed),
        replicas: 1,
        behind_after: BEHIND_AFTER,
        behaviour,
    };
    run(&trial, &mut Own::new(policy(&trial.behaviour)))
}

fn policy(behaviour: &Behaviour) -> Policy {
    let bounds = Bounds {
        min: 1,
        max: PARTITIONS,
    };
    let rule = Rule::Drain(Drain { target: TARGET });
    let commit_interval = behaviour.commit_interval + Duration::from_millis(300);
    with_rule(rule, bounds, COOLDOWN, commit_interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_drains_sooner_than_keda_for_hardly_more_pods() {
        let rounds: Vec<Round> = (0..36).map(round).collect();
        let sum = |value: fn(&Round) -> f64| rounds.iter().map(value).sum::<f64>();
        let own = sum(|round| round.own.behind.as_secs_f64());
        let rival = sum(|round| round.rival.behind.as_secs_f64());
        assert!(own < 0.75 * rival, "{own} and {rival}");
        let (own, rival) = (sum(|round| round.own.pod_seconds), sum(|round| round.rival.pod_seconds));
        assert!(own <= 1.1 * rival, "{own} and {rival}");
        for round in &rounds {
            assert!(
                round.own.most <= round.need,
                "{:?}: {} for {}",
                round.kind,
                round.own.most,
                round.need
            );
        }
    }

    #[test]
    fn a_constant_load_is_answered_once() {
        let outcome = constant_day(3);
        assert_eq!(outcome.reversals(), 0, "{:?}", outcome.changes);
    }
}
