//! The topics' part of a pass: whose they are, and how they are brought about.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::SyncPipeline;
use crate::claims::{Claim, Claims, Held};
use crate::fault::{self, Step};
use crate::kafka::topics::ObservedTopics;
use crate::kafka::{Cluster, Connection, KafkaError};
use crate::ownership::{RecordError, Records};
use crate::reconcile::Context;
use crate::validate::{Pipeline, validate};

/// The topics cannot be brought about.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// Another pipeline has them.
    #[error(transparent)]
    Held(#[from] Held),
    /// The record of the pipeline's own topics.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl TopicsError {
    /// Reason of the condition and of the Event.
    pub fn reason(&self) -> &'static str {
        match self {
            TopicsError::Kafka(error) => error.reason(),
            TopicsError::Held(_) => "HeldByAnother",
            TopicsError::Record(_) => "RecordFailed",
        }
    }
}

/// Creates, grows and repairs the pipeline's topics.
pub async fn converge(
    object: &SyncPipeline,
    context: &Context,
    connection: &Connection,
    pipeline: &Pipeline,
) -> Result<ObservedTopics, TopicsError> {
    let cluster = context.clusters.get(connection).await?;
    let outcome = converge_on(&cluster, object, context, pipeline).await;
    if matches!(outcome, Err(TopicsError::Kafka(_))) {
        // A connection that fails is made anew next time: brokers and credentials change.
        context.clusters.forget(connection).await;
    }
    outcome
}

async fn converge_on(
    cluster: &Cluster,
    object: &SyncPipeline,
    context: &Context,
    pipeline: &Pipeline,
) -> Result<ObservedTopics, TopicsError> {
    let identity = cluster.identity().await?;
    context.claims.take(claim(object, pipeline, &identity.id))?;
    let records = Records::of(&context.client, &pipeline.namespace, &pipeline.name);
    let kept = records.read().await?;
    let mut record = kept.clone().of_cluster(&identity.id);
    let comparison = cluster.compare(identity, &pipeline.topics).await?;
    for topic in comparison.to_create(&pipeline.topics) {
        record.expect(&topic.name);
    }
    if record != kept {
        records.write(&record).await?;
    }
    fault::after(Step::TopicsExpected, object);
    for (topic, from, to) in comparison.to_grow(&pipeline.topics, &record) {
        context.reporter.topic_grows(object, &topic, from, to).await;
    }
    let expected = record.clone();
    let topics = cluster
        .converge_topics(&pipeline.topics, pipeline.environment, comparison, &mut record)
        .await;
    fault::after(Step::TopicsCreated, object);
    if record != expected {
        records.write(&record).await?;
    }
    Ok(topics?)
}

/// Looks at the pipeline's topics without changing anything.
pub async fn look(
    context: &Context,
    connection: &Connection,
    pipeline: &Pipeline,
    object: &SyncPipeline,
) -> Result<ObservedTopics, TopicsError> {
    let cluster = context.clusters.get(connection).await?;
    let identity = cluster.identity().await?;
    context.claims.take(claim(object, pipeline, &identity.id))?;
    let records = Records::of(&context.client, &pipeline.namespace, &pipeline.name);
    let record = records.read().await?.of_cluster(&identity.id);
    let comparison = cluster.compare(identity, &pipeline.topics).await?;
    Ok(comparison.observed(&pipeline.topics, &record))
}

/// Enters what `pipelines` held when they were last seen, before the first of them is looked at: whoever is
/// looked at first must not take what an older one has.
pub fn remember_claims(claims: &Claims, pipelines: &[std::sync::Arc<SyncPipeline>]) {
    for object in pipelines {
        let cluster = object
            .status
            .as_ref()
            .and_then(|status| status.kafka_cluster_id.as_deref());
        if let (Some(cluster), Ok(pipeline)) = (cluster, validate(object)) {
            // Who has to give way is told in its own pass.
            let _ = claims.take(claim(object, &pipeline, cluster));
        }
    }
}

fn claim(object: &SyncPipeline, pipeline: &Pipeline, cluster_id: &str) -> Claim {
    let created = object.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let created = chrono::DateTime::from_timestamp(created.as_second(), 0).unwrap_or_default();
    Claim::of(pipeline, &object.uid().unwrap_or_default(), created, cluster_id)
}
