//! What the stores hold, read past the relays.

use crate::messages::{Place, content_of_record};
use crate::stage::NAME;
use anyhow::{Context, Result};
use contract::{RecordId, Source};
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{AuthMechanism, ClientOptions, Credential, ServerAddress};
use serde_json::Value;
use services::Running;
use sqlx::postgres::PgConnectOptions;
use sqlx::types::Json;
use sqlx::{Connection, FromRow, PgConnection};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// Longest connecting, and longest wait for one look at the ledger.
pub(crate) const ANSWER: Duration = Duration::from_secs(10);

/// A record in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) record_id: RecordId,
    pub(crate) topic: Uuid,
    pub(crate) place: Place,
    /// Of the record as it was sent.
    pub(crate) content: u64,
}

#[derive(FromRow)]
struct Row {
    record_id: RecordId,
    topic_id: Uuid,
    partition: i32,
    offset: i64,
    index: i32,
    raw: Json<Value>,
}

pub(crate) struct Stores {
    postgres: PgConnectOptions,
    mongodb: ClientOptions,
}

impl Stores {
    pub(crate) fn of(running: &Running) -> Stores {
        let (postgres, mongodb) = (&running.postgres, &running.mongodb);
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
        Stores {
            postgres: PgConnectOptions::new_without_pgpass()
                .host(&postgres.address.ip().to_string())
                .port(postgres.address.port())
                .username(&postgres.username)
                .password(&postgres.password)
                .database("sync_db")
                .options([("search_path", NAME)]),
            mongodb: ClientOptions::builder()
                .hosts(vec![host])
                .credential(credential)
                .server_selection_timeout(ANSWER)
                .connect_timeout(ANSWER)
                .build(),
        }
    }

    pub(crate) async fn postgres(&self) -> Result<PgConnection> {
        Ok(timeout(ANSWER, PgConnection::connect_with(&self.postgres)).await??)
    }

    /// Where the ledger is.
    pub(crate) async fn ledger(&self) -> Result<BTreeMap<(Source, i32), i64>> {
        let mut connection = self.postgres().await?;
        let query = sqlx::query_as("SELECT topic, partition, next_offset FROM ledger WHERE group_id = $1").bind(NAME);
        let rows: Vec<(String, i32, i64)> = timeout(ANSWER, query.fetch_all(&mut connection)).await??;
        rows.into_iter()
            .map(|(topic, partition, next)| {
                let source = Source::of_topic(&topic, "").with_context(|| format!("the ledger has topic {topic}"))?;
                Ok(((source, partition), next))
            })
            .collect()
    }

    /// All rows of a source.
    pub(crate) async fn rows(&self, source: Source) -> Result<Vec<Stored>> {
        let mut connection = self.postgres().await?;
        let statement = format!(r#"SELECT record_id, topic_id, partition, "offset", index, raw FROM {source}"#);
        let rows = sqlx::query_as::<_, Row>(&statement).fetch(&mut connection);
        let stored = rows.map_ok(|row| Stored {
            record_id: row.record_id,
            topic: row.topic_id,
            place: (row.partition, row.offset, row.index),
            content: content_of_record(&row.raw.0),
        });
        Ok(stored.try_collect().await?)
    }

    /// All documents of a source.
    pub(crate) async fn documents(&self, source: Source) -> Result<Vec<Stored>> {
        // A client of its own for each reading: one that lived through a restart of the server closes its old
        // connections when it notices, and with one of them goes the cursor that is being read.
        let client = mongodb::Client::with_options(self.mongodb.clone())?;
        let wanted = doc! {"_id": 1, "topicId": 1, "partition": 1, "offset": 1, "index": 1, "raw": 1};
        let mut cursor = client
            .database(NAME)
            .collection::<Document>(source.name())
            .find(doc! {})
            .projection(wanted)
            .batch_size(5_000)
            .await?;
        let mut documents = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            documents.push(stored(&document).with_context(|| format!("a document of {source}"))?);
        }
        client.shutdown().immediate(true).await;
        Ok(documents)
    }
}

fn stored(document: &Document) -> Result<Stored> {
    let raw = document.get("raw").context("it has no raw")?;
    Ok(Stored {
        record_id: document.get_str("_id")?.parse()?,
        topic: document.get_str("topicId")?.parse()?,
        place: (
            document.get_i32("partition")?,
            document.get_i64("offset")?,
            document.get_i32("index")?,
        ),
        content: content_of_record(&json(raw)?),
    })
}

/// The JSON that became this.
fn json(value: &Bson) -> Result<Value> {
    Ok(match value {
        Bson::Null => Value::Null,
        Bson::Boolean(value) => (*value).into(),
        Bson::Int32(value) => (*value).into(),
        Bson::Int64(value) => (*value).into(),
        Bson::Double(value) => (*value).into(),
        Bson::String(value) => value.as_str().into(),
        Bson::Array(items) => Value::Array(items.iter().map(json).collect::<Result<_>>()?),
        Bson::Document(fields) => fields
            .iter()
            .map(|(key, value)| Ok((key.clone(), json(value)?)))
            .collect::<Result<serde_json::Map<_, _>>>()?
            .into(),
        other => anyhow::bail!("{:?} comes from no JSON", other.element_type()),
    })
}
