//! What is read together and written together.

use crate::{
    config::BatchLimits,
    ledger::{Moves, OutOfOrder},
    topic::Partition,
};
use chrono::{DateTime, Utc};
use contract::{RecordId, record::Columns};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// A Kafka message as it came, kept until its records are stored: a dead letter carries it unchanged.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where it was read.
    pub partition: Partition,
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp.
    pub timestamp: Option<DateTime<Utc>>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// Who sent the records of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Tenant of the client.
    pub tenant: String,
    /// User.
    pub user: String,
    /// Device of the user.
    pub device: String,
    /// The upload.
    pub batch_id: Uuid,
    /// When the producer took it.
    pub received_at: DateTime<Utc>,
}

/// A record that is fit to be stored, with all that both stores need.
#[derive(Debug, Clone)]
pub struct Row {
    /// Identity of the record.
    pub id: RecordId,
    /// Who sent it.
    pub sender: Arc<Sender>,
    /// Where it was read.
    pub partition: Partition,
    /// Offset of its message.
    pub offset: i64,
    /// Place in its message.
    pub index: i32,
    /// When it happened.
    pub event_time: DateTime<Utc>,
    /// What is particular to the source.
    pub columns: Columns,
    /// The record as the client sent it.
    pub raw: Value,
}

impl Row {
    /// Of two versions of a record, the one with the greater version is kept. Microseconds, because that is what
    /// PostgreSQL keeps: both stores must take the same decision.
    pub fn version(&self) -> (i64, i64) {
        (
            self.event_time.timestamp_micros(),
            self.sender.received_at.timestamp_micros(),
        )
    }
}

/// Why a record, or a whole message, was given up. The values are those of the header
/// [`contract::header::ERROR_CLASS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectClass {
    /// The message is no envelope.
    Decode,
    /// A field of the record is missing or wrong.
    Validation,
    /// A store refused the record.
    Data,
}

impl RejectClass {
    /// The header's value.
    pub const fn name(self) -> &'static str {
        match self {
            RejectClass::Decode => "decode",
            RejectClass::Validation => "validation",
            RejectClass::Data => "data",
        }
    }
}

/// A record, or a whole message, that cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Where its message was read.
    pub partition: Partition,
    /// Offset of its message.
    pub offset: i64,
    /// Place of the record in its message; `None` when the whole message is guilty.
    pub index: Option<i32>,
    /// Why.
    pub class: RejectClass,
    /// Why, in words, without the record's content.
    pub error: String,
}

/// A message, read and checked.
#[derive(Debug, Clone)]
pub struct Message {
    /// The message as it came.
    pub delivery: Delivery,
    /// Its good records.
    pub rows: Vec<Row>,
    /// Its bad ones, or itself.
    pub rejections: Vec<Rejection>,
}

impl Message {
    fn records(&self) -> usize {
        self.rows.len() + self.rejections.len()
    }
}

/// Messages that are written together, with the moves of the ledger that they mean.
#[derive(Debug)]
pub struct Batch {
    /// The reader's epoch in which they were read: after a fence, older batches are not worth writing.
    pub epoch: u64,
    /// The messages, by partition in the order of their offsets.
    pub messages: Vec<Message>,
    /// What the ledger must hold before, and holds after.
    pub moves: Moves,
    limits: BatchLimits,
    records: usize,
    bytes: usize,
    opened: Option<Instant>,
}

impl Batch {
    /// An empty batch.
    pub fn new(limits: BatchLimits, epoch: u64) -> Batch {
        Batch {
            epoch,
            messages: Vec::new(),
            moves: Moves::default(),
            limits,
            records: 0,
            bytes: 0,
            opened: None,
        }
    }

    /// Adds a message. `ledger` is what the ledger will hold for its partition once all earlier batches are
    /// written.
    pub fn push(&mut self, message: Message, ledger: i64) -> Result<(), OutOfOrder> {
        self.moves
            .advance(&message.delivery.partition, ledger, message.delivery.offset)?;
        self.records += message.records();
        self.bytes += message.delivery.value.as_ref().map_or(0, Vec::len);
        self.messages.push(message);
        self.opened.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Takes out everything of these partitions: another reader has them now.
    pub fn forget(&mut self, partitions: &BTreeSet<Partition>) {
        self.messages
            .retain(|message| !partitions.contains(&message.delivery.partition));
        self.moves.forget(partitions);
        self.records = self.messages.iter().map(Message::records).sum();
        self.bytes = self
            .messages
            .iter()
            .filter_map(|message| message.delivery.value.as_ref())
            .map(Vec::len)
            .sum();
        if self.messages.is_empty() {
            self.opened = None;
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Records in it, good and bad.
    pub fn records(&self) -> usize {
        self.records
    }

    /// How long it may still wait to be written; zero when it is full or its time is over, `None` while it is empty.
    pub fn due_in(&self) -> Option<Duration> {
        let opened = self.opened?;
        if self.records >= self.limits.records || self.bytes >= self.limits.bytes {
            return Some(Duration::ZERO);
        }
        Some(self.limits.linger.saturating_sub(opened.elapsed()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::topic::Topic;
    use contract::Source;
    use proptest::prelude::*;

    pub(crate) fn partition(number: i32) -> Partition {
        let topic = Topic {
            name: "events_log".to_owned(),
            id: Uuid::from_u128(7),
            source: Source::Events,
        };
        Partition {
            topic: Arc::new(topic),
            number,
        }
    }

    pub(crate) fn row(id: u128, at: i64) -> Row {
        Row {
            id: Uuid::from_u128(id),
            sender: Arc::new(Sender {
                tenant: "default".to_owned(),
                user: "u".to_owned(),
                device: "d".to_owned(),
                batch_id: Uuid::nil(),
                received_at: DateTime::UNIX_EPOCH,
            }),
            partition: partition(0),
            offset: 0,
            index: 0,
            event_time: DateTime::from_timestamp_micros(at).unwrap(),
            columns: Columns::Event {
                name: "open".to_owned(),
            },
            raw: Value::Null,
        }
    }

    fn message(number: i32, offset: i64, records: usize, bytes: usize) -> Message {
        Message {
            delivery: Delivery {
                partition: partition(number),
                offset,
                timestamp: None,
                key: None,
                value: Some(vec![b'x'; bytes]),
                headers: vec![],
            },
            rows: (0..records).map(|index| row(index as u128, 0)).collect(),
            rejections: vec![],
        }
    }

    fn limits(records: usize, bytes: usize, linger: Duration) -> BatchLimits {
        BatchLimits { records, bytes, linger }
    }

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_batch_is_due_when_full_by_records_or_bytes_or_when_its_time_is_over() {
        let mut by_records = Batch::new(limits(3, 1_000, LONG), 0);
        assert_eq!(by_records.due_in(), None);
        by_records.push(message(0, 0, 2, 1), 0).unwrap();
        assert!(by_records.due_in().unwrap() > Duration::ZERO);
        by_records.push(message(0, 1, 1, 1), 0).unwrap();
        assert_eq!(by_records.due_in(), Some(Duration::ZERO));

        let mut by_bytes = Batch::new(limits(1_000, 10, LONG), 0);
        by_bytes.push(message(0, 0, 1, 10), 0).unwrap();
        assert_eq!(by_bytes.due_in(), Some(Duration::ZERO));

        let mut by_time = Batch::new(limits(1_000, 1_000, Duration::ZERO), 0);
        by_time.push(message(0, 0, 1, 1), 0).unwrap();
        assert_eq!(by_time.due_in(), Some(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn forgetting_partitions_leaves_what_a_batch_without_them_would_hold(
            messages in proptest::collection::vec((0..4_i32, 1..5_usize), 0..40),
            gone in proptest::collection::btree_set(0..4_i32, 0..4),
        ) {
            let (mut all, mut kept) = (Batch::new(limits(1_000, 1_000, LONG), 0), Batch::new(limits(1_000, 1_000, LONG), 0));
            for (offset, (number, records)) in messages.into_iter().enumerate() {
                let message = message(number, offset as i64, records, records);
                if !gone.contains(&number) {
                    kept.push(message.clone(), 0).unwrap();
                }
                all.push(message, 0).unwrap();
            }
            all.forget(&gone.into_iter().map(partition).collect());
            prop_assert_eq!(all.records(), kept.records());
            prop_assert_eq!(all.bytes, kept.bytes);
            prop_assert_eq!(&all.moves, &kept.moves);
            prop_assert_eq!(all.is_empty(), kept.is_empty());
            prop_assert_eq!(all.due_in().is_some(), kept.due_in().is_some());
        }
    }
}
