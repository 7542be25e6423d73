//! The pass: resolve ─► validate ─► plan ─► topics ─► apply ─► observe ─► status.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::Utc;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource, ResourceExt};
use tracing::{info, warn};

use crate::api::SyncPipeline;
use crate::apply::{self, ApplyError};
use crate::kafka::topics::ObservedTopics;
use crate::kafka::{Clusters, Connection, KafkaError};
use crate::metrics::Metrics;
use crate::plan::{Plan, Settings, plan};
use crate::report::Reporter;
use crate::resolve::{ResolveError, resolve};
use crate::scale::follow::Followers;
use crate::scale::target;
use crate::status::{Failure, Observations};
use crate::validate::{InvalidSpec, Pipeline, validate};

/// How often a pipeline at rest is looked at, for changes that no watch tells: topics, Secrets.
const REST: Duration = Duration::from_secs(30);
/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What every pass needs.
pub struct Context {
    /// Client of the API server.
    pub client: Client,
    /// Connections to Kafka.
    pub clusters: Arc<Clusters>,
    /// The followers of all pipelines.
    pub followers: Followers,
    /// Writes status and Events.
    pub reporter: Reporter,
    /// Default images.
    pub settings: Settings,
    /// The operator's metrics.
    pub metrics: Metrics,
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
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The API server, or somebody else's object.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl PassError {
    fn failure(&self) -> Failure {
        let reason = match self {
            PassError::Resolve(error) => error.reason(),
            PassError::Invalid(_) => "InvalidSpec",
            PassError::Kafka(error) => error.reason(),
            PassError::Apply(error) => error.reason(),
        };
        Failure {
            reason,
            message: self.to_string(),
            of_topics: matches!(self, PassError::Kafka(_)),
        }
    }
}

/// One pass over one SyncPipeline, with its status written at the end whatever happened.
pub async fn reconcile(object: Arc<SyncPipeline>, context: Arc<Context>) -> Result<Action, kube::Error> {
    if object.meta().deletion_timestamp.is_some() {
        // The garbage collector removes what the object owns; topics stay.
        return Ok(Action::await_change());
    }
    let begun = Instant::now();
    let mut seen = Observations {
        generation: object.meta().generation,
        ..Observations::default()
    };
    let outcome = pass(&object, &context, &mut seen).await;
    if let Err(error) = &outcome {
        warn!(pipeline = %ObjectRef::from_obj(object.as_ref()), %error, "pass failed");
    }
    seen.failure = outcome.as_ref().err().map(PassError::failure);
    context.reporter.observe(&object, &context.followers, &mut seen).await?;
    context.reporter.publish(&object, &seen, Utc::now()).await?;

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

async fn pass(object: &SyncPipeline, context: &Context, seen: &mut Observations) -> Result<(), PassError> {
    let pipeline = validate(object)?;
    seen.pipeline = Some(pipeline.clone());
    let resolved = resolve(&context.client, object).await?;
    let plan = plan(&pipeline, &context.settings, &owner(object), &resolved.digests);

    let topics = ensure_topics(context, &resolved.kafka, &plan, &pipeline).await;
    if let Err(error) = &topics
        && !had_all_topics(object, &plan)
    {
        // Pods without their topics would only fail.
        return Err(error.clone().into());
    }
    let uid = object.uid().unwrap_or_default();
    let changes = apply::apply(&context.client, &pipeline.namespace, &pipeline.name, &uid, &plan).await?;
    if !changes.is_empty() {
        info!(pipeline = %ObjectRef::from_obj(object), ?changes, "applied");
    }
    let topics = topics?;
    seen.topics = Some(topics.clone());
    context.reporter.topics_created(object, &topics).await;
    let target = target::of(&pipeline, &topics, resolved.kafka);
    context
        .followers
        .follow(&uid, ObjectRef::from_obj(object), object.object_ref(&()), target);
    Ok(())
}

async fn ensure_topics(
    context: &Context,
    connection: &Connection,
    plan: &Plan,
    pipeline: &Pipeline,
) -> Result<ObservedTopics, KafkaError> {
    let cluster = context.clusters.get(connection).await?;
    let topics = cluster.ensure_topics(&plan.topics, pipeline.environment).await;
    if topics.is_err() {
        // A connection that fails is made anew next time: brokers and credentials change.
        context.clusters.forget(connection).await;
    }
    topics
}

/// Whether an earlier pass saw every topic: then a Kafka that is away for a while does not stop the repair of
/// pods and Services.
fn had_all_topics(object: &SyncPipeline, plan: &Plan) -> bool {
    let known = object.status.iter().flat_map(|status| &status.topics);
    let known: BTreeSet<&str> = known.map(|topic| topic.name.as_str()).collect();
    plan.topics.iter().all(|topic| known.contains(topic.name.as_str()))
}

/// When to look again: after a rest, or after a failure with growing waits.
fn next(object: &SyncPipeline, context: &Context, outcome: &Result<(), PassError>) -> Action {
    let uid = object.uid().unwrap_or_default();
    let Ok(mut failures) = context.failures.lock() else {
        return Action::requeue(REST);
    };
    match outcome {
        Ok(()) => {
            failures.remove(&uid);
            Action::requeue(REST)
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

fn owner(object: &SyncPipeline) -> OwnerReference {
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

    #[test]
    fn waits_grow_to_a_minute_and_are_spread() {
        let seconds: Vec<u64> = (1..=8).map(|failures| backoff(failures, "a").as_secs()).collect();
        for (wait, least) in seconds.iter().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
            assert!((least..=least + least / 4 + 1).contains(wait), "{seconds:?}");
        }
        assert_ne!(backoff(6, "a"), backoff(6, "b"));
    }
}
