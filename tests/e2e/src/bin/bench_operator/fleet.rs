//! Many pipelines without a pod: five topics of one partition and five readers each, all of them switched off.

use anyhow::{Context, Result};
use operator::api::SyncPipeline;
use serde_json::json;

/// Readers, and so Deployments, of one pipeline.
pub(crate) const READERS: usize = 5;
/// Namespaces that share the pipelines.
const NAMESPACES: usize = 5;
/// Before every name.
pub(crate) const PREFIX: &str = "bench-operator";

/// The namespaces.
pub(crate) fn namespaces() -> Vec<String> {
    (0..NAMESPACES).map(|index| format!("{PREFIX}-{index}")).collect()
}

/// The pipeline with this number.
pub(crate) fn pipeline(number: usize) -> Result<SyncPipeline> {
    let namespace = format!("{PREFIX}-{}", number % NAMESPACES);
    let prefix = format!("{PREFIX}.{number}.");
    // With the dead letters of the two that are read they are five.
    let topics = ["a", "b", "c", "a.dlq", "b.dlq"].map(|name| json!({"name": name, "partitions": 1}));
    let readers = (0..READERS).map(|index| {
        json!({
            "name": format!("reader-{index}"),
            "topics": [if index % 2 == 0 { "a" } else { "b" }],
            "group": format!("group-{index}"),
            "image": "bench.invalid/reader:1",
            "batch": {"maxRecords": 100, "linger": "200ms"},
            "scaling": {"type": "Fixed"},
            "replicas": {"min": 0, "max": 0},
        })
    });
    let object = json!({
        "apiVersion": "syncpipeline.dev/v1alpha1",
        "kind": "SyncPipeline",
        "metadata": {"name": format!("p{number}"), "namespace": namespace},
        "spec": {
            "profile": "Custom",
            "environment": "dev",
            "dailyActiveUsers": 1000,
            "kafka": {
                "bootstrapServers": [format!("kafka.{namespace}.svc:9092")],
                "topicPrefix": prefix,
                "groupPrefix": prefix,
                "security": {"protocol": "SASL_PLAINTEXT", "sasl": {"mechanism": "SCRAM-SHA-512",
                    "credentialsSecretRef": {"name": "kafka-credentials"}}},
            },
            "postgres": {"host": format!("postgres.{namespace}.svc"),
                "credentialsSecretRef": {"name": "postgres-credentials"}},
            "topics": topics,
            "consumers": readers.collect::<Vec<_>>(),
        },
    });
    serde_json::from_value(object).context("the benchmark's pipeline is no SyncPipeline")
}

/// Whether a topic belongs to some pipeline.
pub(crate) fn owns_topic(topic: &str) -> bool {
    topic.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use operator::validate::validate;

    #[test]
    fn a_pipeline_has_five_topics_of_one_partition_and_five_readers_without_pods() {
        let pipeline = validate(&pipeline(7).unwrap()).unwrap();
        assert_eq!(pipeline.topics.len(), 5);
        assert!(
            pipeline
                .topics
                .iter()
                .all(|topic| topic.partitions == 1 && owns_topic(&topic.name))
        );
        assert_eq!(pipeline.consumers.len(), READERS);
        assert!(pipeline.consumers.iter().all(|reader| reader.component.bounds.is_off()));
        assert_eq!(pipeline.namespace, "bench-operator-2");
    }
}
