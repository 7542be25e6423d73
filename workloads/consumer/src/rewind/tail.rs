//! What is left of a partition when no reader gets any further: its last offsets may hold no messages, but markers of
//! transactions, or Kafka may have deleted all of them. A ledger moves with messages only.

use super::offsets::{ANSWER, Bounds, Client, OffsetsError};
use crate::topic::{Partition, Topic};
use rdkafka::{Message, Offset, TopicPartitionList, consumer::Consumer, error::KafkaError};
use runtime::env::Env;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Longest look at a topic; a partition of which nothing came by then may hold something.
const LOOK: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);

/// Those of these partitions that have no message from the first offset to the second one, each with the number of
/// messages that were there and that Kafka has deleted. Blocks.
pub(super) fn empty(environment: &Env, left: &Bounds) -> Result<BTreeMap<Partition, i64>, OffsetsError> {
    let client = Client::new(environment)?;
    let topics: BTreeSet<&Topic> = left.keys().map(|partition| &*partition.topic).collect();
    let mut empty = BTreeMap::new();
    // One after the other: the end of a partition comes without the name of its topic.
    for topic in topics {
        let of_topic = left.iter().filter(|(partition, _)| *partition.topic == *topic);
        look(&client, topic, of_topic, &mut empty)?;
    }
    Ok(empty)
}

fn look<'a>(
    client: &Client,
    topic: &Topic,
    left: impl Iterator<Item = (&'a Partition, &'a (i64, i64))>,
    empty: &mut BTreeMap<Partition, i64>,
) -> Result<(), OffsetsError> {
    let failed = |error: KafkaError| client.failed(&topic.name, &error);
    let mut list = TopicPartitionList::new();
    let mut undecided = BTreeMap::new();
    for (partition, (from, end)) in left {
        let number = partition.number;
        let watermarks = client.consumer.fetch_watermarks(&topic.name, number, ANSWER);
        let deleted = deleted(*from, *end, watermarks.map_err(failed)?.0);
        list.add_partition_offset(&topic.name, number, Offset::Offset(from + deleted))
            .map_err(failed)?;
        undecided.insert(number, (partition, *end, deleted));
    }
    client.consumer.assign(&list).map_err(failed)?;
    let until = Instant::now() + LOOK;
    while !undecided.is_empty() && Instant::now() < until {
        let (number, next) = match client.consumer.poll(POLL) {
            Some(Ok(message)) => (message.partition(), message.offset()),
            Some(Err(KafkaError::PartitionEOF(number))) => (number, i64::MAX),
            // What lasts shows where the partitions are read.
            Some(Err(_)) | None => continue,
        };
        if let Some((partition, end, deleted)) = undecided.remove(&number)
            && next >= end
        {
            empty.insert(partition.clone(), deleted);
        }
    }
    Ok(())
}

/// How many offsets between the two are before the log's beginning.
fn deleted(from: i64, end: i64, log_start: i64) -> i64 {
    log_start.clamp(from, end.max(from)) - from
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_before_the_log_is_deleted() {
        let of = |log_start| deleted(10, 20, log_start);
        assert_eq!([of(0), of(10), of(13), of(20), of(90)], [0, 0, 3, 10, 10]);
    }
}
