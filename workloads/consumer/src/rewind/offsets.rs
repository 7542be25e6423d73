//! Where partitions were at a moment, by Kafka's own index of times.

use crate::topic::{Partition, Topics};
use chrono::{DateTime, Utc};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use runtime::{
    env::{Env, EnvError},
    kafka::{Context, Diagnosis, Tokens, client_config},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Longest wait for one answer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);

/// First offset at or after the moment, and the end, of each partition.
pub type Bounds = BTreeMap<Partition, (i64, i64)>;

/// Where the partitions were.
pub struct Offsets {
    /// Of each partition.
    pub bounds: Bounds,
    /// Topics that Kafka may have deleted something of that came after the moment.
    pub beginnings: Vec<Beginning>,
}

/// A topic of which Kafka has nothing from the moment on, but only from some time after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Kafka has messages of {partitions} partitions of {topic} since {since} only: what came before is deleted, and is not \
     read"
)]
pub struct Beginning {
    /// The topic.
    pub topic: String,
    /// How many of its partitions.
    pub partitions: usize,
    /// When the first message came that it has of any of them.
    pub since: DateTime<Utc>,
}

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

/// A client that looks at partitions and is in no group.
pub(super) struct Client {
    pub(super) consumer: BaseConsumer<Context>,
    diagnosis: Diagnosis,
}

impl Client {
    pub(super) fn new(environment: &Env) -> Result<Client, OffsetsError> {
        let context = Context {
            diagnosis: Diagnosis::default(),
            tokens: Tokens::from_env(environment)?,
        };
        let diagnosis = context.diagnosis.clone();
        let created = client_config(environment)?
            // The client wants one to read at all; nobody joins it.
            .set("group.id", "syncpipeline-rewind")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            // A message or two are enough.
            .set("queued.max.messages.kbytes", "1024")
            .create_with_context(context);
        let consumer = created.map_err(|error| OffsetsError::Kafka {
            topic: "Kafka".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Client { consumer, diagnosis })
    }

    /// When the first message came of these that are read from here on; `None` where there are none, or none comes.
    fn first_time(&self, from: &TopicPartitionList) -> Result<Option<DateTime<Utc>>, KafkaError> {
        if from.count() == 0 {
            return Ok(None);
        }
        self.consumer.assign(from)?;
        let mut waiting: BTreeSet<i32> = from.elements().iter().map(|element| element.partition()).collect();
        let (mut first, until) = (None, Instant::now() + ANSWER);
        while !waiting.is_empty() && Instant::now() < until {
            if let Some(Ok(message)) = self.consumer.poll(POLL)
                && waiting.remove(&message.partition())
                && let Some(time) = message.timestamp().to_millis()
            {
                first = Some(first.map_or(time, |first: i64| first.min(time)));
            }
        }
        self.consumer.assign(&TopicPartitionList::new())?;
        Ok(first.and_then(DateTime::from_timestamp_millis))
    }

    pub(super) fn failed(&self, topic: &str, error: &KafkaError) -> OffsetsError {
        OffsetsError::Kafka {
            topic: topic.to_owned(),
            reason: self.diagnosis.explain(error),
        }
    }
}

/// Asks the brokers. Blocks.
pub fn read(environment: &Env, topics: &Topics, to: DateTime<Utc>) -> Result<Offsets, OffsetsError> {
    let client = Client::new(environment)?;
    let consumer = &client.consumer;
    let (mut bounds, mut beginnings) = (Bounds::new(), Vec::new());
    for topic in &topics.topics {
        let failed = |error: KafkaError| client.failed(&topic.name, &error);
        let metadata = consumer.fetch_metadata(Some(&topic.name), ANSWER).map_err(failed)?;
        if let Some(code) = metadata.topics().iter().find_map(|found| found.error()) {
            return Err(failed(KafkaError::MetadataFetch(code.into())));
        }
        let mut wanted = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|found| found.partitions()) {
            // Of a time, not an offset: that is how the client takes it.
            let time = Offset::Offset(to.timestamp_millis().max(0));
            wanted
                .add_partition_offset(&topic.name, partition.id(), time)
                .map_err(failed)?;
        }
        let found = consumer.offsets_for_times(wanted, ANSWER).map_err(failed)?;
        let mut cut = TopicPartitionList::new();
        for element in found.elements() {
            element.error().map_err(failed)?;
            let (start, end) = consumer
                .fetch_watermarks(&topic.name, element.partition(), ANSWER)
                .map_err(failed)?;
            let from = match element.offset() {
                Offset::Offset(offset) => {
                    if offset <= start && 0 < start && start < end {
                        cut.add_partition_offset(&topic.name, element.partition(), Offset::Offset(start))
                            .map_err(failed)?;
                    }
                    offset.clamp(start, end)
                }
                // Nothing came after it.
                _ => end,
            };
            let partition = Partition {
                topic: topic.clone(),
                number: element.partition(),
            };
            bounds.insert(partition, (from, end));
        }
        let first = client.first_time(&cut).map_err(failed)?;
        beginnings.extend(first.filter(|first| *first > to).map(|since| Beginning {
            topic: topic.name.clone(),
            partitions: cut.count(),
            since,
        }));
    }
    Ok(Offsets { bounds, beginnings })
}
