//! Moving the ledger back, and the record of who did.

use super::{BRIEF_WAIT, Postgres, bounded, fault, ledger::LedgerKey};
use crate::{sink::StoreError, topic::Partition};
use chrono::{DateTime, Utc};
use sqlx::Executor;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use uuid::Uuid;

/// Longest look or change.
const REWIND_TIMEOUT: Duration = Duration::from_secs(30);

/// A partition that is read once more.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Rewound {
    /// Name of the topic.
    pub topic: String,
    /// Number of the partition.
    pub partition: i32,
    /// Where the ledger was.
    #[sqlx(rename = "from_offset")]
    pub from: i64,
    /// Where it is now.
    #[sqlx(rename = "to_offset")]
    pub to: i64,
}

/// The ledger's rows that are further on than is wanted, which is `$3`, `$4` and `$5`.
const FURTHER_ON: &str = "SELECT ledger.topic, ledger.topic_id, ledger.partition, ledger.next_offset AS from_offset, \
                                 wanted.start AS to_offset \
                          FROM unnest($3::uuid[], $4::integer[], $5::bigint[]) AS wanted (topic_id, partition, start) \
                          JOIN ledger ON ledger.topic_id = wanted.topic_id AND ledger.partition = wanted.partition \
                          WHERE ledger.cluster_id = $1 AND ledger.group_id = $2 AND ledger.next_offset > wanted.start \
                          ORDER BY ledger.topic, ledger.partition";

impl Postgres {
    /// What [`Postgres::rewind`] would do.
    pub async fn would_rewind(
        &self,
        key: &LedgerKey,
        starts: &BTreeMap<Partition, i64>,
    ) -> Result<Vec<Rewound>, StoreError> {
        let (ids, numbers, offsets) = columns(starts);
        bounded(
            REWIND_TIMEOUT,
            sqlx::query_as(FURTHER_ON)
                .bind(&*key.cluster)
                .bind(&key.group)
                .bind(ids)
                .bind(numbers)
                .bind(offsets)
                .fetch_all(&self.pool),
        )
        .await
    }

    /// Whether this group has read any of these partitions; the schema and its tables may be missing.
    pub async fn has_read(&self, key: &LedgerKey, partitions: &BTreeSet<Partition>) -> Result<bool, StoreError> {
        let has_ledger = sqlx::query_scalar("SELECT to_regclass('ledger') IS NOT NULL");
        let has_ledger: bool = bounded(REWIND_TIMEOUT, has_ledger.fetch_one(&self.pool)).await?;
        Ok(has_ledger && !self.read_ledger(key, partitions).await?.is_empty())
    }

    /// Moves the ledger back to these offsets, where it is further on, and records that. `None` where a write is under way
    /// that moves it, too, and which is waited for only for a moment: to be tried again.
    pub async fn rewind(
        &self,
        key: &LedgerKey,
        starts: &BTreeMap<Partition, i64>,
        to: DateTime<Utc>,
    ) -> Result<Option<Vec<Rewound>>, StoreError> {
        let (ids, numbers, offsets) = columns(starts);
        let statement = format!(
            "WITH before AS ({FURTHER_ON} FOR UPDATE OF ledger), \
             moved AS (UPDATE ledger SET next_offset = before.to_offset, \
                              moved_back = moved_back + before.from_offset - before.to_offset, updated_at = now() \
                       FROM before \
                       WHERE ledger.cluster_id = $1 AND ledger.group_id = $2 AND ledger.topic_id = before.topic_id \
                         AND ledger.partition = before.partition) \
             INSERT INTO rewinds (cluster_id, group_id, topic_id, topic, partition, from_offset, to_offset, to_time, by_host) \
             SELECT $1, $2, topic_id, topic, partition, from_offset, to_offset, $6, $7 FROM before \
             RETURNING topic, partition, from_offset, to_offset"
        );
        let work = async {
            let mut transaction = self.pool.begin().await?;
            transaction.execute(BRIEF_WAIT).await?;
            let moved = sqlx::query_as(&statement)
                .bind(&*key.cluster)
                .bind(&key.group)
                .bind(ids)
                .bind(numbers)
                .bind(offsets)
                .bind(to)
                .bind(host())
                .fetch_all(&mut *transaction)
                .await;
            match moved {
                Err(error) if fault::is_lock_timeout(&error) => Ok(None),
                moved => {
                    let mut moved: Vec<Rewound> = moved?;
                    transaction.commit().await?;
                    moved.sort_by(|one, other| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)));
                    Ok(Some(moved))
                }
            }
        };
        bounded(REWIND_TIMEOUT, work).await
    }

    /// Lets reading have begun at these offsets where it began later, and moves the ledger there: all of it is read once
    /// more. For a schema that is filled from Kafka; where it was read on from an offset before, it stays as it is.
    pub async fn begin_earlier(&self, key: &LedgerKey, starts: &BTreeMap<Partition, i64>) -> Result<(), StoreError> {
        let (ids, numbers, offsets) = columns(starts);
        bounded(
            REWIND_TIMEOUT,
            sqlx::query(
                "UPDATE ledger SET first_offset = wanted.start, next_offset = wanted.start, \
                        moved_back = moved_back + next_offset - first_offset, updated_at = now() \
                 FROM unnest($3::uuid[], $4::integer[], $5::bigint[]) AS wanted (topic_id, partition, start) \
                 WHERE ledger.cluster_id = $1 AND ledger.group_id = $2 AND ledger.topic_id = wanted.topic_id \
                   AND ledger.partition = wanted.partition AND ledger.first_offset > wanted.start",
            )
            .bind(&*key.cluster)
            .bind(&key.group)
            .bind(ids)
            .bind(numbers)
            .bind(offsets)
            .execute(&self.pool),
        )
        .await
        .map(drop)
    }

    /// Messages that Kafka had deleted before this group could read them, since it began.
    pub async fn expired(&self, key: &LedgerKey) -> Result<i64, StoreError> {
        bounded(
            REWIND_TIMEOUT,
            sqlx::query_scalar(
                "SELECT coalesce(sum(expired), 0)::bigint FROM tallies WHERE cluster_id = $1 AND group_id = $2",
            )
            .bind(&*key.cluster)
            .bind(&key.group)
            .fetch_one(&self.pool),
        )
        .await
    }

    /// Records that these partitions are read from `starts` to `ends` into this schema.
    pub async fn record_rewind(
        &self,
        key: &LedgerKey,
        ends: &BTreeMap<Partition, i64>,
        starts: &BTreeMap<Partition, i64>,
        to: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (ids, numbers, starts) = columns(starts);
        let names: Vec<&str> = ends.keys().map(|partition| partition.topic.name.as_str()).collect();
        let ends: Vec<i64> = ends.values().copied().collect();
        bounded(
            REWIND_TIMEOUT,
            sqlx::query(
                "INSERT INTO rewinds (cluster_id, group_id, topic_id, topic, partition, from_offset, to_offset, to_time, \
                                      by_host) \
                 SELECT $1, $2, id, name, number, end_offset, start, $7, $8 \
                 FROM unnest($3::uuid[], $4::text[], $5::integer[], $6::bigint[], $9::bigint[]) \
                      AS read (id, name, number, start, end_offset)",
            )
            .bind(&*key.cluster)
            .bind(&key.group)
            .bind(ids)
            .bind(names)
            .bind(numbers)
            .bind(starts)
            .bind(to)
            .bind(host())
            .bind(ends)
            .execute(&self.pool),
        )
        .await
        .map(drop)
    }
}

fn columns(offsets: &BTreeMap<Partition, i64>) -> (Vec<Uuid>, Vec<i32>, Vec<i64>) {
    let ids = offsets.keys().map(|partition| partition.topic.id).collect();
    let numbers = offsets.keys().map(|partition| partition.number).collect();
    (ids, numbers, offsets.values().copied().collect())
}

/// The name of the pod, or of the machine.
fn host() -> String {
    let pod = std::env::var(contract::env::POD_NAME).or_else(|_| std::env::var("HOSTNAME"));
    pod.unwrap_or_else(|_| "unknown".to_owned())
}
