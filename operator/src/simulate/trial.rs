//! A load, a group and a scaler, and what became of it.

use std::time::Duration;

use super::group::{Behaviour, Group};
use super::scaler::Scaler;

/// The model's step: half of the time between two looks of the operator.
const TICK: Duration = Duration::from_millis(125);

/// What is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The readers.
    pub behaviour: Behaviour,
    /// Replicas at the beginning.
    pub replicas: i32,
    /// Records that arrive in each second.
    pub seconds: Vec<f64>,
    /// A group is behind while more than this many seconds' worth of arrivals wait.
    pub behind_after: f64,
}

/// A moment of a trial.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Records a second that arrive.
    pub rate: f64,
    /// Records that wait.
    pub lag: f64,
    /// Replicas that are asked for.
    pub wanted: i32,
}

/// A change of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Duration,
    /// Replicas before.
    pub from: i32,
    /// Replicas after.
    pub to: i32,
}

/// What became of a trial.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// How long the group was behind.
    pub behind: Duration,
    /// Pods by the time that each of them ran, started or stopped.
    pub pod_seconds: f64,
    /// All changes of the replicas.
    pub changes: Vec<Change>,
    /// The most replicas.
    pub most: i32,
    /// Second by second.
    pub samples: Vec<Sample>,
}

impl Outcome {
    /// The most records that waited, once a second.
    pub fn most_waiting(&self) -> f64 {
        self.samples.iter().map(|sample| sample.lag).fold(0.0, f64::max)
    }

    /// How often a change went the other way than the one before it.
    pub fn reversals(&self) -> usize {
        self.reversals_since(Duration::ZERO)
    }

    /// The same, of the changes since a moment: the first of them may go the other way than the last one before.
    pub fn reversals_since(&self, moment: Duration) -> usize {
        reversals(&self.changes, |pair| pair[1].at >= moment)
    }

    /// The same, of the changes before a moment, or of those since then, whichever were more.
    pub fn most_reversals_around(&self, moment: Duration) -> usize {
        let before = reversals(&self.changes, |pair| pair[1].at < moment);
        before.max(reversals(&self.changes, |pair| pair[0].at >= moment))
    }
}

fn reversals(changes: &[Change], counts: impl Fn(&[Change]) -> bool) -> usize {
    let up = |change: &Change| change.to > change.from;
    changes
        .windows(2)
        .filter(|pair| counts(pair) && up(&pair[0]) != up(&pair[1]))
        .count()
}

/// Lets `scaler` have its way with the group.
pub fn run(trial: &Trial, scaler: &mut dyn Scaler) -> Outcome {
    let mut group = Group::new(trial.behaviour.clone(), trial.replicas);
    let mut outcome = Outcome {
        most: trial.replicas,
        ..Outcome::default()
    };
    let ticks = u32::try_from(Duration::from_secs(1).as_millis() / TICK.as_millis()).unwrap_or(1);
    let mut looked = None;
    for rate in &trial.seconds {
        for _ in 0..ticks {
            group.advance(TICK, rate * TICK.as_secs_f64());
            if group.lag() > rate * trial.behind_after {
                outcome.behind += TICK;
            }
            outcome.pod_seconds += f64::from(group.pods()) * TICK.as_secs_f64();
            if looked.is_some_and(|looked| group.now() < looked + scaler.interval()) {
                continue;
            }
            looked = Some(group.now());
            let (from, to) = (group.wanted(), scaler.look(&group));
            if from != to {
                group.scale(to);
                outcome.most = outcome.most.max(to);
                let at = group.now();
                outcome.changes.push(Change { at, from, to });
            }
        }
        outcome.samples.push(Sample {
            rate: *rate,
            lag: group.lag(),
            wanted: group.wanted(),
        });
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::Bounds;
    use crate::scale::target::policy;
    use crate::simulate::keda::{Keda, Settings};
    use crate::simulate::load::{Load, Shape};
    use crate::simulate::scaler::Own;
    use crate::validate::Scaling;

    /// A step from half a pod's worth to ten pods', at no moment at which either of the scalers happens to look.
    fn step() -> Trial {
        let load = Load {
            base: 50.0,
            shape: Shape::Step {
                at: Duration::from_secs(67),
                factor: 20.0,
            },
            noise: 0.0,
            length: Duration::from_secs(600),
        };
        Trial {
            behaviour: Behaviour::even(24, 100.0),
            replicas: 1,
            seconds: load.seconds(1),
            behind_after: 1.0,
        }
    }

    fn own() -> Own {
        let scaling = Scaling::Ladder {
            thresholds: vec![100, 500, 1000],
            cooldown: Duration::from_secs(60),
            commit_interval: Duration::from_millis(500),
        };
        Own::new(policy(&scaling, Bounds { min: 1, max: 12 }, 24).unwrap())
    }

    #[test]
    fn a_constant_load_that_is_answered_changes_nothing() {
        let trial = Trial {
            seconds: vec![50.0; 600],
            ..step()
        };
        let outcome = run(&trial, &mut own());
        assert_eq!(outcome.changes, []);
        assert_eq!(
            (outcome.most, outcome.reversals(), outcome.behind),
            (1, 0, Duration::ZERO)
        );
        assert!((outcome.pod_seconds - 600.0).abs() < 1e-6);
        assert_eq!(outcome.samples.len(), 600);
    }

    #[test]
    fn a_step_is_answered_at_once_and_sooner_than_by_keda() {
        let own = run(&step(), &mut own());
        let first = own.changes[0];
        assert!(first.at < Duration::from_secs(69), "{first:?}");
        let keda = Settings {
            lag_threshold: 100.0,
            min: 1,
            max: 12,
            partitions: 24,
            polling: Duration::from_secs(30),
            stabilization: Duration::from_secs(300),
        };
        let keda = run(&step(), &mut Keda::new(keda));
        assert!(own.behind < keda.behind, "{:?} and {:?}", own.behind, keda.behind);
        assert!(keda.changes[0].at > first.at);
    }

    #[test]
    fn the_rebalance_of_a_rung_that_is_given_up_does_not_bring_it_back() {
        let load = Load {
            base: 100.0,
            shape: Shape::Spike {
                at: Duration::from_secs(120),
                length: Duration::from_secs(60),
                factor: 20.0,
            },
            noise: 0.1,
            length: Duration::from_secs(3 * 3_600),
        };
        for rebalance in [1, 3, 6] {
            let mut behaviour = Behaviour::even(16, 200.0);
            behaviour.rebalance = Duration::from_secs(rebalance);
            let trial = Trial {
                behaviour,
                replicas: 4,
                seconds: load.seconds(1),
                behind_after: 1.0,
            };
            let scaling = Scaling::Ladder {
                thresholds: vec![100, 500, 1000],
                cooldown: Duration::from_secs(300),
                commit_interval: Duration::from_millis(500),
            };
            let mut own = Own::new(policy(&scaling, Bounds { min: 4, max: 16 }, 16).unwrap());
            let outcome = run(&trial, &mut own);
            assert_eq!(outcome.reversals(), 1, "{rebalance} s: {:?}", outcome.changes);
        }
    }

    #[test]
    fn a_change_that_goes_back_is_a_reversal() {
        let change = |from, to| Change {
            at: Duration::ZERO,
            from,
            to,
        };
        let outcome = Outcome {
            changes: vec![change(1, 4), change(4, 8), change(8, 4), change(4, 1), change(1, 4)],
            ..Outcome::default()
        };
        assert_eq!(outcome.reversals(), 2);
    }

    #[test]
    fn an_answer_to_another_load_is_no_reversal_of_the_one_before() {
        let change = |at, from, to| Change {
            at: Duration::from_secs(at),
            from,
            to,
        };
        let outcome = Outcome {
            changes: vec![change(5, 1, 3), change(90, 3, 2), change(120, 2, 8), change(200, 8, 6)],
            ..Outcome::default()
        };
        let most = |moment| outcome.most_reversals_around(Duration::from_secs(moment));
        assert_eq!(outcome.reversals(), 3);
        assert_eq!((most(120), most(0), most(1_000)), (1, 3, 3));
    }
}
