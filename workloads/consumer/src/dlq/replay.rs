//! The messages of dead letters once more, to the topics they came from. A record has the same id as before, so what of
//! a message is stored already is not stored again, and a replay may be repeated.

use super::{DlqError, dead_letter_topics, filter::Filter, letter::Letter, read, report_strange};
use contract::header;
use rdkafka::{ClientContext, client::OAuthToken};
use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};
use runtime::{
    env::{Env, EnvError},
    kafka::{Context, Tokens, client_config},
};
use std::{
    collections::HashSet,
    error::Error,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Longest wait for the acknowledgement of a message, and for room in the queue.
const DELIVERY: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Why not everything was sent.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The environment is not that of a consumer.
    #[error("{0}; run this in a consumer's pod")]
    Env(#[from] EnvError),
    /// Kafka did not take a message.
    #[error("{topic} does not take messages: {reason}")]
    Kafka {
        /// The topic.
        topic: String,
        /// What was reported.
        reason: String,
    },
    /// Some messages were not acknowledged.
    #[error("{failed} of {sent} messages were not acknowledged: {reason}; sending all of them again does no harm")]
    Unacknowledged {
        /// Messages that were not.
        failed: u64,
        /// Messages that were sent.
        sent: u64,
        /// What was reported.
        reason: String,
    },
}

/// Counts what becomes of the messages.
#[derive(Clone, Default)]
struct Deliveries {
    context: Context,
    acknowledged: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn generate_oauth_token(&self, name: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.context.generate_oauth_token(name)
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.context.diagnosis.record(error, &error.to_string());
            }
        }
    }
}

/// Sends the message of each letter that the filter admits, each message once.
pub(super) fn run(
    environment: &Env,
    topics: &[String],
    filter: &Filter,
    dry_run: bool,
    out: &mut impl Write,
) -> Result<(), DlqError> {
    let deliveries = Deliveries {
        context: Context {
            tokens: Tokens::from_env(environment)?,
            ..Context::default()
        },
        ..Deliveries::default()
    };
    let producer = producer(environment, deliveries.clone())?;
    let (mut messages, mut letters, mut sent) = (HashSet::new(), 0, 0);
    let read = read::all(environment, &dead_letter_topics(topics, filter), |letter| {
        if !filter.admits(&letter) || !topics.contains(&letter.origin.topic) {
            return Ok::<_, DlqError>(true);
        }
        letters += 1;
        // A message has a letter for each of its guilty records, and further ones where it was sent again before.
        if messages.insert(message_of(letter.root())) {
            if !dry_run {
                send(&producer, &letter, &deliveries)?;
            }
            sent += 1;
        }
        Ok(filter.limit.is_none_or(|limit| letters < limit))
    });
    if !dry_run {
        // Whatever ended the reading: what is in the queue would be thrown away with the producer. What is not
        // acknowledged by then shows in what is left and in what failed.
        let _ = producer.flush(DELIVERY);
    }
    let strange = read.map_err(|reason| match dry_run {
        true => reason,
        false => DlqError::Interrupted {
            reason: Box::new(reason),
            acknowledged: deliveries.acknowledged.load(Ordering::Relaxed),
        },
    })?;
    if !dry_run {
        let left = u64::try_from(producer.in_flight_count()).unwrap_or(0);
        let failed = deliveries.failed.load(Ordering::Relaxed) + left;
        if failed > 0 {
            let reason = deliveries.context.diagnosis.explain(&KafkaError::Canceled);
            return Err(ReplayError::Unacknowledged { failed, sent, reason }.into());
        }
    }
    let verb = if dry_run { "would be sent" } else { "sent" };
    writeln!(out, "{sent} messages of {letters} dead letters {verb}")?;
    report_strange(strange);
    Ok(())
}

/// The delivery id without the place in the message.
fn message_of(delivery: &str) -> String {
    let message = delivery.rsplit_once('/').map_or(delivery, |(message, _)| message);
    message.to_owned()
}

fn producer(environment: &Env, deliveries: Deliveries) -> Result<ThreadedProducer<Deliveries>, ReplayError> {
    let created = client_config(environment)?
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "lz4")
        // The partitioner of the producer: a user's messages stay together.
        .set("partitioner", "murmur2_random")
        .set("allow.auto.create.topics", "false")
        .set("message.max.bytes", "67108864")
        .set("queue.buffering.max.kbytes", "65536")
        .set("message.timeout.ms", DELIVERY.as_millis().to_string())
        .create_with_context(deliveries);
    created.map_err(|error| ReplayError::Kafka {
        topic: "Kafka".to_owned(),
        reason: error.to_string(),
    })
}

/// Puts one message into the queue, and waits while there is no room.
fn send(producer: &ThreadedProducer<Deliveries>, letter: &Letter, deliveries: &Deliveries) -> Result<(), ReplayError> {
    let mut headers = OwnedHeaders::new_with_capacity(letter.headers.len() + 1);
    for (key, value) in &letter.headers {
        let value = value.as_deref();
        headers = headers.insert(Header { key, value });
    }
    headers = headers.insert(Header {
        key: header::REPLAY_OF,
        value: Some(letter.root()),
    });
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&letter.origin.topic).headers(headers);
    if let Some(key) = &letter.key {
        record = record.key(key);
    }
    if let Some(value) = &letter.value {
        record = record.payload(value);
    }
    let until = Instant::now() + DELIVERY;
    loop {
        let (error, returned) = match producer.send(record) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) || Instant::now() >= until {
            return Err(ReplayError::Kafka {
                topic: letter.origin.topic.clone(),
                reason: deliveries.context.diagnosis.explain(&error),
            });
        }
        record = returned;
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_records_of_a_message_have_one_message() {
        assert_eq!(message_of("c/t/3/42/5"), message_of("c/t/3/42/0"));
        assert_ne!(message_of("c/t/3/42/5"), message_of("c/t/3/43/5"));
    }
}
