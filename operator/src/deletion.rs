//! The end of a SyncPipeline: topics that are to go with it, which no garbage collector removes.
//!
//! Only a pipeline with such topics has a finalizer. A Kafka that cannot be reached delays the end; the
//! annotation [`ABANDON_ANNOTATION`] gives the topics up and lets the object go.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::api::SyncPipeline;
use crate::api::spec::DeletionPolicy;
use crate::kafka::KafkaError;
use crate::ownership::{RecordError, Records};
use crate::plan::naming;
use crate::reconcile::Context;
use crate::resolve::{ResolveError, resolve};
use crate::validate::Pipeline;

/// Keeps the object until its topics are deleted.
const FINALIZER: &str = "syncpipeline.dev/topics";
/// Annotation that, being `true`, lets a deleted object go without its topics.
const ABANDON_ANNOTATION: &str = "syncpipeline.dev/abandon-topics";
/// Field manager of the finalizer alone.
const FIELD_MANAGER: &str = "syncpipeline-finalizer";

/// The end cannot be brought about.
#[derive(Debug, thiserror::Error)]
pub enum DeletionError {
    /// A Secret is missing.
    #[error(
        "topics with deletionPolicy Delete are still there: {0}; annotate the object with {ABANDON_ANNOTATION}=true to leave them behind"
    )]
    Resolve(#[from] ResolveError),
    /// Kafka.
    #[error(
        "topics with deletionPolicy Delete are still there: {0}; annotate the object with {ABANDON_ANNOTATION}=true to leave them behind"
    )]
    Kafka(#[from] KafkaError),
    /// The record of the pipeline's own topics.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The API server refused.
    #[error("finalizer {FINALIZER}: {0}")]
    Finalizer(Box<kube::Error>),
}

impl DeletionError {
    /// Reason of the condition and of the Event.
    pub fn reason(&self) -> &'static str {
        match self {
            DeletionError::Resolve(error) => error.reason(),
            DeletionError::Kafka(error) => error.reason(),
            DeletionError::Record(_) => "RecordFailed",
            DeletionError::Finalizer(_) => "FinalizerFailed",
        }
    }
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The object is not being deleted.
    Nothing,
    /// Its pods are still stopping.
    Waiting,
    /// Nothing keeps the object any more.
    Everything,
}

/// Puts the finalizer on an object with topics to be deleted, and takes it off any other.
pub async fn hold(object: &SyncPipeline, context: &Context, pipeline: &Pipeline) -> Result<(), DeletionError> {
    let wanted = pipeline
        .topics
        .iter()
        .any(|topic| topic.deletion_policy == DeletionPolicy::Delete);
    if wanted == has_finalizer(object) {
        return Ok(());
    }
    set_finalizer(object, context, wanted).await
}

/// Deletes what no garbage collector removes: first the pods' Deployments, so that nobody reads a topic that
/// goes, then the topics, then the finalizer.
pub async fn release(object: &SyncPipeline, context: &Context) -> Result<Released, DeletionError> {
    if !has_finalizer(object) {
        return Ok(Released::Everything);
    }
    let abandoned = object
        .annotations()
        .get(ABANDON_ANNOTATION)
        .is_some_and(|value| value == "true");
    if !abandoned {
        if !workloads_are_gone(object, context).await? {
            return Ok(Released::Waiting);
        }
        delete_topics(object, context).await?;
    }
    set_finalizer(object, context, false).await?;
    Ok(Released::Everything)
}

fn has_finalizer(object: &SyncPipeline) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// The finalizer has a field manager of its own: leaving it out of an apply takes it off and nothing else.
async fn set_finalizer(object: &SyncPipeline, context: &Context, wanted: bool) -> Result<(), DeletionError> {
    let api: Api<SyncPipeline> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let finalizers = if wanted { json!([FINALIZER]) } else { json!([]) };
    let patch = json!({
        "apiVersion": SyncPipeline::api_version(&()),
        "kind": SyncPipeline::kind(&()),
        "metadata": {"finalizers": finalizers, "uid": object.uid()},
    });
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    match api
        .patch_metadata(&object.name_any(), &parameters, &Patch::Apply(&patch))
        .await
    {
        // Gone in the meantime: nothing is held any more.
        Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(()),
        other => other
            .map(|_| ())
            .map_err(|error| DeletionError::Finalizer(Box::new(error))),
    }
}

async fn workloads_are_gone(object: &SyncPipeline, context: &Context) -> Result<bool, DeletionError> {
    let failed = |error: kube::Error| DeletionError::Finalizer(Box::new(error));
    let api: Api<Deployment> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let selector = naming::selector_of(&object.name_any());
    let left = api
        .list(&ListParams::default().labels(&selector))
        .await
        .map_err(failed)?;
    for deployment in &left {
        if deployment.meta().deletion_timestamp.is_none() {
            // In the foreground: it is there until its last pod is gone.
            api.delete(&deployment.name_any(), &DeleteParams::foreground())
                .await
                .map_err(failed)?;
        }
    }
    Ok(left.items.is_empty())
}

async fn delete_topics(object: &SyncPipeline, context: &Context) -> Result<(), DeletionError> {
    let connection = resolve(&context.client, object).await?.kafka;
    let cluster = context.clusters.get(&connection).await?;
    let identity = cluster.identity().await?;
    let records = Records::of(
        &context.client,
        &object.namespace().unwrap_or_default(),
        &object.name_any(),
    );
    let mut record = records.read().await?.of_cluster(&identity.id);
    let named: Vec<String> = to_delete(object);
    let found = cluster.describe(named.iter().map(String::as_str).collect()).await?;
    let own: Vec<String> = named
        .into_iter()
        .filter(|name| found.get(name).is_some_and(|found| record.owns(name, &found.id)))
        .collect();
    cluster.delete_topics(&own).await?;
    own.iter().for_each(|topic| record.forget(topic));
    if record.is_empty() {
        records.remove().await?;
    } else {
        records.write(&record).await?;
    }
    Ok(())
}

/// Topics that the spec wants deleted. Read from what the user wrote, for a spec that is not valid must not keep
/// its object from going.
fn to_delete(object: &SyncPipeline) -> Vec<String> {
    let spec = &object.spec;
    let topics = spec.topics.iter();
    topics
        .filter(|topic| topic.deletion_policy == DeletionPolicy::Delete)
        .map(|topic| format!("{}{}", spec.kafka.topic_prefix, topic.name))
        .collect()
}
