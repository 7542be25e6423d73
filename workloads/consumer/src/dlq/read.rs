//! All that lies in dead-letter topics when the reading begins. Nothing is committed: reading changes nothing.

use super::{Place, letter::Letter};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use runtime::{
    env::{Env, EnvError},
    kafka::{Context, Diagnosis, Tokens, client_config},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Longest wait for the next message while some are still to come.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// Why the letters cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The environment is not that of a consumer.
    #[error("{0}; run this in a consumer's pod")]
    Env(#[from] EnvError),
    /// Kafka does not answer.
    #[error("read {topic}: {reason}")]
    Kafka {
        /// The topic.
        topic: String,
        /// What was reported.
        reason: String,
    },
    /// Messages that should be there do not come.
    #[error("Kafka has not delivered the rest of {topic} within {} s: {reason}", PATIENCE.as_secs())]
    Stalled {
        /// The topic.
        topic: String,
        /// What was reported.
        reason: String,
    },
}

struct Reader {
    consumer: BaseConsumer<Context>,
    diagnosis: Diagnosis,
}

/// Gives each letter in these topics to `take`, topic by topic, until that says `false`. Answers how many messages were
/// no letters. A topic that is missing has none.
pub fn all<E: From<ReadError>>(
    environment: &Env,
    topics: &[String],
    mut take: impl FnMut(Letter) -> Result<bool, E>,
) -> Result<u64, E> {
    let reader = Reader::new(environment)?;
    let mut strange = 0;
    for topic in topics {
        let bounds = reader.bounds(topic)?;
        let goes_on = reader.read(topic, &bounds, |message| match message {
            Some(letter) => take(letter),
            None => {
                strange += 1;
                Ok(true)
            }
        })?;
        if !goes_on {
            break;
        }
    }
    Ok(strange)
}

/// The letter at this place, if there is one.
pub fn one(environment: &Env, place: &Place) -> Result<Option<Letter>, ReadError> {
    let reader = Reader::new(environment)?;
    let bounds = reader.bounds(&place.topic)?;
    let Some((first, end)) = bounds.get(&place.partition).copied() else {
        return Ok(None);
    };
    if !(first..end).contains(&place.offset) {
        return Ok(None);
    }
    let mut found = None;
    let only = Bounds::from([(place.partition, (place.offset, end))]);
    reader.read(&place.topic, &only, |letter| {
        found = letter.filter(|letter| letter.place.offset == place.offset);
        Ok::<_, ReadError>(false)
    })?;
    Ok(found)
}

/// First offset and end of the partitions of a topic that hold anything.
type Bounds = BTreeMap<i32, (i64, i64)>;

impl Reader {
    fn new(environment: &Env) -> Result<Reader, ReadError> {
        let context = Context {
            diagnosis: Diagnosis::default(),
            tokens: Tokens::from_env(environment)?,
        };
        let diagnosis = context.diagnosis.clone();
        let mut config: ClientConfig = client_config(environment)?;
        config
            // The client wants one to read at all; nothing is committed and nobody joins it.
            .set("group.id", "syncpipeline-dead-letters")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false");
        let consumer = config.create_with_context(context).map_err(|error| ReadError::Kafka {
            topic: "dead letters".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Reader { consumer, diagnosis })
    }

    fn failed(&self, topic: &str, error: &KafkaError) -> ReadError {
        ReadError::Kafka {
            topic: topic.to_owned(),
            reason: self.diagnosis.explain(error),
        }
    }

    /// Nothing where the topic is missing.
    fn bounds(&self, topic: &str) -> Result<Bounds, ReadError> {
        let metadata = self.consumer.fetch_metadata(Some(topic), ANSWER);
        let metadata = metadata.map_err(|error| self.failed(topic, &error))?;
        match metadata
            .topics()
            .iter()
            .find_map(|topic| topic.error())
            .map(RDKafkaErrorCode::from)
        {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition) => return Ok(Bounds::new()),
            Some(code) => return Err(self.failed(topic, &KafkaError::MetadataFetch(code))),
        }
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions
            .map(|partition| {
                let bounds = self.consumer.fetch_watermarks(topic, partition.id(), ANSWER);
                let bounds = bounds.map_err(|error| self.failed(topic, &error))?;
                Ok((partition.id(), bounds))
            })
            .filter(|bounds| !matches!(bounds, Ok((_, (first, end))) if first == end))
            .collect()
    }

    /// Gives each message of the topic between the bounds to `take`, as a letter where it is one. `false` where that said
    /// so.
    fn read<E: From<ReadError>>(
        &self,
        topic: &str,
        bounds: &Bounds,
        mut take: impl FnMut(Option<Letter>) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut list = TopicPartitionList::new();
        for (partition, (first, _)) in bounds {
            let added = list.add_partition_offset(topic, *partition, Offset::Offset(*first));
            added.map_err(|error| self.failed(topic, &error))?;
        }
        let assigned = self.consumer.assign(&list);
        assigned.map_err(|error| self.failed(topic, &error))?;
        let mut left = bounds.clone();
        let (mut heard, mut reported) = (Instant::now(), None);
        while !left.is_empty() {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let (partition, offset) = (message.partition(), message.offset());
                    let Some((_, end)) = left.get(&partition).copied() else {
                        continue;
                    };
                    if offset < end && !take(Letter::read(&message))? {
                        return Ok(false);
                    }
                    if offset + 1 >= end {
                        left.remove(&partition);
                    }
                }
                // The last offsets may be no messages: markers of transactions, or removed ones.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    heard = Instant::now();
                    left.remove(&partition);
                }
                Some(Err(error)) if is_refusal(&error) => return Err(self.failed(topic, &error).into()),
                Some(Err(error)) => reported = Some(error),
                None => {}
            }
            if heard.elapsed() > PATIENCE {
                return Err(ReadError::Stalled {
                    topic: topic.to_owned(),
                    reason: self
                        .diagnosis
                        .explain(&reported.unwrap_or(KafkaError::NoMessageReceived)),
                }
                .into());
            }
        }
        Ok(true)
    }
}

/// Whether a person has to act before anything can be read.
fn is_refusal(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_that_is_missing_is_not_waited_for() {
        let of = |code| is_refusal(&KafkaError::MessageConsumption(code));
        assert!(of(RDKafkaErrorCode::TopicAuthorizationFailed));
        assert!(!of(RDKafkaErrorCode::BrokerTransportFailure));
        assert!(!is_refusal(&KafkaError::NoMessageReceived));
    }
}
