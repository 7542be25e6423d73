//! Where partitions were at a moment, by Kafka's own index of times.

use crate::topic::{Partition, Topics};
use chrono::{DateTime, Utc};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use runtime::{
    env::{Env, EnvError},
    kafka::{Context, Diagnosis, Tokens, client_config},
};
use std::{collections::BTreeMap, time::Duration};

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// First offset at or after the moment, and the end, of each partition.
pub type Bounds = BTreeMap<Partition, (i64, i64)>;

/// Why the offsets are not known.
#[derive(Debug, thiserror::Error)]
pub enum OffsetsError {
    /// The environment is not that of a consumer.
    #[error("{0}; run this in a consumer's pod")]
    Env(#[from] EnvError),
    /// Kafka does not answer.
    #[error("read the offsets of {topic}: {reason}")]
    Kafka {
        /// The topic.
        topic: String,
        /// What was reported.
        reason: String,
    },
}

/// Asks the brokers. Blocks.
pub fn read(environment: &Env, topics: &Topics, to: DateTime<Utc>) -> Result<Bounds, OffsetsError> {
    let context = Context {
        diagnosis: Diagnosis::default(),
        tokens: Tokens::from_env(environment)?,
    };
    let diagnosis = context.diagnosis.clone();
    let kafka = |topic: &str| {
        let (topic, diagnosis) = (topic.to_owned(), diagnosis.clone());
        move |error: KafkaError| OffsetsError::Kafka {
            topic,
            reason: diagnosis.explain(&error),
        }
    };
    let consumer: BaseConsumer<Context> = client_config(environment)?
        // The client wants one to read at all; nobody joins it.
        .set("group.id", "syncpipeline-rewind")
        .create_with_context(context)
        .map_err(kafka("Kafka"))?;
    let mut bounds = Bounds::new();
    for topic in &topics.topics {
        let metadata = consumer
            .fetch_metadata(Some(&topic.name), ANSWER)
            .map_err(kafka(&topic.name))?;
        let mut wanted = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|found| found.partitions()) {
            // Of a time, not an offset: that is how the client takes it.
            wanted
                .add_partition_offset(
                    &topic.name,
                    partition.id(),
                    Offset::Offset(to.timestamp_millis().max(0)),
                )
                .map_err(kafka(&topic.name))?;
        }
        let found = consumer.offsets_for_times(wanted, ANSWER).map_err(kafka(&topic.name))?;
        for element in found.elements() {
            element.error().map_err(kafka(&topic.name))?;
            let (start, end) = consumer
                .fetch_watermarks(&topic.name, element.partition(), ANSWER)
                .map_err(kafka(&topic.name))?;
            let from = match element.offset() {
                Offset::Offset(offset) => offset.clamp(start, end),
                // Nothing came after it.
                _ => end,
            };
            let partition = Partition {
                topic: topic.clone(),
                number: element.partition(),
            };
            bounds.insert(partition, (from, end));
        }
    }
    Ok(bounds)
}
