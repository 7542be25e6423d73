//! Rows and documents, read past the pipeline.

use crate::pipeline::Names;
use anyhow::{Context, Result};
use contract::{RecordId, Source};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::options::{AuthMechanism, ClientOptions, Credential, ServerAddress};
use services::Running;
use sqlx::FromRow;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// PostgreSQL's answer where a consumer has not yet created its tables.
const UNDEFINED_TABLE: &str = "42P01";
const TIMEOUT: Duration = Duration::from_secs(10);

/// What identifies a stored row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, FromRow)]
pub struct Row {
    /// The record.
    pub record_id: RecordId,
    /// Kafka's id of the topic that brought it.
    pub topic_id: Uuid,
    /// Partition.
    pub partition: i32,
    /// Offset of the message.
    pub offset: i64,
    /// Place in the message.
    pub index: i32,
}

/// Both stores of one pipeline.
#[derive(Clone)]
pub struct Stores {
    postgres: PgPool,
    mongodb: mongodb::Database,
    names: Names,
}

impl Stores {
    /// Connects to both.
    pub async fn connect(running: &Running, names: &Names) -> Result<Stores> {
        let options = PgConnectOptions::new()
            .host(&running.postgres.address.ip().to_string())
            .port(running.postgres.address.port())
            .username(&running.postgres.username)
            .password(&running.postgres.password)
            .database(&names.database);
        let postgres = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(TIMEOUT)
            .connect_lazy_with(options);

        let mut options = ClientOptions::default();
        options.hosts = vec![ServerAddress::Tcp {
            host: running.mongodb.address.ip().to_string(),
            port: Some(running.mongodb.address.port()),
        }];
        options.credential = Some(
            Credential::builder()
                .mechanism(AuthMechanism::Plain)
                .source("$external".to_owned())
                .username(running.mongodb.username.clone())
                .password(running.mongodb.password.clone())
                .build(),
        );
        options.server_selection_timeout = Some(TIMEOUT);
        options.connect_timeout = Some(TIMEOUT);
        let mongodb = mongodb::Client::with_options(options)?.database(&names.mongodb_database);
        Ok(Stores {
            postgres,
            mongodb,
            names: names.clone(),
        })
    }

    /// Rows of each source; none before a consumer has created the tables.
    pub async fn row_counts(&self) -> Result<BTreeMap<Source, i64>> {
        let mut counts = BTreeMap::new();
        for source in &self.names.sources {
            let query = format!("SELECT count(*) FROM {}", self.table(*source));
            let count = sqlx::query_scalar(&query).fetch_one(&self.postgres).await;
            counts.insert(*source, or_without_table(count)?.unwrap_or(0));
        }
        Ok(counts)
    }

    /// Connections of consumers to PostgreSQL: those that are encrypted, and all.
    pub async fn connections_of_consumers(&self) -> Result<(i64, i64)> {
        let query = "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl \
                     JOIN pg_stat_activity USING (pid) WHERE application_name = 'syncpipeline-consumer'";
        Ok(sqlx::query_as(query).fetch_one(&self.postgres).await?)
    }

    /// All rows of a source.
    pub async fn rows(&self, source: Source) -> Result<Vec<Row>> {
        let columns = r#"record_id, topic_id, partition, "offset", index"#;
        let query = format!("SELECT {columns} FROM {}", self.table(source));
        let rows = sqlx::query_as(&query).fetch_all(&self.postgres).await;
        Ok(or_without_table(rows)?.unwrap_or_default())
    }

    /// Ids of all documents of a source.
    pub async fn documents(&self, source: Source) -> Result<Vec<RecordId>> {
        let collection = self.mongodb.collection::<Document>(source.name());
        let mut cursor = collection
            .find(doc! {})
            .projection(doc! {"_id": 1})
            .batch_size(10_000)
            .await?;
        let mut ids = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            let id = document
                .get_str("_id")
                .with_context(|| format!("{source}: a document has no text as _id"))?;
            ids.push(
                id.parse()
                    .with_context(|| format!("{source}: a document's _id is no record id"))?,
            );
        }
        Ok(ids)
    }

    /// Removes everything that the pipeline stored.
    pub async fn remove(&self) -> Result<()> {
        let schema = &self.names.schema;
        let query = format!(r#"DROP SCHEMA IF EXISTS "{schema}" CASCADE"#);
        sqlx::query(&query).execute(&self.postgres).await?;
        self.mongodb.drop().await?;
        Ok(())
    }

    fn table(&self, source: Source) -> String {
        format!(r#""{}"."{}""#, self.names.schema, source.name())
    }
}

fn or_without_table<T>(answer: Result<T, sqlx::Error>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_TABLE) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
