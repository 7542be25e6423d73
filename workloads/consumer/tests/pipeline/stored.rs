//! What the stores hold.

use crate::{load::Expected, stage::Stage};
use anyhow::{Result, ensure};
use contract::{RecordId, Source};
use futures::TryStreamExt;
use mongodb::{
    bson::{Document, doc},
    options::{AuthMechanism, ClientOptions, Credential, ServerAddress},
};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use std::collections::BTreeSet;

/// Somebody moves the ledger back by half.
pub(crate) const MOVE_BACK: &str =
    "UPDATE ledger SET next_offset = next_offset / 2, moved_back = moved_back + next_offset - next_offset / 2";

pub(crate) struct Stored {
    options: PgConnectOptions,
    schema: String,
    documents: ClientOptions,
}

/// Sums of the table of this name.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Tally {
    pub(crate) messages: i64,
    pub(crate) expired: i64,
    pub(crate) absent: i64,
    pub(crate) records: i64,
    pub(crate) stored: i64,
    pub(crate) duplicate: i64,
    pub(crate) dead_lettered: i64,
    pub(crate) erased: i64,
}

impl Stored {
    pub(crate) fn of(stage: &Stage) -> Result<Stored> {
        let postgres = &stage.running.postgres;
        let options = PgConnectOptions::new_without_pgpass()
            .host(&postgres.address.ip().to_string())
            .port(postgres.address.port())
            .username(&postgres.username)
            .password(&postgres.password)
            .database("sync_db");
        let mongodb = &stage.running.mongodb;
        let credential = Credential::builder()
            .username(mongodb.username.clone())
            .password(mongodb.password.clone())
            .mechanism(AuthMechanism::Plain)
            .source("$external".to_owned())
            .build();
        let host = ServerAddress::Tcp {
            host: mongodb.address.ip().to_string(),
            port: Some(mongodb.address.port()),
        };
        Ok(Stored {
            options,
            documents: ClientOptions::builder()
                .hosts(vec![host])
                .credential(credential)
                .build(),
            schema: stage.name.clone(),
        })
    }

    /// The same of another schema. Its documents are none.
    pub(crate) fn in_schema(&self, schema: &str) -> Stored {
        Stored {
            options: self.options.clone(),
            schema: schema.to_owned(),
            documents: self.documents.clone(),
        }
    }

    /// What became of everything, of all partitions and hours.
    pub(crate) async fn tally(&self) -> Result<Tally> {
        let sum = |column: &str| format!("coalesce(sum({column}), 0)::bigint AS {column}");
        let columns = [
            "messages",
            "expired",
            "absent",
            "records",
            "stored",
            "duplicate",
            "dead_lettered",
            "erased",
        ];
        let statement = format!("SELECT {} FROM tallies", columns.map(sum).join(", "));
        Ok(sqlx::query_as(&statement)
            .fetch_one(&mut self.connection().await?)
            .await?)
    }

    /// Whether every offset and every record is accounted for.
    pub(crate) async fn ensure_accounts(&self) -> Result<()> {
        let mut connection = self.connection().await?;
        let offsets: Vec<(String, i32, i64, i64)> = sqlx::query_as(
            "SELECT l.topic, l.partition, l.next_offset - l.first_offset + l.moved_back, \
                    coalesce(sum(t.messages + t.expired + t.absent), 0)::bigint AS passed \
             FROM ledger l LEFT JOIN tallies t USING (cluster_id, topic_id, partition, group_id) \
             GROUP BY l.cluster_id, l.topic_id, l.topic, l.partition, l.group_id, l.next_offset, l.first_offset, l.moved_back \
             HAVING l.next_offset - l.first_offset + l.moved_back <> coalesce(sum(t.messages + t.expired + t.absent), 0)",
        )
        .fetch_all(&mut connection)
        .await?;
        ensure!(offsets.is_empty(), "offsets that are not accounted for: {offsets:?}");
        let records: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM tallies WHERE records <> stored + duplicate + dead_lettered + erased \
             OR least(messages, expired, absent, records, stored, duplicate, dead_lettered, erased) < 0",
        )
        .fetch_one(&mut connection)
        .await?;
        ensure!(records == 0, "{records} hours whose records are not accounted for");
        Ok(())
    }

    pub(crate) async fn connection(&self) -> Result<PgConnection> {
        let mut connection = PgConnection::connect_with(&self.options).await?;
        sqlx::query("SELECT set_config('search_path', $1, false)")
            .bind(format!("\"{}\"", self.schema))
            .execute(&mut connection)
            .await?;
        Ok(connection)
    }

    pub(crate) async fn count(&self, source: Source) -> Result<u64> {
        let statement = format!("SELECT count(*) FROM {source}");
        let count: i64 = sqlx::query_scalar(&statement)
            .fetch_one(&mut self.connection().await?)
            .await?;
        Ok(count.try_into()?)
    }

    /// Read through a client of its own: one that lived through a restart of the server closes its old connections
    /// when it notices, and with one of them goes the cursor that is being read.
    pub(crate) async fn documents(&self, source: Source) -> Result<Vec<Document>> {
        let client = mongodb::Client::with_options(self.documents.clone())?;
        Ok(client
            .database(&self.schema.replace('-', "_"))
            .collection(source.name())
            .find(doc! {})
            .await?
            .try_collect()
            .await?)
    }

    /// A fingerprint of everything in a table, when it was stored included.
    pub(crate) async fn fingerprint(&self, source: Source) -> Result<String> {
        let statement =
            format!("SELECT coalesce(md5(string_agg(t::text, ',' ORDER BY record_id)), '') FROM {source} t");
        Ok(sqlx::query_scalar(&statement)
            .fetch_one(&mut self.connection().await?)
            .await?)
    }

    /// Whether both stores hold exactly what is expected: 0 lost, 0 twice.
    pub(crate) async fn ensure_exactly(&self, expected: &Expected) -> Result<()> {
        for (source, expected) in expected {
            let statement = format!(
                "SELECT record_id, topic_id || '/' || partition || '/' || \"offset\" || '/' || index FROM {source}"
            );
            let rows: Vec<(RecordId, String)> = sqlx::query_as(&statement)
                .fetch_all(&mut self.connection().await?)
                .await?;
            let ids: BTreeSet<RecordId> = rows.iter().map(|(id, _)| *id).collect();
            let deliveries: BTreeSet<&String> = rows.iter().map(|(_, delivery)| delivery).collect();
            ensure!(
                ids == *expected && ids.len() == rows.len() && deliveries.len() == rows.len(),
                "{source} in PostgreSQL: {} lost, {} unexpected, {} records twice, {} deliveries twice, of {}",
                expected.difference(&ids).count(),
                ids.difference(expected).count(),
                rows.len() - ids.len(),
                rows.len() - deliveries.len(),
                expected.len()
            );
            let documents = self.documents(*source).await?;
            let ids = documents
                .iter()
                .map(|document| Ok(document.get_str("_id")?.parse()?))
                .collect::<Result<BTreeSet<RecordId>>>()?;
            ensure!(
                ids == *expected,
                "{source} in MongoDB: {} lost, {} unexpected, of {}",
                expected.difference(&ids).count(),
                ids.difference(expected).count(),
                expected.len()
            );
        }
        Ok(())
    }
}
