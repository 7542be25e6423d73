//! A `SyncPipeline`, and the names of everything that belongs to it.

use crate::cluster::Cluster;
use crate::eventually::eventually;
use anyhow::{Context, Result, bail};
use contract::{Source, header};
use kube::ResourceExt;
use operator::api::{SyncPipeline, SyncPipelineStatus};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Default tenant of a pipeline's records.
pub const TENANT: &str = "default";

/// Reads a pipeline from a file with one object.
pub fn read(path: &Path) -> Result<SyncPipeline> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_yaml::from_str(&text).with_context(|| format!("{} is no SyncPipeline", path.display()))
}

/// What a pipeline calls its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Namespace of the objects.
    pub namespace: String,
    /// The pipeline.
    pub pipeline: String,
    /// Before every topic.
    pub topic_prefix: String,
    /// Before every consumer group.
    pub group_prefix: String,
    /// PostgreSQL database of the records.
    pub database: String,
    /// PostgreSQL schema of the records.
    pub schema: String,
    /// MongoDB database.
    pub mongodb_database: String,
    /// Sources of its region.
    pub sources: Vec<Source>,
}

impl Names {
    /// The names that follow from a pipeline with the `MobileForge` profile.
    pub fn of(pipeline: &SyncPipeline) -> Result<Names> {
        let spec = &pipeline.spec;
        let (Some(postgres), Some(mongodb)) = (&spec.postgres, &spec.mongodb) else {
            bail!("{} has no postgres or no mongodb", pipeline.name_any());
        };
        let region = spec.region.map(|region| region.name());
        let here = |source: &Source| region.is_none_or(|region| !source.except_regions().contains(&region));
        Ok(Names {
            namespace: pipeline.namespace().context("the pipeline has no namespace")?,
            pipeline: pipeline.name_any(),
            topic_prefix: spec.kafka.topic_prefix.clone(),
            group_prefix: spec.kafka.group_prefix.clone(),
            database: postgres.sync_database.clone(),
            schema: postgres.schema.clone(),
            mongodb_database: mongodb.database.clone(),
            sources: Source::ALL.into_iter().filter(here).collect(),
        })
    }

    /// Topic of a source.
    pub fn topic(&self, source: Source) -> String {
        format!("{}{}", self.topic_prefix, source.topic())
    }

    /// Dead-letter topic of a source.
    pub fn dead_letter_topic(&self, source: Source) -> String {
        header::dead_letter_topic(&self.topic(source))
    }

    /// Consumer group of a source.
    pub fn group(&self, source: Source) -> String {
        format!("{}{}", self.group_prefix, source.group())
    }

    /// Name of the consumer that reads a source: the three of the default split.
    pub fn consumer(source: Source) -> &'static str {
        match source {
            Source::Sms => "sms",
            Source::Events => "events",
            Source::AppsAndDevice | Source::Contacts | Source::CallLogs => "common",
        }
    }

    /// The topics that each consumer reads.
    pub fn topics_by_consumer(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut topics = BTreeMap::<_, Vec<_>>::new();
        for source in &self.sources {
            topics
                .entry(Self::consumer(*source))
                .or_default()
                .push(self.topic(*source));
        }
        topics
    }

    /// Deployment of a component.
    pub fn deployment(&self, component: &str) -> String {
        format!("{}-{component}", self.pipeline)
    }

    /// URL of the producer's Service inside the cluster.
    pub fn producer_url(&self) -> String {
        let service = self.deployment("producer");
        format!("http://{service}.{}.svc:{}", self.namespace, contract::port::PRODUCER)
    }
}

/// What the operator says of a pipeline now.
pub async fn status(cluster: &Cluster, names: &Names) -> Result<SyncPipelineStatus> {
    let pipeline = cluster
        .api::<SyncPipeline>(&names.namespace)
        .get_status(&names.pipeline)
        .await?;
    pipeline.status.context("the operator has not written a status yet")
}

/// Status and message of a condition.
pub fn condition<'a>(status: &'a SyncPipelineStatus, type_: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_)?;
    Some((&found.status, &found.reason, &found.message))
}

/// Waits until the pipeline is Ready in its present generation; `news` hears its summary.
pub async fn wait_ready(cluster: &Cluster, names: &Names, timeout: Duration, mut news: impl FnMut(&str)) -> Result<()> {
    let api = cluster.api::<SyncPipeline>(&names.namespace);
    eventually(&format!("{} becomes Ready", names.pipeline), timeout, async || {
        let pipeline = api.get_status(&names.pipeline).await?;
        let generation = pipeline.metadata.generation;
        let status = pipeline.status.context("the operator has not written a status yet")?;
        news(&format!("{} pods {}", status.summary, status.pods));
        match condition(&status, "Ready") {
            Some(("True", ..)) if status.observed_generation == generation => Ok(Some(())),
            Some((state, reason, message)) => bail!("Ready is {state}, {reason}: {message}"),
            None => bail!("it has no condition Ready"),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_prefixes_and_region() {
        let text = "
            apiVersion: syncpipeline.dev/v1alpha1
            kind: SyncPipeline
            metadata: {name: one, namespace: here}
            spec:
              dailyActiveUsers: 1
              region: India
              kafka: {bootstrapServers: ['k:9092'], topicPrefix: a., groupPrefix: b.}
              postgres: {host: p, schema: s, credentialsSecretRef: {name: x}}
              mongodb: {host: m, database: d, credentialsSecretRef: {name: x}}";
        let names = Names::of(&serde_yaml::from_str(text).unwrap()).unwrap();
        assert_eq!(names.sources, [Source::Sms, Source::Events, Source::AppsAndDevice]);
        assert_eq!(names.dead_letter_topic(Source::Sms), "a.sms_batched.dlq");
        assert_eq!(names.group(Source::Events), "b.events-consumer-group");
        assert_eq!(names.topics_by_consumer()["common"], ["a.apps_and_device_batched"]);
        assert_eq!(names.producer_url(), "http://one-producer.here.svc:8000");
    }
}
