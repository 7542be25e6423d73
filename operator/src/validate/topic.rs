//! Topics: those of the spec, and one of dead letters for each that is read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::header;

use super::{Consumer, InvalidSpec, Topic, invalid, parse_duration};
use crate::api::spec::{self, DeletionPolicy, Topic as TopicSpec};

/// How long messages of a topic are kept by default.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long dead letters are kept by default.
const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);
/// Copies of a topic, and those that must have a message before it is acknowledged, by default.
const REPLICATION: (i32, i32) = (3, 2);
/// Longest message of a topic by Kafka's default, bytes.
const MAX_MESSAGE: u64 = 1_048_588;
/// What a letter is longer than its message by, at most: the headers that say why, bytes.
const LETTER_HEADERS: u64 = 64 * 1024;
/// Kafka's name for the longest message.
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
/// Partitions of a topic that neither the spec nor the profile sizes.
const PARTITIONS: i32 = 1;

pub(super) fn resolve_topic(kafka: &spec::Kafka, topic: &TopicSpec, index: usize) -> Result<Topic, InvalidSpec> {
    let field = format!("spec.topics[{index}]");
    let retention = parse_duration(&format!("{field}.retention"), topic.retention.as_ref(), RETENTION)?;
    let replication = topic
        .replication_factor
        .or(kafka.replication_factor)
        .unwrap_or(REPLICATION.0);
    let mut config = topic.config.clone();
    for (key, owner) in [
        ("retention.ms", "retention"),
        ("retention.bytes", "retentionBytes"),
        ("min.insync.replicas", "minInSyncReplicas"),
    ] {
        if config.contains_key(key) {
            return Err(invalid(
                format!("{field}.config"),
                format!("{key} is set by {owner}; write it there"),
            ));
        }
    }
    config.insert("retention.ms".to_owned(), retention.as_millis().to_string());
    if let Some(bytes) = topic.retention_bytes {
        config.insert("retention.bytes".to_owned(), bytes.to_string());
    }
    Ok(Topic {
        name: format!("{}{}", kafka.topic_prefix, topic.name),
        partitions: topic.partitions.unwrap_or(PARTITIONS),
        replication_factor: replication,
        min_in_sync_replicas: min_in_sync(kafka, replication),
        config,
        manage: topic.manage,
        deletion_policy: topic.deletion_policy,
    })
}

fn min_in_sync(kafka: &spec::Kafka, replication: i32) -> i32 {
    kafka.min_in_sync_replicas.unwrap_or(REPLICATION.1).min(replication)
}

/// A dead-letter topic for each topic that is read, where the spec does not declare one of that name.
pub(super) fn add_dead_letter_topics(spec: &spec::SyncPipelineSpec, topics: &mut Vec<Topic>, consumers: &[Consumer]) {
    let read: BTreeSet<&String> = consumers.iter().flat_map(|consumer| &consumer.topics).collect();
    for topic in read {
        let name = header::dead_letter_topic(topic);
        if topics.iter().any(|topic| topic.name == name) {
            continue;
        }
        let replication = spec.kafka.replication_factor.unwrap_or(REPLICATION.0);
        let retention = DEAD_LETTER_RETENTION.as_millis().to_string();
        // Whatever the topic took, its dead letters take, too.
        let declared = topics.iter().find(|other| other.name == **topic);
        let longest = declared.and_then(|topic| topic.config.get(MAX_MESSAGE_BYTES)?.parse().ok());
        let longest = longest.unwrap_or(MAX_MESSAGE).saturating_add(LETTER_HEADERS);
        topics.push(Topic {
            name,
            partitions: PARTITIONS,
            replication_factor: replication,
            min_in_sync_replicas: min_in_sync(&spec.kafka, replication),
            config: BTreeMap::from([
                ("retention.ms".to_owned(), retention),
                (MAX_MESSAGE_BYTES.to_owned(), longest.to_string()),
            ]),
            manage: None,
            // Dead letters are what somebody still has to look at.
            deletion_policy: DeletionPolicy::Retain,
        });
    }
}
