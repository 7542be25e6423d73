//! The pass: validate ─► resolve ─► plan ─► topics ─► apply ─► observe ─► status.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::Utc;
use futures::FutureExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource, ResourceExt};
use tracing::{info, warn};

use crate::api::SyncPipeline;
use crate::apply::{ApplyError, Room};
use crate::claims::Claims;
use crate::defaults::filled_in;
use crate::deletion::{self, DeletionError, Released};
use crate::deployments::Deployments;
use crate::fault::{self, Step};
use crate::kafka::topics::ObservedTopics;
use crate::kafka::{Clusters, Connection};
use crate::metrics::Metrics;
use crate::objects::Objects;
use crate::plan::{Plan, Settings, plan};
use crate::report::Reporter;
use crate::resolve::{ResolveError, resolve};
use crate::scale::followers::Followers;
use crate::scale::target;
use crate::status::{Failure, Observations};
use crate::succession;
use crate::topics::{self, TopicsError};
use crate::validate::{InvalidSpec, Pipeline, Scaling, validate};

/// How often a pipeline at rest is looked at, for changes that no watch tells: topics, Secrets.
const REST: Duration = Duration::from_secs(30);
/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often a deletion looks whether the pods are gone.
const DELETION_INTERVAL: Duration = Duration::from_secs(1);
/// Annotation that, being `true`, keeps the operator from writing anything but the status.
pub const PAUSED_ANNOTATION: &str = "syncpipeline.dev/paused";

/// What every pass needs.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// Connections to Kafka.
    pub clusters: Arc<Clusters>,
    /// What the watches see of the objects that the operator made.
    pub objects: Arc<Objects>,
    /// The Deployments among them.
    pub deployments: Deployments,
    /// The followers of all pipelines.
    pub followers: Followers,
    /// Writes status and Events.
    pub reporter: Reporter,
    /// Default images.
    pub settings: Settings,
    /// The operator's metrics.
    pub metrics: Metrics,
    /// Which pipeline holds which topics and groups.
    pub claims: Claims,
    /// Failures in a row, by uid.
    pub failures: Mutex<HashMap<String, u32>>,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// A Secret is missing.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The spec cannot become a pipeline.
    #[error(transparent)]
    Invalid(#[from] InvalidSpec),
    /// Topics.
    #[error(transparent)]
    Topics(#[from] TopicsError),
    /// The end of the object.
    #[error(transparent)]
    Deletion(#[from] DeletionError),
    /// The API server, or somebody else's object.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A fault of the operator, which must not be one for all other objects.
    #[error("the operator fails with this object, which is a fault of its own, please report it: {0}")]
    Panicked(String),
}

impl PassError {
    fn failure(&self) -> Failure {
        let reason = match self {
            PassError::Resolve(error) => error.reason(),
            PassError::Invalid(_) => "InvalidSpec",
            PassError::Topics(error) => error.reason(),
            PassError::Deletion(error) => error.reason(),
            PassError::Apply(error) => error.reason(),
            PassError::Panicked(_) => "OperatorFault",
        };
        Failure {
            reason,
            message: self.to_string(),
            of_topics: matches!(self, PassError::Topics(_)),
        }
    }
}

/// One pass over one SyncPipeline, with its status written at the end whatever happened.
pub async fn reconcile(object: Arc<SyncPipeline>, context: Arc<Context>) -> Result<Action, kube::Error> {
    let begun = Instant::now();
    let mut seen = Observations {
        generation: object.meta().generation,
        paused: is_paused(&object),
        leaving: object.meta().deletion_timestamp.is_some(),
        ..Observations::default()
    };
    let outcome = if seen.leaving {
        // The garbage collector removes what the object owns; topics are Kafka's.
        deletion::release(&object, &context).await.map_err(PassError::from)
    } else {
        let pass = contained(pass(&object, &context, &mut seen)).await;
        pass.map(|()| Released::Nothing)
    };
    if let Err(error) = &outcome {
        warn!(pipeline = %ObjectRef::from_obj(object.as_ref()), generation = seen.generation, %error, "pass failed");
    }
    if !matches!(outcome, Ok(Released::Everything)) {
        seen.failure = outcome.as_ref().err().map(PassError::failure);
        context.reporter.observe(&object, &context.followers, &mut seen).await?;
        context.reporter.publish(&object, &seen, Utc::now()).await?;
        fault::after(Step::Reported, &object);
    }

    context
        .metrics
        .reconcile_duration
        .observe(begun.elapsed().as_secs_f64());
    context
        .metrics
        .reconciles
        .with_label_values(&[if outcome.is_ok() { "success" } else { "failure" }])
        .inc();
    Ok(next(&object, &context, &outcome))
}

/// What comes of a pass: one that panics fails for its own object, and for no other.
async fn contained(pass: impl Future<Output = Result<(), PassError>>) -> Result<(), PassError> {
    let outcome = AssertUnwindSafe(pass).catch_unwind().await;
    outcome.unwrap_or_else(|panic| Err(PassError::Panicked(said_by(&*panic))))
}

/// What a panic said.
fn said_by(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

async fn pass(object: &SyncPipeline, context: &Context, seen: &mut Observations) -> Result<(), PassError> {
    if seen.paused {
        // Also where the rest of the pass fails.
        context.followers.hold(object);
    }
    let pipeline = validate(object)?;
    seen.pipeline = Some(pipeline.clone());
    seen.resolved = filled_in(&object.spec, &pipeline, &context.settings);
    let resolved = resolve(&context.client, object).await?;
    fault::after(Step::Resolved, object);
    let mut plan = plan(&pipeline, &context.settings, &owner(object), &resolved.digests);
    if seen.paused {
        return look_only(object, context, &pipeline, resolved.kafka, seen).await;
    }

    let topics = match topics::converge(object, context, &resolved.kafka, &pipeline).await {
        Ok(topics) => {
            follow(object, context, &pipeline, topics, resolved.kafka, seen).await;
            Ok(())
        }
        Err(error) if may_go_on_without(&error, object, &plan) => Err(error),
        Err(error) => return Err(error.into()),
    };
    fault::after(Step::TopicsRecorded, object);
    deletion::hold(object, context, &pipeline).await?;
    fault::after(Step::Held, object);
    let uid = object.uid().unwrap_or_default();
    let room = Room {
        client: &context.client,
        objects: &context.objects,
        deployments: &context.deployments,
        namespace: &pipeline.namespace,
        uid: &uid,
    };
    let present = context.deployments.of_owner(&pipeline.namespace, &uid);
    seen.predecessors = succession::arrange(&mut plan, &pipeline, &present);
    let staying = seen.predecessors.values().map(String::as_str).collect();
    let changes = room.apply(&plan, &staying).await?;
    if !changes.is_empty() {
        info!(pipeline = %ObjectRef::from_obj(object), generation = seen.generation, ?changes, "applied");
    }
    fault::after(Step::Applied, object);
    Ok(topics?)
}

/// The pass of a paused pipeline: nothing is written but its status.
async fn look_only(
    object: &SyncPipeline,
    context: &Context,
    pipeline: &Pipeline,
    kafka: Connection,
    seen: &mut Observations,
) -> Result<(), PassError> {
    let mut paused = pipeline.clone();
    paused
        .consumers
        .iter_mut()
        .for_each(|consumer| consumer.scaling = Scaling::Fixed);
    let topics = topics::look(context, &kafka, pipeline, object).await?;
    follow(object, context, &paused, topics, kafka, seen).await;
    Ok(())
}

/// Says what became of the topics, and reads their lag from now on.
async fn follow(
    object: &SyncPipeline,
    context: &Context,
    pipeline: &Pipeline,
    topics: ObservedTopics,
    kafka: Connection,
    seen: &mut Observations,
) {
    context.reporter.topics_changed(object, &topics).await;
    let target = target::of(pipeline, &topics, kafka);
    seen.topics = Some(topics);
    context.followers.follow(object, target);
}

/// A Kafka that is away for a while does not stop the repair of pods and Services of a pipeline that has all its
/// topics; pods without their topics would only fail, and what another pipeline holds is not touched.
fn may_go_on_without(error: &TopicsError, object: &SyncPipeline, plan: &Plan) -> bool {
    matches!(error, TopicsError::Kafka(_)) && had_all_topics(object, plan)
}

/// Whether the user has asked the operator to keep its hands off.
pub fn is_paused(object: &SyncPipeline) -> bool {
    object
        .annotations()
        .get(PAUSED_ANNOTATION)
        .is_some_and(|value| value == "true")
}

/// Whether an earlier pass saw every topic.
fn had_all_topics(object: &SyncPipeline, plan: &Plan) -> bool {
    let known = object.status.iter().flat_map(|status| &status.topics);
    let known: BTreeSet<&str> = known.map(|topic| topic.name.as_str()).collect();
    plan.topics.iter().all(|topic| known.contains(topic.name.as_str()))
}

/// When to look again: after a rest, or after a failure with growing waits.
fn next(object: &SyncPipeline, context: &Context, outcome: &Result<Released, PassError>) -> Action {
    let uid = object.uid().unwrap_or_default();
    let Ok(mut failures) = context.failures.lock() else {
        return Action::requeue(REST);
    };
    match outcome {
        Ok(released) => {
            failures.remove(&uid);
            match released {
                Released::Nothing => Action::requeue(REST),
                Released::Waiting => Action::requeue(DELETION_INTERVAL),
                Released::Everything => Action::await_change(),
            }
        }
        // Only a new spec helps, and that comes through the watch.
        Err(PassError::Invalid(_)) => Action::await_change(),
        Err(_) => {
            let count = failures.entry(uid.clone()).or_default();
            *count += 1;
            Action::requeue(backoff(*count, &uid))
        }
    }
}

/// Doubles from the first to the longest wait. The uid spreads pipelines that failed together by up to a quarter.
fn backoff(failures: u32, uid: &str) -> Duration {
    let base = BACKOFF
        .0
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(BACKOFF.1);
    let spread = uid
        .bytes()
        .fold(failures, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
        % 256;
    base + base.mul_f64(f64::from(spread) / 1024.0)
}

/// The reference that ties an object's life to the SyncPipeline.
pub fn owner(object: &SyncPipeline) -> OwnerReference {
    OwnerReference {
        api_version: SyncPipeline::api_version(&()).into_owned(),
        kind: SyncPipeline::kind(&()).into_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pass_that_panics_is_a_failure_of_its_object() {
        let said: [(Box<dyn Any + Send>, &str); 3] = [
            (Box::new("out of range"), "out of range"),
            (Box::new(String::from("3 of 2")), "3 of 2"),
            (Box::new(7), "no message"),
        ];
        for (panic, message) in said {
            let failed = contained(async { std::panic::resume_unwind(panic) }).await;
            let failure = failed.unwrap_err().failure();
            assert_eq!((failure.reason, failure.of_topics), ("OperatorFault", false));
            assert!(failure.message.ends_with(message), "{}", failure.message);
        }
        assert!(contained(async { Ok(()) }).await.is_ok());
    }

    #[test]
    fn waits_grow_to_a_minute_and_are_spread() {
        let seconds: Vec<u64> = (1..=8).map(|failures| backoff(failures, "a").as_secs()).collect();
        for (wait, least) in seconds.iter().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
            assert!((least..=least + least / 4 + 1).contains(wait), "{seconds:?}");
        }
        assert_ne!(backoff(6, "a"), backoff(6, "b"));
    }
}
