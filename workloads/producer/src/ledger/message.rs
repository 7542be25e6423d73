//! What is known of one message: the readers of its partition, and the rows and dead letters that it has left.

use super::Reading;
use contract::Source;
use sqlx::{Executor as _, PgConnection, Row as _, postgres::PgRow};
use std::sync::Arc;
use uuid::Uuid;

/// Most rows and most dead letters that are read of one message: more than any upload has.
const MOST: i64 = 10_000;

/// The topic's id is that of its newest incarnation which the ledger has seen.
const TOPIC: &str = "\
    SELECT topic_id FROM ledger WHERE cluster_id = $1 AND topic = $2 ORDER BY updated_at DESC, topic_id DESC LIMIT 1";

/// Consumers of an older release may not have made `mongodb_since` yet.
const READERS: &str = "\
    SELECT first_offset, next_offset, (to_jsonb(ledger) ->> 'mongodb_since')::bigint AS mongodb_since, \
        (SELECT coalesce(sum(messages), 0)::bigint FROM tallies WHERE tallies.cluster_id = ledger.cluster_id \
            AND tallies.topic_id = ledger.topic_id AND tallies.partition = ledger.partition \
            AND tallies.group_id = ledger.group_id) AS messages, \
        (SELECT coalesce(sum(expired), 0)::bigint FROM tallies WHERE tallies.cluster_id = ledger.cluster_id \
            AND tallies.topic_id = ledger.topic_id AND tallies.partition = ledger.partition \
            AND tallies.group_id = ledger.group_id) AS expired \
    FROM ledger WHERE cluster_id = $1 AND topic_id = $2 AND partition = $3";

/// For the transaction in which [`rows`] are read: without statistics of the index, which there are none of at first,
/// PostgreSQL expects nothing of it and reads the whole table.
pub const BY_INDEX: &str = "SET LOCAL enable_seqscan = off";

/// The rows of one message of `source`, by its topic's id, partition and offset, so many at most. Partition and offset
/// are named twice: once as the consumers' index has them.
pub fn rows(source: Source) -> String {
    // A source's name is that of its table.
    let table = source.name();
    format!(
        "SELECT index, tenant FROM {table} WHERE topic_id = $1 AND partition = $2 AND \"offset\" = $3 \
         AND ((partition::bigint << 48) | \"offset\") = (($2::bigint << 48) | $3) ORDER BY index LIMIT $4"
    )
}

const LETTERS: &str = "\
    SELECT index, class, error FROM dead_letters \
    WHERE topic_id = $1 AND partition = $2 AND \"offset\" = $3 ORDER BY index LIMIT $4";

/// A message, by where Kafka put it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Kafka cluster id.
    pub cluster: Arc<str>,
    /// Name of the topic.
    pub topic: String,
    /// What travels on it.
    pub source: Source,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// What a message has left. Empty where no reader has ever had the topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The groups that read its partition.
    pub readers: Vec<Reader>,
    /// Its records in PostgreSQL, by their place in it.
    pub rows: Vec<Stored>,
    /// Its dead letters.
    pub letters: Vec<Letter>,
}

/// A group's place in the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reader {
    /// Offset at which it began.
    pub first: i64,
    /// Offset that it reads next.
    pub next: i64,
    /// Offset from which on what it stores is in MongoDB, too; nothing where it is not.
    pub mongodb_since: Option<i64>,
    /// Messages of the partition that it has read.
    pub messages: i64,
    /// Messages of the partition that Kafka had deleted before it came to them.
    pub expired: i64,
}

/// A record in PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the message.
    pub index: i32,
    /// Whose it is.
    pub tenant: String,
}

/// A record, or a whole message, that no store could hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Place of the record in the message; `None` for the whole message.
    pub index: Option<i32>,
    /// Class of the error.
    pub class: String,
    /// The error, without the record's content.
    pub error: String,
}

impl Reading<Trace> for Place {
    async fn read(self, connection: &mut PgConnection) -> Result<Trace, sqlx::Error> {
        let topic: Option<Uuid> = sqlx::query_scalar(TOPIC)
            .bind(&*self.cluster)
            .bind(&self.topic)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(topic) = topic else {
            return Ok(Trace::default());
        };
        let readers = sqlx::query(READERS)
            .bind(&*self.cluster)
            .bind(topic)
            .bind(self.partition)
            .try_map(reader)
            .fetch_all(&mut *connection)
            .await?;
        connection.execute(BY_INDEX).await?;
        let rows = sqlx::query(&rows(self.source))
            .bind(topic)
            .bind(self.partition)
            .bind(self.offset)
            .bind(MOST)
            .try_map(stored)
            .fetch_all(&mut *connection)
            .await?;
        let letters = sqlx::query(LETTERS)
            .bind(topic)
            .bind(self.partition)
            .bind(self.offset)
            .bind(MOST)
            .try_map(letter)
            .fetch_all(&mut *connection)
            .await?;
        Ok(Trace { readers, rows, letters })
    }
}

fn reader(row: PgRow) -> Result<Reader, sqlx::Error> {
    Ok(Reader {
        first: row.try_get("first_offset")?,
        next: row.try_get("next_offset")?,
        mongodb_since: row.try_get("mongodb_since")?,
        messages: row.try_get("messages")?,
        expired: row.try_get("expired")?,
    })
}

fn stored(row: PgRow) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        index: row.try_get("index")?,
        tenant: row.try_get("tenant")?,
    })
}

fn letter(row: PgRow) -> Result<Letter, sqlx::Error> {
    let index: i32 = row.try_get("index")?;
    Ok(Letter {
        index: (index >= 0).then_some(index),
        class: row.try_get("class")?,
        error: row.try_get("error")?,
    })
}
