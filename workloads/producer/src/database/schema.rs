//! The tables: a schema for each pipeline, with migrations of its own, so that other users of the database and other
//! pipelines on it never meet them.

use super::{Away, DatabaseSettings};
use runtime::postgres::quoted;
use sha2::{Digest, Sha256};
use sqlx::{
    Connection, Executor, PgConnection,
    migrate::{MigrateError, Migrator},
    postgres::PgPoolOptions,
};
use std::{sync::LazyLock, time::Duration};
use tokio::time::timeout;

/// Longest wait for all migrations, including those of a replica that was first.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// PostgreSQL keeps so many bytes of a name and cuts off the rest in silence.
const LONGEST_NAME: usize = 63;

/// Only ever adds to what is there: after a newer release has made its tables, pods of this one go on with theirs.
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!("./migrations");
    migrations.set_ignore_missing(true);
    migrations
});

/// The schema of the producers of the pipeline whose records are in schema `records` of the sync database.
pub fn name(records: &str) -> String {
    let name = format!("producer_{records}");
    if name.len() <= LONGEST_NAME {
        return name;
    }
    // Cut off, two long names could become one.
    let digest = hex::encode(&Sha256::digest(records)[..8]);
    let room = LONGEST_NAME - digest.len() - 1;
    let end = (0..=room).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    format!("{}_{digest}", &name[..end])
}

/// Creates the schema where it is missing, and brings its tables to this release. Many replicas may do so at once.
pub async fn migrate(settings: &DatabaseSettings) -> Result<(), Away> {
    reach(settings).await?;
    let schema = quoted(&settings.schema);
    let search_path = schema.clone();
    // One session, for the lock; and one of its own, because the others are given up sooner.
    let session = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(move |connection, _| {
            let search_path = search_path.clone();
            Box::pin(async move { set_search_path(connection, &search_path).await })
        })
        .connect_lazy_with(settings.options());
    let work = async {
        // `CREATE SCHEMA IF NOT EXISTS` is no match for two at once, and asks for a right that is not needed where
        // the schema exists.
        session
            .execute("SELECT pg_advisory_lock(hashtext('syncpipeline producer schema'))")
            .await?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
            .bind(&settings.schema)
            .fetch_one(&session)
            .await?;
        if !exists {
            let statement = format!("CREATE SCHEMA {schema}");
            session.execute(&*statement).await?;
        }
        let outcome = MIGRATIONS.run(&session).await;
        // Ends the session and with it the lock.
        session.close().await;
        outcome.map_err(|error| match error {
            MigrateError::Execute(error) => error,
            other => sqlx::Error::Migrate(Box::new(other)),
        })
    };
    match timeout(MIGRATION_TIMEOUT, work).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Away(format!(
            "migrations did not end within {} s",
            MIGRATION_TIMEOUT.as_secs()
        ))),
    }
}

/// Finds out at once why a server cannot be reached: a pool tries again and again, and then says that it took too long.
async fn reach(settings: &DatabaseSettings) -> Result<(), Away> {
    let options = settings.options();
    match timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await {
        Ok(connected) => Ok(connected?.close().await?),
        Err(_) => Err(Away(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))),
    }
}

pub(super) async fn set_search_path(connection: &mut PgConnection, search_path: &str) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT set_config('search_path', $1, false)")
        .bind(search_path)
        .execute(connection)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_long_names_stay_two() {
        assert_eq!(name("public"), "producer_public");
        let long = "a".repeat(60);
        let (one, two) = (name(&format!("{long}1")), name(&format!("{long}2")));
        assert_eq!(one.len(), LONGEST_NAME);
        assert_ne!(one, two);
    }

    proptest! {
        #[test]
        fn every_name_fits(records in ".{1,63}") {
            prop_assert!(name(&records).len() <= LONGEST_NAME);
        }
    }
}
