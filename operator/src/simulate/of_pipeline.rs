//! A reader of a pipeline as the model has it.

use std::time::Duration;

use super::group::Behaviour;
use super::keda::{STABILIZATION, Settings};
use super::scaler::Own;
use super::trial::Trial;
use crate::scale::decide::Policy;
use crate::scale::summary::{self, partitions};
use crate::scale::target::policy;
use crate::validate::{Consumer, Pipeline};

/// How often KEDA looks at a group of nothing, by default.
const KEDA_POLLING: Duration = Duration::from_secs(30);
/// A group is behind while more than this many seconds' worth of arrivals wait.
const BEHIND_AFTER: f64 = 1.0;

/// A reader that cannot be simulated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimulateError {
    /// There is no such reader.
    #[error("the pipeline has no consumer {name:?}; it has {}", present.join(", "))]
    NoSuchConsumer {
        /// The name.
        name: String,
        /// The names that there are.
        present: Vec<String>,
    },
    /// Its replicas are left alone.
    #[error("the replicas of consumer {0:?} are left alone (scaling.type: Fixed): there is no policy to simulate")]
    NotScaled(String),
    /// It has no pods.
    #[error("consumer {0:?} is switched off (replicas: {{min: 0, max: 0}}): there is nothing to simulate")]
    SwitchedOff(String),
}

/// What a reader is like where the spec does not say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assumed {
    /// Records a second that a pod writes.
    pub pod_rate: f64,
    /// From the patch until a pod joins the group.
    pub start: Duration,
    /// How long nobody reads when somebody joins or leaves.
    pub rebalance: Duration,
}

/// A reader of `pipeline` with its policy, and KEDA in its place with the same bounds.
pub fn of_consumer(
    pipeline: &Pipeline,
    name: &str,
    assumed: Assumed,
    seconds: Vec<f64>,
    keda_threshold: f64,
) -> Result<(Trial, Own, Settings), SimulateError> {
    let consumer = find(pipeline, name)?;
    let bounds = consumer.component.bounds;
    if bounds.is_off() {
        return Err(SimulateError::SwitchedOff(name.to_owned()));
    }
    let partitions = partitions(pipeline, consumer);
    let policy = policy_of(pipeline, name)?;
    let mut behaviour = Behaviour::even(usize::try_from(partitions).unwrap_or(1), assumed.pod_rate);
    behaviour.start = assumed.start;
    behaviour.rebalance = assumed.rebalance;
    behaviour.commit_interval = consumer.linger;
    let trial = Trial {
        behaviour,
        replicas: bounds.min,
        seconds,
        behind_after: BEHIND_AFTER,
    };
    let keda = Settings {
        lag_threshold: keda_threshold,
        min: bounds.min,
        max: bounds.max,
        partitions,
        polling: KEDA_POLLING,
        stabilization: STABILIZATION,
    };
    Ok((trial, Own::new(policy), keda))
}

/// How a reader of `pipeline` is scaled, in a line.
pub fn summary_of(pipeline: &Pipeline, name: &str) -> Result<String, SimulateError> {
    Ok(summary::of_consumer(pipeline, find(pipeline, name)?))
}

/// The policy of a reader of `pipeline`, where its topics have the partitions of the spec.
pub fn policy_of(pipeline: &Pipeline, name: &str) -> Result<Policy, SimulateError> {
    let consumer = find(pipeline, name)?;
    let policy = policy(
        &consumer.scaling,
        consumer.component.bounds,
        partitions(pipeline, consumer),
    );
    policy.ok_or_else(|| SimulateError::NotScaled(name.to_owned()))
}

fn find<'a>(pipeline: &'a Pipeline, name: &str) -> Result<&'a Consumer, SimulateError> {
    let mut consumers = pipeline.consumers.iter();
    let found = consumers.find(|consumer| consumer.component.name == name);
    found.ok_or_else(|| SimulateError::NoSuchConsumer {
        name: name.to_owned(),
        present: pipeline
            .consumers
            .iter()
            .map(|one| one.component.name.clone())
            .collect(),
    })
}
