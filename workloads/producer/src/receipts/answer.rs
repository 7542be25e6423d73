//! What is answered about a receipt.

use serde::Serialize;
use utoipa::ToSchema;

/// What has become of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptStatus {
    /// Topic, as in the receipt.
    pub topic: String,
    /// Partition, as in the receipt.
    pub partition: i32,
    /// Offset, as in the receipt.
    pub offset: i64,
    /// How far it has come.
    pub state: State,
    /// Where its records are; there where `state` is `settled`.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub records: Option<Records>,
}

/// How far a message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No reader has come to it yet.
    Waiting,
    /// It was read, and each of its records is in the stores or in the dead letters, or was there already.
    Settled,
    /// Kafka deleted it before it was read.
    Expired,
    /// The readers are past it and it has left nothing, and whether they read it cannot be told: it lies before the
    /// offset at which their accounts begin, or Kafka has deleted it, and other messages of its partition before they
    /// were read.
    Unknown,
}

/// Where the records of a settled message are, by `index`, the place that their receipts tell. A record that is neither
/// in `postgresql` nor in `deadLetters` was there already when it came, or has been replaced by a newer version of
/// itself, or was erased, or is older than the tables keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Records {
    /// Indexes of the records that are rows in PostgreSQL.
    pub postgresql: Vec<i32>,
    /// Whether what is stored of the message is in MongoDB, too.
    pub mongodb: bool,
    /// The records that no store could hold.
    pub dead_letters: Vec<DeadLetter>,
    /// The records that are neither.
    pub others: Others,
    /// `true` where there are dead letters that are not shown: with API keys required, those of a message without a
    /// row, because nothing says whose they are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub withheld: bool,
}

/// A record that no store could hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLetter {
    /// Its index; `null` where the whole message is meant.
    pub index: Option<i32>,
    /// `decode`, `validation` or `data`.
    pub class: String,
    /// What is wrong, without the record's content.
    pub error: String,
}

/// Records that are neither rows nor dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Others {
    /// Their indexes, as far as they are known: those below the highest index that has a row or a dead letter.
    pub indexes: Vec<i32>,
    /// Whether there may be further ones. PostgreSQL does not keep how many records a message had.
    pub more: bool,
}
