//! What Kafka holds: the truth that the stores are held to.

use crate::stage::{BROKERS, KAFKA_TIMEOUT, PARTITIONS, Stage};
use anyhow::{Context, Result, ensure};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use contract::message::EnvelopeError;
use contract::{Envelope, Record, RecordId, Source, header, identity};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// Longest reading of what came since the last time.
const READING: Duration = Duration::from_secs(120);

/// Where a record is: partition, offset, and place in its message.
pub(crate) type Place = (i32, i64, i32);

/// Why a record, or a message, cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grave {
    /// Place in the message; none where it is the whole message.
    pub(crate) index: Option<i32>,
    pub(crate) class: &'static str,
    /// Of key and value.
    pub(crate) content: u64,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) index: Option<i32>,
    pub(crate) class: String,
    pub(crate) content: u64,
}

/// One partition's messages of one hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) messages: i64,
    /// Records in them; a message that is no envelope counts as one.
    pub(crate) records: i64,
}

/// A record that can be stored, in all its deliveries.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    /// Of the record as it was sent.
    pub(crate) content: u64,
    pub(crate) places: Vec<Place>,
}

/// Everything in the topics.
#[derive(Default)]
pub(crate) struct Messages {
    next: BTreeMap<(String, i32), i64>,
    /// By the hour in which the producer took the upload; of what is no envelope, in which Kafka did.
    pub(crate) counts: BTreeMap<(Source, i32, DateTime<Utc>), Counts>,
    pub(crate) good: HashMap<(Source, RecordId), Deliveries>,
    /// By delivery id.
    pub(crate) graves: HashMap<(Source, Place), Grave>,
    pub(crate) letters: HashMap<(Source, Place), Letter>,
    /// By the letters' own header, and how often: more than once is allowed, as another id is not.
    pub(crate) letter_ids: HashMap<String, u64>,
    /// What makes no sense.
    pub(crate) wrong: Vec<String>,
}

impl Messages {
    /// Reads what has come since the last time.
    pub(crate) fn read_on(&mut self, stage: &Stage) -> Result<()> {
        let consumer: BaseConsumer = stage
            .kafka()
            .set("group.id", "judge")
            .set("enable.auto.commit", "false")
            .create()?;
        let mut ends = BTreeMap::new();
        let mut list = TopicPartitionList::new();
        for source in Source::ALL {
            let topic = source.topic().to_owned();
            let letters = (header::dead_letter_topic(&topic), 0);
            let all = (0..PARTITIONS)
                .map(|partition| (topic.clone(), partition))
                .chain([letters]);
            for (topic, partition) in all {
                let (_, end) = consumer.fetch_watermarks(&topic, partition, KAFKA_TIMEOUT)?;
                let next = *self.next.entry((topic.clone(), partition)).or_default();
                if next < end {
                    list.add_partition_offset(&topic, partition, Offset::Offset(next))?;
                    ends.insert((topic, partition), end);
                }
            }
        }
        consumer.assign(&list)?;
        let started = Instant::now();
        while !ends.is_empty() {
            ensure!(started.elapsed() < READING, "not read within {READING:?}: {ends:?}");
            let Some(message) = consumer.poll(Duration::from_millis(200)) else {
                continue;
            };
            // A client meets a leader that has changed, and finds the new one by itself.
            let Ok(message) = message else { continue };
            let place = (message.topic().to_owned(), message.partition());
            let next = message.offset() + 1;
            if ends.get(&place).is_none_or(|end| message.offset() >= *end) {
                continue;
            }
            self.take(stage, &message)?;
            if ends.get(&place) == Some(&next) {
                ends.remove(&place);
            }
            self.next.insert(place, next);
        }
        Ok(())
    }

    fn take(&mut self, stage: &Stage, message: &BorrowedMessage<'_>) -> Result<()> {
        if let Some(source) = Source::of_topic(message.topic(), "") {
            self.take_upload(source, message);
            return Ok(());
        }
        let topic = message.topic().strip_suffix(header::DEAD_LETTER_SUFFIX);
        let source = topic
            .and_then(|topic| Source::of_topic(topic, ""))
            .context("an unknown topic")?;
        if let Err(error) = self.take_letter(stage, source, message) {
            self.wrong
                .push(format!("dead letter {} of {source}: {error:#}", message.offset()));
        }
        Ok(())
    }

    fn take_upload(&mut self, source: Source, message: &BorrowedMessage<'_>) {
        let (partition, offset) = (message.partition(), message.offset());
        let content = content_of(message);
        let envelope = match message.payload() {
            Some(value) => Envelope::decode(value),
            None => Err(EnvelopeError::Records),
        };
        let in_kafka = message
            .timestamp()
            .to_millis()
            .and_then(DateTime::from_timestamp_millis);
        let taken_at = envelope
            .as_ref()
            .map_or(in_kafka, |envelope| Some(envelope.received_at));
        let hour = taken_at.and_then(|at| at.duration_trunc(TimeDelta::hours(1)).ok());
        let hour = hour.unwrap_or(DateTime::UNIX_EPOCH);
        let counts = self.counts.entry((source, partition, hour)).or_default();
        counts.messages += 1;
        let Ok(envelope) = envelope else {
            counts.records += 1;
            let (index, class) = (None, "decode");
            self.graves
                .insert((source, (partition, offset, 0)), Grave { index, class, content });
            return;
        };
        counts.records += envelope.records.len() as i64;
        for (index, record) in (0..).zip(&envelope.records) {
            let class = if Record::parse(source, record).is_err() {
                "validation"
            } else if envelope.user.contains('\0') {
                "data"
            } else {
                let id = identity::record_id(&envelope.tenant, source, &envelope.user, &envelope.device, record);
                let deliveries = self.good.entry((source, id)).or_default();
                deliveries.content = content_of_record(record);
                deliveries.places.push((partition, offset, index));
                continue;
            };
            let grave = Grave {
                index: Some(index),
                class,
                content,
            };
            self.graves.insert((source, (partition, offset, index)), grave);
        }
    }

    fn take_letter(&mut self, stage: &Stage, source: Source, message: &BorrowedMessage<'_>) -> Result<()> {
        let headers: BTreeMap<String, String> = message
            .headers()
            .context("it has no headers")?
            .iter()
            .map(|header| {
                let value = String::from_utf8_lossy(header.value.unwrap_or_default());
                (header.key.to_owned(), value.into_owned())
            })
            .collect();
        let get = |name: &str| headers.get(name).with_context(|| format!("it has no header {name}"));
        ensure!(
            get(header::TOPIC)? == source.topic(),
            "it is of {}",
            get(header::TOPIC)?
        );
        let index: Option<i32> = headers.get(header::INDEX).map(|index| index.parse()).transpose()?;
        let place: Place = (
            get(header::PARTITION)?.parse()?,
            get(header::OFFSET)?.parse()?,
            index.unwrap_or(0),
        );
        let id = contract::DeliveryId {
            cluster: &stage.cluster,
            topic: stage.topics[&source],
            partition: place.0,
            offset: place.1,
            index: place.2,
        };
        ensure!(
            *get(header::DELIVERY_ID)? == id.to_string(),
            "its delivery id is {} and should be {id}",
            get(header::DELIVERY_ID)?
        );
        let letter = Letter {
            index,
            class: get(header::ERROR_CLASS)?.clone(),
            content: content_of(message),
        };
        *self.letter_ids.entry(id.to_string()).or_default() += 1;
        if let Some(before) = self.letters.insert((source, place), letter.clone()) {
            ensure!(
                before == letter,
                "it says {letter:?}, and another one of the same delivery {before:?}"
            );
        }
        Ok(())
    }

    /// Ends of all partitions, as of the last reading.
    pub(crate) fn ends(&self) -> BTreeMap<(Source, i32), i64> {
        let uploads = self.next.iter().filter_map(|((topic, partition), next)| {
            let source = Source::of_topic(topic, "")?;
            Some(((source, *partition), *next))
        });
        uploads.collect()
    }
}

/// The ends of all partitions now.
pub(crate) fn ends(stage: &Stage) -> Result<BTreeMap<(Source, i32), i64>> {
    let places = Source::ALL
        .into_iter()
        .flat_map(|source| (0..PARTITIONS).map(move |partition| (source, partition)));
    places
        .map(|(source, partition)| {
            let (_, end) = stage
                .observer
                .fetch_watermarks(source.topic(), partition, KAFKA_TIMEOUT)?;
            Ok(((source, partition), end))
        })
        .collect()
}

/// An error until all brokers are there and have all that they should.
pub(crate) fn in_sync(stage: &Stage) -> Result<()> {
    let metadata = stage.observer.fetch_metadata(None, KAFKA_TIMEOUT)?;
    ensure!(
        metadata.brokers().len() == BROKERS,
        "{} brokers are there",
        metadata.brokers().len()
    );
    for topic in metadata.topics() {
        let behind = topic
            .partitions()
            .iter()
            .filter(|partition| partition.isr().len() < BROKERS);
        ensure!(behind.count() == 0, "copies of {} are not in sync", topic.name());
    }
    Ok(())
}

fn content_of(message: &BorrowedMessage<'_>) -> u64 {
    hashed(&(message.key(), message.payload()))
}

/// The same for the same JSON, whichever the order of its keys: they are sorted by the parser.
pub(crate) fn content_of_record(record: &Value) -> u64 {
    hashed(&record.to_string())
}

fn hashed(content: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}
