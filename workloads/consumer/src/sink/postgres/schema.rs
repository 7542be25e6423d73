//! The pipeline's schema: migrations, and the months of the partitioned tables.

use super::{Postgres, bounded, connect_options, copied, set, store_error};
use crate::{
    config::PostgresConfig,
    sink::{Fault, POSTGRES, StoreError},
};
use chrono::{Datelike, Months, NaiveDate, Utc};
use contract::source::Storage;
use runtime::postgres::quoted;
use sqlx::{Connection, Executor, PgConnection, migrate::MigrateError};
use std::time::Duration;

/// Longest wait for all migrations, including those of a replica that was first.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest wait for the creation of one month, which waits for running writes.
const MONTH_TIMEOUT: Duration = Duration::from_secs(40);
/// Months kept ready before and after the present one.
const MONTHS_BEFORE: u32 = 1;
const MONTHS_AFTER: u32 = 2;

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
            connection.execute(sqlx::AssertSqlSafe(statement)).await?;
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

impl Postgres {
    /// Creates the months around the present where they are missing.
    pub async fn create_months(&self) -> Result<(), StoreError> {
        let months = months_around(Utc::now().date_naive());
        for source in self
            .sources()
            .iter()
            .filter(|source| source.storage() == Storage::Append)
        {
            for month in &months {
                let created: bool = bounded(
                    MONTH_TIMEOUT,
                    sqlx::query_scalar("SELECT create_month($1, $2)")
                        .bind(source.name())
                        .bind(month)
                        .fetch_one(&self.pool),
                )
                .await?;
                if created {
                    tracing::info!(table = source.name(), month = %month.format("%Y-%m"), "partition created");
                }
            }
        }
        Ok(())
    }
}

impl Postgres {
    /// Drops the months that are older than `kept` whole months before the present one.
    pub async fn drop_months(&self, kept: u32) -> Result<(), StoreError> {
        let today = Utc::now().date_naive();
        let Some(limit) = first_kept(today, kept) else {
            return Ok(());
        };
        let append = self
            .sources()
            .iter()
            .filter(|source| source.storage() == Storage::Append);
        for source in append {
            let dropped: Vec<String> = bounded(
                MONTH_TIMEOUT,
                sqlx::query_scalar("SELECT drop_months($1, $2)")
                    .bind(source.name())
                    .bind(limit)
                    .fetch_all(&self.pool),
            )
            .await?;
            for table in dropped {
                tracing::info!(table, "partition dropped: its month is kept no longer");
            }
        }
        Ok(())
    }
}

/// The first month that is kept on `today`, where `kept` whole months before the present one are.
fn first_kept(today: NaiveDate, kept: u32) -> Option<NaiveDate> {
    today.with_day(1)?.checked_sub_months(Months::new(kept))
}

/// First days of the months that are to exist on `today`.
fn months_around(today: NaiveDate) -> Vec<NaiveDate> {
    let first = today.with_day(1).unwrap_or(today);
    let Some(earliest) = first.checked_sub_months(Months::new(MONTHS_BEFORE)) else {
        return vec![first];
    };
    (0..=MONTHS_BEFORE + MONTHS_AFTER)
        .filter_map(|month| earliest.checked_add_months(Months::new(month)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_kept_until_the_last_day_that_counts() {
        let kept = |day: &str, months| first_kept(day.parse().unwrap(), months).unwrap().to_string();
        assert_eq!(kept("2026-03-31", 1), "2026-02-01");
        assert_eq!(kept("2026-01-01", 13), "2024-12-01");
    }

    #[test]
    fn the_months_around_the_end_of_a_year() {
        let today = NaiveDate::from_ymd_opt(2026, 12, 31).unwrap();
        let months: Vec<String> = months_around(today).iter().map(NaiveDate::to_string).collect();
        assert_eq!(months, ["2026-11-01", "2026-12-01", "2027-01-01", "2027-02-01"]);
    }
}
