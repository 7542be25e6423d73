//! The pipeline's schema: created where it is missing, and brought to this release.

use super::{connect_options, copied, set, store_error};
use crate::{
    config::PostgresConfig,
    sink::{Fault, POSTGRES, StoreError},
};
use runtime::postgres::quoted;
use sqlx::{Connection, Executor, PgConnection, migrate::MigrateError};
use std::time::Duration;

/// Longest wait for all migrations, including those of a replica that was first.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(120);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Creates the schema where it is missing, and brings its tables to this release. Many replicas may do so at once.
pub async fn migrate(config: &PostgresConfig) -> Result<(), StoreError> {
    // A connection of its own: the pool's connections need the tables that are made here.
    let work = async {
        let mut connection = PgConnection::connect_with(&connect_options(config)).await?;
        // `CREATE SCHEMA IF NOT EXISTS` is no match for two at once, and asks for a right that is not needed
        // where the schema exists.
        connection
            .execute("SELECT pg_advisory_lock(hashtext('syncpipeline schema'))")
            .await?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
            .bind(&config.schema)
            .fetch_one(&mut connection)
            .await?;
        if !exists {
            let statement = format!("CREATE SCHEMA {}", quoted(&config.schema));
            connection.execute(&*statement).await?;
        }
        set(&mut connection, "search_path", &quoted(&config.schema)).await?;
        let outcome = MIGRATIONS.run(&mut connection).await;
        if let (Ok(()), Some(pipeline)) = (&outcome, &config.copy_of) {
            copied::share_erased_users(&mut connection, pipeline).await?;
        }
        // Ends the session and with it the lock.
        connection.close().await?;
        outcome.map_err(|error| match error {
            MigrateError::Execute(error) => error,
            other => sqlx::Error::Migrate(Box::new(other)),
        })
    };
    match tokio::time::timeout(MIGRATION_TIMEOUT, work).await {
        Ok(outcome) => outcome.map_err(store_error),
        Err(_) => Err(StoreError {
            store: POSTGRES,
            fault: Fault::Passing,
            reason: format!("migrations did not end within {} s", MIGRATION_TIMEOUT.as_secs()),
        }),
    }
}
