//! Topics full of uploads.

use crate::{kafka::environment, uploads::Message};
use anyhow::{Context, Result, ensure};
use producer::kafka::BATCHES;
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};
use runtime::env::Env;
use services::Kafka;
use std::time::Duration;

/// Longest wait for a topic to be filled.
const FILL: Duration = Duration::from_secs(300);

/// Writes so many messages, again from the first of `distinct` when all are written, in batches like the producer's.
/// Blocks.
pub fn topic(kafka: &Kafka, topic: &str, distinct: &[Message], messages: u64) -> Result<()> {
    let mut config = runtime::kafka::client_config(&Env::from_pairs(environment(kafka)))?;
    for (name, value) in BATCHES {
        config.set(name, value);
    }
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().context("create a producer")?;
    for message in distinct.iter().cycle().take(usize::try_from(messages)?) {
        let mut record = BaseRecord::to(topic).key(&message.key).payload(&message.value);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error).context("write a message"),
            }
        }
    }
    producer.flush(FILL)?;
    ensure!(producer.in_flight_count() == 0, "not all messages were written");
    Ok(())
}
