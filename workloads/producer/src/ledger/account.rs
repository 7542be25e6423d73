//! What has become of everything that was read, by partition, and by the hour in which it was taken.

use super::Reading;
use sqlx::{
    PgConnection, Row as _,
    postgres::PgRow,
    types::chrono::{DateTime, Utc},
};
use std::{
    collections::HashMap,
    ops::{Add, AddAssign},
    sync::Arc,
};
use uuid::Uuid;

const LEDGER: &str = "\
    SELECT topic, topic_id, partition, group_id, first_offset, next_offset, moved_back, updated_at \
    FROM ledger WHERE cluster_id = $1 AND topic = ANY($2) ORDER BY topic, partition, group_id";

const TALLIES: &str = "\
    SELECT topic_id, partition, group_id, \
        sum(messages)::bigint AS messages, sum(expired)::bigint AS expired, sum(absent)::bigint AS absent, \
        sum(records)::bigint AS records, sum(stored)::bigint AS stored, sum(duplicate)::bigint AS duplicate, \
        sum(dead_lettered)::bigint AS dead_lettered, sum(erased)::bigint AS erased \
    FROM tallies WHERE cluster_id = $1 AND topic = ANY($2) GROUP BY topic_id, partition, group_id";

/// The present hour counts as one.
const HOURS: &str = "\
    SELECT topic_id, partition, group_id, hour, \
        messages, expired, absent, records, stored, duplicate, dead_lettered, erased \
    FROM tallies WHERE cluster_id = $1 AND topic = ANY($2) \
        AND hour > date_trunc('hour', now()) - $3 * interval '1 hour' \
    ORDER BY hour";

/// Which accounts are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// Kafka cluster id.
    pub cluster: Arc<str>,
    /// Names of the topics.
    pub topics: Vec<String>,
    /// How many hours back; none where it is 0.
    pub hours: u32,
}

/// A group's reading of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Name of the topic.
    pub topic: String,
    /// Kafka's id of the topic: one that is made again under its name has another.
    pub topic_id: Uuid,
    /// Partition.
    pub partition: i32,
    /// Consumer group.
    pub group: String,
    /// Offset at which it began.
    pub first: i64,
    /// Offset that it reads next.
    pub next: i64,
    /// Offsets that it read once more.
    pub moved_back: i64,
    /// When it last moved.
    pub updated_at: DateTime<Utc>,
    /// All that it has read.
    pub all: Tally,
    /// The same by hour, for the hours that were asked for and have any.
    pub hours: Vec<(DateTime<Utc>, Tally)>,
}

/// What became of messages and of the records in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages read.
    pub messages: i64,
    /// Messages that Kafka had deleted before they were read.
    pub expired: i64,
    /// Offsets without a message.
    pub absent: i64,
    /// Records in the messages read.
    pub records: i64,
    /// Of those: in the stores.
    pub stored: i64,
    /// There already.
    pub duplicate: i64,
    /// In the dead-letter topic.
    pub dead_lettered: i64,
    /// Of users that were erased.
    pub erased: i64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        *self = *self + other;
    }
}

impl Add for Tally {
    type Output = Tally;

    fn add(self, other: Tally) -> Tally {
        Tally {
            messages: self.messages.saturating_add(other.messages),
            expired: self.expired.saturating_add(other.expired),
            absent: self.absent.saturating_add(other.absent),
            records: self.records.saturating_add(other.records),
            stored: self.stored.saturating_add(other.stored),
            duplicate: self.duplicate.saturating_add(other.duplicate),
            dead_lettered: self.dead_lettered.saturating_add(other.dead_lettered),
            erased: self.erased.saturating_add(other.erased),
        }
    }
}

type Which = (Uuid, i32, String);

impl Reading<Vec<Account>> for Range {
    async fn read(self, connection: &mut PgConnection) -> Result<Vec<Account>, sqlx::Error> {
        let mut accounts = sqlx::query(LEDGER)
            .bind(&*self.cluster)
            .bind(&self.topics)
            .try_map(account)
            .fetch_all(&mut *connection)
            .await?;
        let all: HashMap<Which, Tally> = sqlx::query(TALLIES)
            .bind(&*self.cluster)
            .bind(&self.topics)
            .try_map(|row| Ok((which(&row)?, tally(&row)?)))
            .fetch_all(&mut *connection)
            .await?
            .into_iter()
            .collect();
        let mut hours: HashMap<Which, Vec<(DateTime<Utc>, Tally)>> = HashMap::new();
        if self.hours > 0 {
            let rows = sqlx::query(HOURS)
                .bind(&*self.cluster)
                .bind(&self.topics)
                .bind(f64::from(self.hours))
                .try_map(|row| Ok((which(&row)?, row.try_get("hour")?, tally(&row)?)))
                .fetch_all(&mut *connection)
                .await?;
            for (which, hour, tally) in rows {
                hours.entry(which).or_default().push((hour, tally));
            }
        }
        for account in &mut accounts {
            let which = (account.topic_id, account.partition, account.group.clone());
            account.all = all.get(&which).copied().unwrap_or_default();
            account.hours = hours.remove(&which).unwrap_or_default();
        }
        Ok(accounts)
    }
}

fn account(row: PgRow) -> Result<Account, sqlx::Error> {
    Ok(Account {
        topic: row.try_get("topic")?,
        topic_id: row.try_get("topic_id")?,
        partition: row.try_get("partition")?,
        group: row.try_get("group_id")?,
        first: row.try_get("first_offset")?,
        next: row.try_get("next_offset")?,
        moved_back: row.try_get("moved_back")?,
        updated_at: row.try_get("updated_at")?,
        all: Tally::default(),
        hours: Vec::new(),
    })
}

fn which(row: &PgRow) -> Result<Which, sqlx::Error> {
    Ok((
        row.try_get("topic_id")?,
        row.try_get("partition")?,
        row.try_get("group_id")?,
    ))
}

fn tally(row: &PgRow) -> Result<Tally, sqlx::Error> {
    Ok(Tally {
        messages: row.try_get("messages")?,
        expired: row.try_get("expired")?,
        absent: row.try_get("absent")?,
        records: row.try_get("records")?,
        stored: row.try_get("stored")?,
        duplicate: row.try_get("duplicate")?,
        dead_lettered: row.try_get("dead_lettered")?,
        erased: row.try_get("erased")?,
    })
}
