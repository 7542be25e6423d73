//! The pipeline that is measured.

use anyhow::{Context, Result};
use e2e::kafka::Kafka;
use operator::api::SyncPipeline;
use serde_json::{Value, json};

/// Its namespace, and its name.
pub(crate) const NAMESPACE: &str = "bench-scale";
pub(crate) const NAME: &str = "bench";
/// Names the image of pods that read nothing.
const IMAGE: &str = "SYNCPIPELINE_IMAGE_STAND_IN";
/// Before topics and groups.
const PREFIX: &str = "bench-scale.";
/// Messages of each threshold more than of the one before.
pub(crate) const THRESHOLD: i64 = 20;
/// Most replicas of the reader on the ladder, and partitions of its topic: a rung for each.
pub(crate) const RUNGS: i32 = 12;

/// A reader and what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// On the ladder.
    Climbing,
    /// None until something arrives.
    Sleeping,
}

impl Reader {
    pub(crate) const ALL: [Reader; 2] = [Reader::Climbing, Reader::Sleeping];

    /// Its name, which is its group's and its topic's too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reader::Climbing => "climbing",
            Reader::Sleeping => "sleeping",
        }
    }

    /// Its topic in Kafka.
    pub(crate) fn topic(self) -> String {
        format!("{PREFIX}{}", self.name())
    }

    /// Its group in Kafka.
    pub(crate) fn group(self) -> String {
        self.topic()
    }

    /// Its Deployment.
    pub(crate) fn deployment(self) -> String {
        format!("{NAME}-{}", self.name())
    }

    /// Partitions of its topic.
    pub(crate) fn partitions(self) -> i32 {
        match self {
            Reader::Climbing => RUNGS,
            Reader::Sleeping => 1,
        }
    }

    fn spec(self, image: &str) -> Value {
        let name = self.name();
        let (replicas, scaling) = match self {
            Reader::Climbing => {
                let thresholds: Vec<i64> = (1..i64::from(RUNGS)).map(|step| step * THRESHOLD).collect();
                (
                    json!({"min": 1, "max": RUNGS}),
                    json!({"ladder": {"lagThresholds": thresholds}, "cooldown": "1s"}),
                )
            }
            Reader::Sleeping => (json!({"min": 0, "max": 1}), json!({"type": "Drain", "cooldown": "1s"})),
        };
        json!({
            "name": name,
            "topics": [name],
            "group": name,
            "image": image,
            "batch": {"maxRecords": 100, "linger": "200ms"},
            "replicas": replicas,
            "scaling": scaling,
            "probes": {"type": "None"},
            "pod": {"securityContext": {"runAsNonRoot": false}},
        })
    }
}

/// The pipeline.
pub(crate) fn pipeline() -> Result<SyncPipeline> {
    let image = std::env::var(IMAGE).with_context(|| format!("{IMAGE} is not set"))?;
    let topics = Reader::ALL.map(|reader| json!({"name": reader.name(), "partitions": reader.partitions()}));
    let object = json!({
        "apiVersion": "syncpipeline.dev/v1alpha1",
        "kind": "SyncPipeline",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": {
            "profile": "Custom",
            "environment": "dev",
            "dailyActiveUsers": 1000,
            "kafka": {
                "bootstrapServers": [format!("kafka.{NAMESPACE}.svc:9092")],
                "topicPrefix": PREFIX,
                "groupPrefix": PREFIX,
                "security": {"protocol": "SASL_PLAINTEXT", "sasl": {"mechanism": "SCRAM-SHA-512",
                    "credentialsSecretRef": {"name": "kafka-credentials"}}},
            },
            "postgres": {"host": format!("postgres.{NAMESPACE}.svc"),
                "credentialsSecretRef": {"name": "postgres-credentials"}},
            "topics": topics,
            "consumers": Reader::ALL.map(|reader| reader.spec(&image)),
        },
    });
    serde_json::from_value(object).context("the benchmark's pipeline is no SyncPipeline")
}

/// Deletes what is left of it in Kafka.
pub(crate) async fn remove_topics(kafka: &Kafka) -> Result<()> {
    let topics = kafka.topic_names().await?;
    let own: Vec<String> = topics.into_iter().filter(|topic| topic.starts_with(PREFIX)).collect();
    kafka.delete_topics(&own).await
}
