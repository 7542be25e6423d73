//! PostgreSQL: the records, and the ledger in the same transaction.
//!
//! - [`schema`]: migrations; [`months`]: monthly partitions
//! - [`ledger`]: reading the ledger, and moving it within a write
//! - [`rewind`]: moving the ledger back; [`copied`]: schemas that are filled once more from Kafka
//! - [`table`](mod@table): the statements of each source
//! - [`accounts`]: what became of every record; [`erased`]: users of whom nothing is stored again
//! - [`copy`]: rows in PostgreSQL's binary COPY format
//! - [`write`](mod@write): one batch in one transaction; `rules`: what the tables do not take
//! - [`fault`]: what an error means

pub mod accounts;
pub mod copied;
pub mod copy;
pub mod erased;
pub mod fault;
pub mod ledger;
pub mod months;
pub mod rewind;
mod rules;
pub mod schema;
pub mod table;
pub mod write;

use crate::{
    config::PostgresConfig,
    sink::{Fault, POSTGRES, StoreError},
};
use contract::Source;
use rules::Rules;
use runtime::postgres::quoted;
use sqlx::{
    Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{collections::BTreeSet, future::Future, time::Duration};
use tokio::time::timeout;

/// Longest wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Server-side limits, and a planner that stays with index lookups: every statement here joins a staged batch with a
/// table that may be huge, and a plan made while that table was small must not scan it later. JIT compilation costs
/// more than such a statement.
const SESSION: &[(&str, &str)] = &[
    ("statement_timeout", "30s"),
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("jit", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("enable_seqscan", "off"),
];

/// For a transaction that waits for those who write: how long at once, so that they do not wait behind it for longer.
const BRIEF_WAIT: &str = "SET LOCAL lock_timeout = '2s'";

/// The pipeline's schema in the sync database.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: PgPool,
    sources: BTreeSet<Source>,
    rules: Rules,
}

impl Postgres {
    /// A pool of connections for these sources. Connects when first used.
    pub fn new(config: &PostgresConfig, sources: BTreeSet<Source>) -> Postgres {
        let search_path = quoted(&config.schema);
        // A write into a copy, too, is one that an erasure waits for.
        let erased_in = config.copy_of.clone().unwrap_or_else(|| config.schema.clone());
        let staging: String = sources.iter().map(|source| table::staging(*source)).collect();
        let pool = PgPoolOptions::new()
            .max_connections(config.server.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                let (search_path, erased_in, staging) = (search_path.clone(), erased_in.clone(), staging.clone());
                Box::pin(async move {
                    set(connection, "search_path", &search_path).await?;
                    set(connection, erased::SCHEMA_SETTING, &erased_in).await?;
                    connection.execute(sqlx::raw_sql(&staging)).await?;
                    Ok(())
                })
            })
            .connect_lazy_with(connect_options(config).options(SESSION.iter().copied()));
        Postgres {
            pool,
            sources,
            rules: Rules::default(),
        }
    }

    /// The sources that this pool can store.
    pub fn sources(&self) -> &BTreeSet<Source> {
        &self.sources
    }

    /// Closes the connections, or gives up after a while.
    pub async fn close(&self) {
        if timeout(Duration::from_secs(2), self.pool.close()).await.is_err() {
            tracing::warn!("PostgreSQL connections did not close in time");
        }
    }
}

fn connect_options(config: &PostgresConfig) -> PgConnectOptions {
    config.server.options(&config.database, "syncpipeline-consumer")
}

/// Changes a setting of the session.
async fn set(connection: &mut PgConnection, setting: &str, value: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config($1, $2, false)")
        .bind(setting)
        .bind(value)
        .execute(connection)
        .await
        .map(drop)
}

/// Bounds an operation on the client's side too: the server's own limits do not help when the network is away.
async fn bounded<T>(limit: Duration, operation: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match timeout(limit, operation).await {
        Ok(outcome) => outcome.map_err(store_error),
        Err(_) => Err(unanswered("a statement", limit)),
    }
}

fn unanswered(what: &str, limit: Duration) -> StoreError {
    StoreError {
        store: POSTGRES,
        fault: Fault::Passing,
        reason: format!("no answer to {what} within {} s", limit.as_secs()),
    }
}

fn store_error(error: sqlx::Error) -> StoreError {
    StoreError {
        store: POSTGRES,
        fault: fault::of(&error),
        reason: fault::describe(&error),
    }
}
