//! What became of a batch, in the transaction that stores it: see [`crate::account`].

use super::{
    ledger::LedgerKey,
    store_error, unanswered,
    write::{PIECE_TIMEOUT, Write},
};
use crate::{
    account::{Account, HOUR},
    batch::Rejection,
    sink::StoreError,
};
use sqlx::PgConnection;
use tokio::time::timeout;
use uuid::Uuid;

/// Index of a dead letter that is a whole message.
const WHOLE: i32 = -1;

impl Write<'_> {
    /// Adds the batch to the tallies, and its dead letters to those that are known.
    pub async fn account(
        &mut self,
        key: &LedgerKey,
        account: &Account,
        rejections: &[Rejection],
    ) -> Result<(), StoreError> {
        let connection = &mut *self.session.connection;
        let work = async {
            tally(connection, key, account).await?;
            match rejections.is_empty() {
                true => Ok(()),
                false => enter(connection, rejections).await,
            }
        };
        match timeout(PIECE_TIMEOUT, work).await {
            Ok(outcome) => outcome.map_err(store_error),
            Err(_) => Err(unanswered("the tallies", PIECE_TIMEOUT)),
        }
    }
}

/// Rows are always in the same order, and nobody else moves those of these partitions: the ledger's rows are held.
async fn tally(connection: &mut PgConnection, key: &LedgerKey, account: &Account) -> Result<(), sqlx::Error> {
    let (mut ids, mut names, mut numbers, mut hours): (Vec<Uuid>, Vec<&str>, Vec<i32>, Vec<i64>) = Default::default();
    let mut counts: [Vec<i64>; 8] = Default::default();
    for (partition, hour, of) in account.iter() {
        ids.push(partition.topic.id);
        names.push(&partition.topic.name);
        numbers.push(partition.number);
        hours.push(hour * HOUR);
        let values = [
            of.messages,
            of.expired,
            of.absent,
            of.records,
            of.stored,
            of.duplicate(),
            of.dead_lettered,
            of.erased,
        ];
        for (column, value) in counts.iter_mut().zip(values) {
            column.push(value);
        }
    }
    let [
        messages,
        expired,
        absent,
        records,
        stored,
        duplicate,
        dead_lettered,
        erased,
    ] = counts;
    sqlx::query(
        "INSERT INTO tallies (cluster_id, group_id, topic_id, topic, partition, hour, messages, expired, absent, records, \
                              stored, duplicate, dead_lettered, erased) \
         SELECT $1, $2, id, name, number, to_timestamp(hour), messages, expired, absent, records, stored, duplicate, \
                dead_lettered, erased \
         FROM unnest($3::uuid[], $4::text[], $5::integer[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], \
                     $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[]) \
              AS new (id, name, number, hour, messages, expired, absent, records, stored, duplicate, dead_lettered, erased) \
         ON CONFLICT (cluster_id, topic_id, partition, group_id, hour) DO UPDATE SET \
             messages = tallies.messages + excluded.messages, expired = tallies.expired + excluded.expired, \
             absent = tallies.absent + excluded.absent, records = tallies.records + excluded.records, \
             stored = tallies.stored + excluded.stored, duplicate = tallies.duplicate + excluded.duplicate, \
             dead_lettered = tallies.dead_lettered + excluded.dead_lettered, erased = tallies.erased + excluded.erased",
    )
    .bind(&*key.cluster)
    .bind(&key.group)
    .bind(ids)
    .bind(names)
    .bind(numbers)
    .bind(hours)
    .bind(messages)
    .bind(expired)
    .bind(absent)
    .bind(records)
    .bind(stored)
    .bind(duplicate)
    .bind(dead_lettered)
    .bind(erased)
    .execute(connection)
    .await
    .map(drop)
}

/// A message that is read once more gives up the same records once more.
async fn enter(connection: &mut PgConnection, rejections: &[Rejection]) -> Result<(), sqlx::Error> {
    let of = rejections.iter();
    let ids: Vec<Uuid> = of.clone().map(|rejection| rejection.partition.topic.id).collect();
    let numbers: Vec<i32> = of.clone().map(|rejection| rejection.partition.number).collect();
    let offsets: Vec<i64> = of.clone().map(|rejection| rejection.offset).collect();
    let indices: Vec<i32> = of.clone().map(|rejection| rejection.index.unwrap_or(WHOLE)).collect();
    let classes: Vec<&str> = of.clone().map(|rejection| rejection.class.name()).collect();
    let errors: Vec<&str> = of.map(|rejection| rejection.error.as_str()).collect();
    sqlx::query(
        "INSERT INTO dead_letters (topic_id, partition, \"offset\", index, class, error) \
         SELECT * FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::integer[], $5::text[], $6::text[]) \
         ON CONFLICT DO NOTHING",
    )
    .bind(ids)
    .bind(numbers)
    .bind(offsets)
    .bind(indices)
    .bind(classes)
    .bind(errors)
    .execute(connection)
    .await
    .map(drop)
}
