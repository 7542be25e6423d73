//! The ledger's rows: read when partitions are assigned, moved within the transaction that stores the records.

use super::{Postgres, bounded};
use crate::{ledger::Moves, sink::StoreError, topic::Partition};
use contract::Source;
use sqlx::PgConnection;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// Longest reading.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Whose rows of the ledger: those of one group on one cluster.
#[derive(Debug, Clone)]
pub struct LedgerKey {
    /// Kafka's id of the cluster.
    pub cluster: Arc<str>,
    /// Consumer group.
    pub group: String,
    /// Sources whose records are written to MongoDB before the ledger moves.
    pub mongodb: Arc<BTreeSet<Source>>,
}

impl Postgres {
    /// The next offset of each of these partitions, as far as the ledger knows them.
    pub async fn read_ledger(
        &self,
        key: &LedgerKey,
        partitions: &BTreeSet<Partition>,
    ) -> Result<BTreeMap<Partition, i64>, StoreError> {
        let (topics, numbers): (Vec<Uuid>, Vec<i32>) = partitions
            .iter()
            .map(|partition| (partition.topic.id, partition.number))
            .unzip();
        let rows: Vec<(Uuid, i32, i64)> = bounded(
            READ_TIMEOUT,
            sqlx::query_as(
                "SELECT ledger.topic_id, ledger.partition, ledger.next_offset \
                 FROM unnest($3::uuid[], $4::integer[]) AS wanted (topic_id, partition) \
                 JOIN ledger ON ledger.topic_id = wanted.topic_id AND ledger.partition = wanted.partition \
                 WHERE ledger.cluster_id = $1 AND ledger.group_id = $2",
            )
            .bind(&*key.cluster)
            .bind(&key.group)
            .bind(topics)
            .bind(numbers)
            .fetch_all(&self.pool),
        )
        .await?;
        let offsets: BTreeMap<(Uuid, i32), i64> = rows
            .into_iter()
            .map(|(topic, number, next)| ((topic, number), next))
            .collect();
        Ok(partitions
            .iter()
            .filter_map(|partition| {
                let next = offsets.get(&(partition.topic.id, partition.number))?;
                Some((partition.clone(), *next))
            })
            .collect())
    }

    /// Which of these topics the ledger knows by name, under whatever id.
    pub async fn known_topics(
        &self,
        key: &LedgerKey,
        names: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, StoreError> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let rows: Vec<(String,)> = bounded(
            READ_TIMEOUT,
            sqlx::query_as(
                "SELECT DISTINCT topic FROM ledger WHERE cluster_id = $1 AND group_id = $2 AND topic = ANY($3)",
            )
            .bind(&*key.cluster)
            .bind(&key.group)
            .bind(names)
            .fetch_all(&self.pool),
        )
        .await?;
        Ok(rows.into_iter().map(|(topic,)| topic).collect())
    }

    /// Creates rows for partitions that the ledger does not know. What another reader created first stays.
    pub async fn create_ledger(&self, key: &LedgerKey, starts: &BTreeMap<Partition, i64>) -> Result<(), StoreError> {
        let names: Vec<&str> = starts.keys().map(|partition| partition.topic.name.as_str()).collect();
        let topics: Vec<Uuid> = starts.keys().map(|partition| partition.topic.id).collect();
        let numbers: Vec<i32> = starts.keys().map(|partition| partition.number).collect();
        let offsets: Vec<i64> = starts.values().copied().collect();
        bounded(
            READ_TIMEOUT,
            sqlx::query(
                "INSERT INTO ledger (cluster_id, group_id, topic, topic_id, partition, next_offset, first_offset) \
                 SELECT $1, $2, topic, id, number, start, start \
                 FROM unnest($3::text[], $4::uuid[], $5::integer[], $6::bigint[]) AS new (topic, id, number, start) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(&*key.cluster)
            .bind(&key.group)
            .bind(names)
            .bind(topics)
            .bind(numbers)
            .bind(offsets)
            .execute(&self.pool),
        )
        .await
        .map(drop)
    }
}

/// What a move of the ledger met.
pub(super) struct Advanced {
    /// Records of some users were erased once.
    pub(super) any_erased: bool,
}

/// Moves the ledger within the connection's transaction. `None` when a row does not hold what was expected, or is
/// not there: another reader has the partition, and the transaction must be rolled back.
pub(super) async fn advance(
    connection: &mut PgConnection,
    key: &LedgerKey,
    moves: &Moves,
) -> Result<Option<Advanced>, sqlx::Error> {
    let (topics, numbers): (Vec<Uuid>, Vec<i32>) = moves
        .partitions()
        .map(|partition| (partition.topic.id, partition.number))
        .unzip();
    let (expected, next): (Vec<i64>, Vec<i64>) = moves.iter().map(|(_, step)| (step.expected, step.next)).unzip();
    let back: Vec<i64> = moves.iter().map(|(_, step)| step.moved_back()).collect();
    let mongodb: Vec<bool> = moves
        .partitions()
        .map(|partition| key.mongodb.contains(&partition.topic.source))
        .collect();
    let moved: Vec<(bool,)> = sqlx::query_as(
        "UPDATE ledger SET next_offset = moved.next, moved_back = moved_back + moved.back, mongodb = moved.mongodb, \
                mongodb_since = CASE WHEN moved.mongodb THEN least(mongodb_since, moved.expected) END, \
                updated_at = now() \
         FROM unnest($3::uuid[], $4::integer[], $5::bigint[], $6::bigint[], $7::bigint[], $8::boolean[]) \
              AS moved (topic_id, partition, expected, next, back, mongodb) \
         WHERE ledger.cluster_id = $1 AND ledger.group_id = $2 AND ledger.topic_id = moved.topic_id \
           AND ledger.partition = moved.partition AND ledger.next_offset = moved.expected \
         RETURNING EXISTS (SELECT FROM erased_users)",
    )
    .bind(&*key.cluster)
    .bind(&key.group)
    .bind(topics)
    .bind(numbers)
    .bind(expected)
    .bind(next)
    .bind(back)
    .bind(mongodb)
    .fetch_all(connection)
    .await?;
    let any_erased = moved.iter().any(|(any_erased,)| *any_erased);
    Ok((moved.len() == moves.len()).then_some(Advanced { any_erased }))
}
