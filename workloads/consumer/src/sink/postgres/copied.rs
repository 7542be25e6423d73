//! Copies of the pipeline's tables in other schemas, filled once more from Kafka. Whoever is erased is erased of all of
//! them, and stays so: a copy has no tombstones of its own, but sees those of its pipeline.

use super::{Postgres, bounded};
use crate::sink::StoreError;
use runtime::postgres::quoted;
use sqlx::{Executor, PgConnection};
use std::time::Duration;

/// Longest look or entry.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Replaces the copy's table of erased users, which has none, by a view of the pipeline's. Asked anew for each write, as
/// the table is, it also knows who was erased a moment ago.
pub(super) async fn share_erased_users(connection: &mut PgConnection, pipeline: &str) -> Result<(), sqlx::Error> {
    let is_table: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('erased_users') AND relkind = 'r')",
    )
    .fetch_one(&mut *connection)
    .await?;
    let dropping = if is_table { "DROP TABLE erased_users; " } else { "" };
    let view = format!(
        "{dropping}CREATE OR REPLACE VIEW erased_users AS SELECT user_hash, erased_at FROM {}.erased_users",
        quoted(pipeline)
    );
    // One message, and so one transaction.
    connection.execute(sqlx::raw_sql(&view)).await.map(drop)
}

/// The schemas that are copies of this one and still there.
pub(super) async fn all(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT schema_name FROM schema_copies WHERE to_regclass(quote_ident(schema_name) || '.ledger') IS NOT NULL \
         ORDER BY schema_name",
    )
    .fetch_all(connection)
    .await
}

impl Postgres {
    /// Whether this schema is that of a pipeline and no copy: its ledger has groups whose names do not end in `suffix`, or
    /// users were erased of it alone. A schema that is missing, or has no such tables, is nobody's.
    pub async fn is_of_a_pipeline(&self, suffix: &str) -> Result<bool, StoreError> {
        let work = async {
            let (ledger, erased_users): (bool, bool) = sqlx::query_as(
                "SELECT to_regclass('ledger') IS NOT NULL, \
                        EXISTS (SELECT FROM pg_class WHERE oid = to_regclass('erased_users') AND relkind = 'r')",
            )
            .fetch_one(&self.pool)
            .await?;
            let has_groups = ledger
                && sqlx::query_scalar("SELECT EXISTS (SELECT FROM ledger WHERE right(group_id, length($1)) <> $1)")
                    .bind(suffix)
                    .fetch_one(&self.pool)
                    .await?;
            let has_erased = erased_users
                && sqlx::query_scalar("SELECT EXISTS (SELECT FROM erased_users)")
                    .fetch_one(&self.pool)
                    .await?;
            Ok(has_groups || has_erased)
        };
        bounded(TIMEOUT, work).await
    }

    /// Enters a schema as a copy of this one, so that erasures reach it.
    pub async fn enter_copy(&self, schema: &str) -> Result<(), StoreError> {
        bounded(
            TIMEOUT,
            sqlx::query("INSERT INTO schema_copies (schema_name) VALUES ($1) ON CONFLICT DO NOTHING")
                .bind(schema)
                .execute(&self.pool),
        )
        .await
        .map(drop)
    }
}
