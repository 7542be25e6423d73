//! What is written together: decoded messages. Their rows are texts that lie in the messages' values, as far as they need
//! no unescaping.

use crate::{
    account::{HOUR, Hour},
    ledger::Moves,
    topic::Partition,
};
use chrono::{DateTime, Utc};
use contract::{RecordId, Sender, Source, record::Columns};
use std::borrow::Cow;

/// A header of a message: its name and its value.
pub type Header = (String, Option<Vec<u8>>);

/// A Kafka message as it came: a dead letter carries it unchanged.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// Where it was read.
    pub partition: &'a Partition,
    /// Its offset.
    pub offset: i64,
    /// Its Kafka timestamp, milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [Header],
    /// Messages before it that Kafka had deleted before they were read.
    pub expired: i64,
}

impl Delivery<'_> {
    /// Its Kafka timestamp as a time.
    pub fn time(&self) -> Option<DateTime<Utc>> {
        self.timestamp.and_then(DateTime::from_timestamp_millis)
    }
}

/// A record that is fit to be stored, with all that both stores need.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// Identity of the record.
    pub id: RecordId,
    /// Who sent it.
    pub sender: &'a Sender<'a>,
    /// Where it was read.
    pub partition: &'a Partition,
    /// Offset of its message.
    pub offset: i64,
    /// Place in its message.
    pub index: i32,
    /// When it happened.
    pub event_time: DateTime<Utc>,
    /// What is particular to the source.
    pub columns: Columns<'a>,
    /// The record as the client sent it: JSON.
    pub raw: Cow<'a, str>,
}

/// Where a record was read: partition, offset of the message and place in it. A whole message has none.
pub type RecordPlace = (Partition, i64, Option<i32>);

impl Row<'_> {
    /// Where it was read.
    pub fn place(&self) -> RecordPlace {
        (self.partition.clone(), self.offset, Some(self.index))
    }

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

impl Rejection {
    /// Where it was read.
    pub fn place(&self) -> RecordPlace {
        (self.partition.clone(), self.offset, self.index)
    }
}

/// A message, read and checked.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    /// The message as it came.
    pub delivery: Delivery<'a>,
    /// Who sent it, as far as it says so.
    pub sender: Option<&'a Sender<'a>>,
    /// When the producer took it; of a message that is no envelope, Kafka's time, or that of its reading.
    pub taken_at: DateTime<Utc>,
    /// How many good records it has.
    pub good: usize,
    /// Its bad ones, or itself.
    pub rejections: Vec<Rejection>,
}

impl Message<'_> {
    /// Records in it, good and bad.
    pub fn records(&self) -> usize {
        self.good + self.rejections.len()
    }

    /// The hour in which it was taken.
    pub fn hour(&self) -> Hour {
        self.taken_at.timestamp().div_euclid(HOUR)
    }
}

/// Records of a message, more or less, where nothing better is known.
pub fn usual_records(source: Source) -> usize {
    if source.batched() { 16 } else { 1 }
}

/// Messages that are written together, with the moves of the ledger that they mean.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// The messages, by partition in the order of their offsets.
    pub messages: Vec<Message<'a>>,
    /// Their good records, in the same order.
    pub rows: Vec<Row<'a>>,
    /// What the ledger must hold before, and holds after.
    pub moves: Moves,
    records: usize,
}

impl<'a> Batch<'a> {
    /// These messages with their rows, which mean these moves.
    pub fn of(messages: Vec<Message<'a>>, rows: Vec<Row<'a>>, moves: Moves) -> Batch<'a> {
        Batch {
            records: messages.iter().map(Message::records).sum(),
            messages,
            rows,
            moves,
        }
    }

    /// Adds a message, which comes after those of its partition that are in it, with its rows. `ledger` is what the
    /// ledger will hold for the partition once all earlier batches are written.
    pub fn push(&mut self, message: Message<'a>, rows: impl IntoIterator<Item = Row<'a>>, ledger: i64) {
        self.moves
            .pass(message.delivery.partition, ledger, message.delivery.offset);
        self.records += message.records();
        self.messages.push(message);
        self.rows.extend(rows);
    }

    /// Records in it, good and bad.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Who sent the messages.
    pub fn senders(&self) -> impl Iterator<Item = &Sender<'_>> {
        self.messages.iter().filter_map(|message| message.sender)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::topic::Topic;
    use std::sync::Arc;
    use uuid::Uuid;

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

    /// For as long as the tests run.
    pub(crate) fn kept<T>(value: T) -> &'static T {
        Box::leak(Box::new(value))
    }

    pub(crate) fn delivery(number: i32, offset: i64, value: Option<&[u8]>) -> Delivery<'_> {
        Delivery {
            partition: kept(partition(number)),
            offset,
            timestamp: None,
            key: None,
            value,
            headers: &[],
            expired: 0,
        }
    }

    pub(crate) fn row(id: u128, at: i64) -> Row<'static> {
        Row {
            id: Uuid::from_u128(id),
            sender: kept(Sender {
                tenant: "default".into(),
                user: "u".into(),
                device: "d".into(),
                batch_id: Uuid::nil(),
                received_at: DateTime::UNIX_EPOCH,
            }),
            partition: kept(partition(0)),
            offset: 0,
            index: 0,
            event_time: DateTime::from_timestamp_micros(at).unwrap(),
            columns: Columns::Event { name: "open".into() },
            raw: "null".into(),
        }
    }
}
