//! Writing to Kafka: every message is acknowledged by all in-sync replicas, or the caller learns within a bound
//! that nobody knows.
//!
//! - [`ends`]: where partitions begin and end
//! - [`acknowledged`]: which offsets are acknowledged, and cannot be so again

mod acknowledged;
pub mod ends;

use crate::{settings::Settings, topics::Topics};
use acknowledged::{Acknowledged, Before};
use futures::{FutureExt, future::BoxFuture};
use rdkafka::{
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer},
    types::RDKafkaRespErr,
};
use runtime::kafka::{Context, Diagnosis};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

/// Longest wait for one answer of the periodic check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);
/// Messages that may wait for Kafka; their bytes are bounded by [`Settings::queue_kbytes`].
const QUEUE_MESSAGES: &str = "200000";
/// Longest message, bytes: what a broker takes by default, less the batch's own header.
const MESSAGE_MAX_BYTES: &str = "1000000";
/// How messages become batches. Clients in Java have settings of the same names.
pub const BATCHES: [(&str, &str); 3] = [
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    ("batch.size", "262144"),
];
/// Extra wait for a delivery report after the delivery timeout, which the client checks once a second only.
const REPORT_GRACE: Duration = Duration::from_secs(2);

/// Where Kafka put a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Kafka cluster id.
    pub cluster: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// A message that Kafka did not acknowledge. It may be stored all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// As many messages wait as the queue holds.
    #[error("the queue to Kafka is full")]
    QueueFull,
    /// The message is larger than Kafka takes.
    #[error("the message is too large for Kafka")]
    TooLarge,
    /// Kafka is away, the topic is missing, or the acknowledgement did not come in time.
    #[error("not acknowledged: {0}")]
    Unavailable(String),
}

impl WriteError {
    /// Stable name of the reason, for clients and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            WriteError::QueueFull => "queue_full",
            WriteError::TooLarge => "message_too_large",
            WriteError::Unavailable(_) => "kafka_unavailable",
        }
    }

    /// Seconds after which a retry is worth while, where it ever is.
    pub fn retry_after(&self) -> Option<u32> {
        match self {
            WriteError::QueueFull => Some(1),
            WriteError::TooLarge => None,
            WriteError::Unavailable(_) => Some(5),
        }
    }
}

/// What became of one message.
pub type Outcome = Result<Position, WriteError>;

/// What the API needs of Kafka, apart so that its answers to every outcome can be tested.
pub trait MessageLog: Send + Sync {
    /// Writes `messages` to `topic` under one key, and says of each what became of it, in order. Returns within a
    /// bound.
    fn write<'a>(&'a self, topic: &'a str, key: &'a str, messages: Vec<Vec<u8>>) -> BoxFuture<'a, Vec<Outcome>>;
}

/// The state of the client, as the periodic check finds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// It may work again by itself.
    #[error("{0}")]
    NotReady(String),
    /// The idempotent producer cannot go on without breaking its promise; only a new process helps.
    #[error("the Kafka client cannot go on: {0}")]
    Fatal(String),
}

/// An idempotent producer. Creating it does not wait for Kafka.
pub struct Kafka {
    producer: FutureProducer<Context>,
    topics: Topics,
    diagnosis: Diagnosis,
    /// Known after the first successful check, and read again at each: a cluster behind the same address may be
    /// replaced while this process lives.
    cluster: RwLock<Option<Arc<str>>>,
    /// Of each enabled topic, as of the last check in which it answered.
    partitions: RwLock<HashMap<String, i32>>,
    acknowledged: Acknowledged,
    /// Partitions of each topic without a leader, so that a change of them is logged once.
    leaderless: Mutex<HashMap<String, Vec<i32>>>,
    /// Bounds the threads that wait for ends of partitions, of all who ask.
    asking: Arc<Semaphore>,
    delivery_timeout: Duration,
}

impl Kafka {
    /// A client with the producer's settings.
    pub fn new(settings: &Settings) -> KafkaResult<Kafka> {
        let context = Context {
            diagnosis: Diagnosis::default(),
            tokens: settings.tokens.clone(),
        };
        let diagnosis = context.diagnosis.clone();
        let mut config = settings.kafka.clone();
        for (name, value) in BATCHES {
            config.set(name, value);
        }
        let producer = config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // A topic that is missing is the operator's to create: a broker would give it its own default of partitions.
            .set("allow.auto.create.topics", "false")
            // The partitioner of the Java clients: other tools then find a user's partition in the same way.
            .set("partitioner", "murmur2_random")
            .set("message.max.bytes", MESSAGE_MAX_BYTES)
            .set("queue.buffering.max.messages", QUEUE_MESSAGES)
            .set("queue.buffering.max.kbytes", settings.queue_kbytes.to_string())
            .set("message.timeout.ms", settings.delivery_timeout.as_millis().to_string())
            .create_with_context(context)?;
        Ok(Kafka {
            producer,
            topics: settings.topics.clone(),
            diagnosis,
            cluster: RwLock::new(None),
            partitions: RwLock::default(),
            acknowledged: Acknowledged::default(),
            leaderless: Mutex::default(),
            asking: Arc::new(Semaphore::new(ends::THREADS)),
            delivery_timeout: settings.delivery_timeout,
        })
    }

    /// Asks Kafka for every enabled topic. Blocks for up to a few seconds.
    pub fn check(&self) -> Result<(), CheckError> {
        if let Some((_, reason)) = self.producer.client().fatal_error() {
            return Err(CheckError::Fatal(reason));
        }
        for topic in self.topics.names() {
            self.check_topic(topic).map_err(CheckError::NotReady)?;
        }
        match self.producer.client().fetch_cluster_id(CHECK_TIMEOUT) {
            Some(id) => *self.cluster.write().unwrap_or_else(PoisonError::into_inner) = Some(id.into()),
            None => return Err(CheckError::NotReady("Kafka does not tell its cluster id".to_owned())),
        }
        self.look_at_ends();
        self.diagnosis.clear();
        Ok(())
    }

    /// Finds out whether offsets are given once more in partitions in which one was.
    fn look_at_ends(&self) {
        for (topic, partition) in self.acknowledged.doubtful() {
            let end = match self
                .producer
                .client()
                .fetch_watermarks(&topic, partition, CHECK_TIMEOUT)
            {
                Ok((_, end)) => end,
                Err(error) => {
                    tracing::debug!(topic, partition, %error, "the end of a partition is not known");
                    self.acknowledged.doubt(&topic, partition);
                    continue;
                }
            };
            if let Some(acknowledged) = self.acknowledged.ends_at(&topic, partition, end) {
                tracing::error!(
                    topic,
                    partition,
                    acknowledged,
                    end,
                    "the partition ends before an offset that Kafka had acknowledged: its topic was made again, or \
                     messages are lost"
                );
            }
        }
    }

    fn check_topic(&self, name: &str) -> Result<(), String> {
        let metadata = self
            .producer
            .client()
            .fetch_metadata(Some(name), CHECK_TIMEOUT)
            .map_err(|error| format!("Kafka does not answer: {}", self.diagnosis.explain(&error)))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == name);
        match topic.map(|topic| topic.error()) {
            Some(None) => {
                let partitions = topic.map(|topic| topic.partitions()).unwrap_or_default();
                let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
                let mut known = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
                known.insert(name.to_owned(), count);
                drop(known);
                self.acknowledged.learn(name, partitions.len());
                let leaderless = partitions.iter().filter(|partition| partition.leader() < 0);
                self.check_leaders(
                    name,
                    partitions.len(),
                    leaderless.map(|partition| partition.id()).collect(),
                )
            }
            None | Some(Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)) => {
                Err(format!("topic {name} does not exist"))
            }
            Some(Some(error)) => Err(format!("topic {name}: {}", RDKafkaErrorCode::from(error))),
        }
    }

    /// Uploads of some users fail where some partitions have no leader, which no other pod would change; where none has
    /// one, all do.
    fn check_leaders(&self, topic: &str, partitions: usize, leaderless: Vec<i32>) -> Result<(), String> {
        let outcome = match leaderless.len() {
            all @ 1.. if all == partitions => Err(format!("topic {topic}: none of its partitions has a leader")),
            _ => Ok(()),
        };
        let mut known = self.leaderless.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(topic.to_owned(), leaderless.clone()).unwrap_or_default();
        if before != leaderless {
            match leaderless.is_empty() {
                true => tracing::info!(topic, "all partitions have a leader again"),
                false => tracing::warn!(
                    topic,
                    partitions = ?leaderless,
                    "partitions have no leader; uploads of the users in them are answered 503"
                ),
            }
        }
        outcome
    }

    /// Waits until the queue is empty, for up to `patience`. Returns how many messages are left.
    pub fn flush(&self, patience: Duration) -> usize {
        // A timeout shows in what is left.
        let _ = self.producer.flush(patience);
        usize::try_from(self.producer.in_flight_count()).unwrap_or_default()
    }

    fn cluster(&self) -> Option<Arc<str>> {
        self.cluster.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn write_all(&self, topic: &str, key: &str, messages: Vec<Vec<u8>>) -> Vec<Outcome> {
        let Some(cluster) = self.cluster() else {
            let never = WriteError::Unavailable("Kafka has not been reached since this process started".to_owned());
            return vec![Err(never); messages.len()];
        };
        let before = self.acknowledged.before(topic);
        let mut full = false;
        let queued: Vec<Result<DeliveryFuture, WriteError>> = messages
            .into_iter()
            .map(|message| {
                // What comes after must not overtake what the queue has no room for.
                if full {
                    return Err(WriteError::QueueFull);
                }
                let record = FutureRecord::to(topic).key(key).payload(&message);
                let queued = self.producer.send_result(record);
                let queued = queued.map_err(|(error, _)| refused(&error));
                full = matches!(queued, Err(WriteError::QueueFull));
                queued
            })
            .collect();
        let deadline = Instant::now() + self.delivery_timeout + REPORT_GRACE;
        let mut outcomes = Vec::with_capacity(queued.len());
        // In order: all messages are under way already, so this takes as long as the slowest.
        for delivery in queued {
            outcomes.push(match delivery {
                Ok(delivery) => acknowledged(delivery, &cluster, deadline)
                    .await
                    .and_then(|position| self.believed(topic, &before, position)),
                Err(error) => Err(error),
            });
        }
        outcomes
    }

    /// The position, if it can be that of a message queued after `before`.
    fn believed(&self, topic: &str, before: &Before, position: Position) -> Outcome {
        if before.allows(position.partition, position.offset) {
            return Ok(position);
        }
        self.acknowledged.doubt(topic, position.partition);
        Err(WriteError::Unavailable(
            "acknowledged without an offset of its own".to_owned(),
        ))
    }
}

async fn acknowledged(delivery: DeliveryFuture, cluster: &Arc<str>, deadline: Instant) -> Outcome {
    match timeout_at(deadline, delivery).await {
        Ok(Ok(Ok(delivery))) => Ok(Position {
            cluster: cluster.clone(),
            partition: delivery.partition,
            offset: delivery.offset,
        }),
        Ok(Ok(Err((error, _)))) => Err(refused(&error)),
        Ok(Err(_)) => Err(WriteError::Unavailable("the Kafka client is shutting down".to_owned())),
        Err(_) => Err(WriteError::Unavailable("no delivery report in time".to_owned())),
    }
}

fn refused(error: &KafkaError) -> WriteError {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::QueueFull) => WriteError::QueueFull,
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => WriteError::TooLarge,
        _ => WriteError::Unavailable(error.to_string()),
    }
}

impl MessageLog for Kafka {
    fn write<'a>(&'a self, topic: &'a str, key: &'a str, messages: Vec<Vec<u8>>) -> BoxFuture<'a, Vec<Outcome>> {
        self.write_all(topic, key, messages).boxed()
    }
}
