//! Dead letters: the original message, unchanged, on the topic's dead-letter topic, with the reason in its headers.

use crate::batch::{Delivery, Rejection};
use chrono::SecondsFormat;
use contract::{DeliveryId, header};
use futures::{StreamExt, stream};
use rdkafka::{
    ClientConfig, ClientContext,
    client::OAuthToken,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer},
    util::Timeout,
};
use runtime::kafka::{Diagnosis, Tokens};
use std::{error::Error, sync::Arc, time::Duration};

/// Part of `/ready` and label of retries.
pub const DEAD_LETTERS: &str = "dead_letters";
/// Name of this stage in the headers.
const STAGE: &str = "consumer";
/// Longest wait for an acknowledgement.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for room in the producer's queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
/// Letters on their way at a time.
const CONCURRENCY: usize = 64;
/// The client's own limit on the size of a message, before compression: a message that Kafka took with its own
/// headers must not fail here because of a few more.
const MAX_MESSAGE: &str = "67108864";

/// A dead letter was not acknowledged.
#[derive(Debug, thiserror::Error)]
#[error("dead-letter topic {topic} did not take a record: {reason}")]
pub struct DeadLetterError {
    /// The dead-letter topic.
    pub topic: String,
    /// What was reported.
    pub reason: String,
    /// It, or what went with it, is longer than the topic takes.
    pub is_too_large: bool,
}

/// Writes dead letters.
#[derive(Clone)]
pub struct DeadLetters {
    producer: FutureProducer<Context>,
    diagnosis: Diagnosis,
    cluster: Arc<str>,
    /// Whether letters are sent, or were sent when their messages were read before.
    sends: bool,
}

/// Keeps the reason of the last fault, which a failed delivery does not say.
#[derive(Clone)]
struct Context {
    diagnosis: Diagnosis,
    tokens: Tokens,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn error(&self, error: KafkaError, reason: &str) {
        self.diagnosis.record(&error, reason);
        tracing::warn!(%error, reason, "dead-letter producer");
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.answer()
    }
}

impl DeadLetters {
    /// An idempotent producer with these settings of the brokers, and tokens for them.
    pub fn new(
        mut config: ClientConfig,
        tokens: Tokens,
        cluster: Arc<str>,
        sends: bool,
    ) -> Result<DeadLetters, KafkaError> {
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "zstd")
            .set("message.max.bytes", MAX_MESSAGE)
            .set("message.timeout.ms", DELIVERY_TIMEOUT.as_millis().to_string())
            .set("linger.ms", "5");
        let context = Context {
            diagnosis: Diagnosis::default(),
            tokens,
        };
        let diagnosis = context.diagnosis.clone();
        Ok(DeadLetters {
            producer: config.create_with_context(context)?,
            diagnosis,
            cluster,
            sends,
        })
    }

    /// Writes a letter for each rejection; answers for each of them, in their order, whether it was acknowledged. A
    /// repeated letter has the same delivery id. Where one is too large, all that travel with it are refused: then they
    /// go `one_by_one`.
    pub async fn send(
        &self,
        letters: &[(&Rejection, Delivery<'_>)],
        attempt: u32,
        one_by_one: bool,
    ) -> Vec<Result<(), DeadLetterError>> {
        if !self.sends {
            return letters.iter().map(|_| Ok(())).collect();
        }
        let sends: Vec<_> = letters
            .iter()
            .map(|(rejection, delivery)| self.send_one(rejection, *delivery, attempt))
            .collect();
        let concurrency = if one_by_one { 1 } else { CONCURRENCY };
        stream::iter(sends).buffered(concurrency).collect().await
    }

    async fn send_one(
        &self,
        rejection: &Rejection,
        delivery: Delivery<'_>,
        attempt: u32,
    ) -> Result<(), DeadLetterError> {
        let topic = header::dead_letter_topic(&rejection.partition.topic.name);
        let headers = headers(&self.cluster, rejection, delivery, attempt);
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&topic).headers(headers);
        if let Some(key) = delivery.key {
            record = record.key(key);
        }
        if let Some(value) = delivery.value {
            record = record.payload(value);
        }
        match self.producer.send(record, Timeout::After(QUEUE_TIMEOUT)).await {
            Ok(_) => {
                tracing::warn!(
                    topic,
                    partition = %rejection.partition,
                    offset = rejection.offset,
                    index = rejection.index,
                    class = rejection.class.name(),
                    error = rejection.error,
                    "record dead-lettered"
                );
                Ok(())
            }
            Err((error, _)) => {
                let is_too_large = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge);
                let reason = match is_too_large {
                    true => format!(
                        "the letter for {} at offset {} is larger than it takes; raise its max.message.bytes",
                        rejection.partition, rejection.offset
                    ),
                    false => self.diagnosis.explain(&error),
                };
                Err(DeadLetterError {
                    topic,
                    reason,
                    is_too_large,
                })
            }
        }
    }

    /// Waits for letters on their way, for a moment.
    pub fn flush(&self) {
        if let Err(error) = self.producer.flush(Duration::from_secs(2)) {
            tracing::warn!(%error, "dead letters were still on their way; their records are read again");
        }
    }
}

/// The original headers, then those of the contract.
fn headers(cluster: &str, rejection: &Rejection, delivery: Delivery<'_>, attempt: u32) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(delivery.headers.len() + 10);
    for (key, value) in delivery.headers {
        headers = headers.insert(Header {
            key,
            value: value.as_deref(),
        });
    }
    let id = DeliveryId {
        cluster,
        topic: rejection.partition.topic.id,
        partition: rejection.partition.number,
        offset: rejection.offset,
        index: rejection.index.unwrap_or(0),
    };
    let mut text = |key: &str, value: String| {
        headers = std::mem::take(&mut headers).insert(Header {
            key,
            value: Some(value.as_bytes()),
        });
    };
    text(header::TOPIC, rejection.partition.topic.name.clone());
    text(header::PARTITION, rejection.partition.number.to_string());
    text(header::OFFSET, rejection.offset.to_string());
    if let Some(index) = rejection.index {
        text(header::INDEX, index.to_string());
    }
    if let Some(timestamp) = delivery.time() {
        text(
            header::TIMESTAMP,
            timestamp.to_rfc3339_opts(SecondsFormat::Millis, true),
        );
    }
    text(header::STAGE, STAGE.to_owned());
    text(header::ERROR_CLASS, rejection.class.name().to_owned());
    text(header::ERROR, rejection.error.clone());
    text(header::ATTEMPT, attempt.to_string());
    text(header::DELIVERY_ID, id.to_string());
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{RejectClass, tests::partition};
    use rdkafka::message::Headers;

    #[test]
    fn a_letter_says_where_it_comes_from_and_why_and_keeps_the_headers_it_had() {
        let delivery = Delivery {
            partition: &partition(3),
            offset: 42,
            timestamp: Some(1_700_000_000_123),
            key: None,
            value: None,
            headers: &[("trace".to_owned(), Some(b"t".to_vec())), ("none".to_owned(), None)],
            expired: 0,
        };
        let rejection = Rejection {
            partition: partition(3),
            offset: 42,
            index: Some(7),
            class: RejectClass::Validation,
            error: "name: is missing".to_owned(),
        };
        let headers = headers("cluster", &rejection, delivery, 1);
        let shown: Vec<(String, Option<String>)> = headers
            .as_borrowed()
            .iter()
            .map(|header| {
                (
                    header.key.to_owned(),
                    header.value.map(|value| String::from_utf8(value.to_vec()).unwrap()),
                )
            })
            .collect();
        let some = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        assert_eq!(
            shown,
            [
                some("trace", "t"),
                ("none".to_owned(), None),
                some(header::TOPIC, "events_log"),
                some(header::PARTITION, "3"),
                some(header::OFFSET, "42"),
                some(header::INDEX, "7"),
                some(header::TIMESTAMP, "2023-11-14T22:13:20.123Z"),
                some(header::STAGE, "consumer"),
                some(header::ERROR_CLASS, "validation"),
                some(header::ERROR, "name: is missing"),
                some(header::ATTEMPT, "1"),
                some(
                    header::DELIVERY_ID,
                    "cluster/00000000-0000-0000-0000-000000000007/3/42/7"
                ),
            ]
        );
    }
}
