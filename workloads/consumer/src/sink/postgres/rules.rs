//! Rules that somebody gave a table, as `CHECK` constraints. Once they are known, rows against them are left out while the
//! others are copied: COPY itself would end at the first one.

use super::{Postgres, copy, table};
use contract::Source;
use sqlx::PgConnection;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// What is known of the tables' rules: conditions under which a row may be stored.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules(Arc<Mutex<BTreeMap<Source, Arc<str>>>>);

impl Rules {
    /// The condition for rows of the source's table, if it has one.
    pub(super) fn of(&self, source: Source) -> Option<Arc<str>> {
        self.known().get(&source).cloned()
    }

    /// Whether the table still has the rules of this condition; if not, they are forgotten.
    pub(super) async fn still_hold(
        &self,
        connection: &mut PgConnection,
        source: Source,
        condition: &str,
    ) -> Result<bool, sqlx::Error> {
        let now = read(connection, source).await?;
        let hold = now.as_deref() == Some(condition);
        if !hold {
            self.known().remove(&source);
        }
        Ok(hold)
    }

    /// All that is known.
    pub(super) fn all(&self) -> BTreeMap<Source, Arc<str>> {
        self.known().clone()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<Source, Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Postgres {
    /// Reads the rules of all tables.
    pub(super) async fn learn_rules(&self) -> Result<(), sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        for &source in &self.sources {
            let mut condition = read(&mut connection, source).await?;
            if let Some(given) = &condition
                && let Err(error) = copy_nothing(&mut connection, source, given).await
            {
                // Each of its rows is looked for then.
                tracing::warn!(%source, %error, "the rules of this table cannot be part of a COPY");
                connection.close_on_drop();
                connection = self.pool.acquire().await?;
                condition = None;
            }
            match condition {
                Some(condition) => self.rules.known().insert(source, condition.into()),
                None => self.rules.known().remove(&source),
            };
        }
        Ok(())
    }
}

async fn read(connection: &mut PgConnection, source: Source) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(table::RULES)
        .bind(source.name())
        .fetch_one(connection)
        .await
}

/// A COPY takes less than a constraint does: whether it takes this condition shows without a row.
async fn copy_nothing(connection: &mut PgConnection, source: Source, condition: &str) -> Result<(), sqlx::Error> {
    let mut body = connection.copy_in_raw(&table::copy(source, Some(condition))).await?;
    for piece in copy::encode(source, std::iter::empty()) {
        body.send(piece).await?;
    }
    body.finish().await.map(drop)
}
