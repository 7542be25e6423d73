//! One batch in one transaction: the ledger's moves first, which fences off other readers of the same partitions,
//! then the rows.

use super::{
    Postgres, bounded, copy, fault,
    ledger::{self, LedgerKey},
    store_error, table,
};
use crate::{
    batch::Row,
    isolate::isolate,
    ledger::Moves,
    sink::{Fault, StoreError},
};
use contract::Source;
use sqlx::{AssertSqlSafe, Executor, PgConnection, Postgres as Server, pool::PoolConnection};
use std::{collections::BTreeMap, time::Duration};

/// Longest attempt at a whole batch.
const WRITE_TIMEOUT: Duration = Duration::from_secs(40);
/// Longest search for bad rows: each costs some twenty round trips.
const ISOLATE_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest commit.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);

/// The rows of a batch by source, each record id once.
pub type RowsBySource<'a> = BTreeMap<Source, Vec<&'a Row>>;

/// What became of a batch, short of its commit.
pub enum Outcome<'a> {
    /// Another reader moved the ledger; nothing was written.
    Fenced,
    /// Written, to be committed once the refused rows are safe elsewhere. Dropping it undoes everything.
    Written(Write<'a>),
}

/// A transaction that holds a batch.
pub struct Write<'a> {
    session: Session,
    /// New or newer rows by source; the others were there already.
    pub stored: BTreeMap<Source, u64>,
    /// Rows that PostgreSQL cannot store, with the reason.
    pub refused: Vec<(&'a Row, String)>,
}

impl Postgres {
    /// Writes a batch. Rows that cannot be stored are left out and named.
    pub async fn write<'a>(
        &self,
        key: &LedgerKey,
        moves: &Moves,
        rows: &RowsBySource<'a>,
    ) -> Result<Outcome<'a>, StoreError> {
        match bounded(WRITE_TIMEOUT, self.whole(key, moves, rows)).await {
            Err(StoreError {
                fault: Fault::Data,
                reason,
                ..
            }) => {
                tracing::warn!(reason, "PostgreSQL refused a batch; looking for the guilty records");
                bounded(ISOLATE_TIMEOUT, self.piecemeal(key, moves, rows)).await
            }
            outcome => outcome,
        }
    }

    async fn whole<'a>(
        &self,
        key: &LedgerKey,
        moves: &Moves,
        rows: &RowsBySource<'a>,
    ) -> Result<Outcome<'a>, sqlx::Error> {
        let Some(mut session) = self.begin(key, moves).await? else {
            return Ok(Outcome::Fenced);
        };
        let mut stored = BTreeMap::new();
        for (source, rows) in rows {
            stored.insert(*source, merge(&mut session.connection, *source, rows).await?);
        }
        Ok(Outcome::Written(Write {
            session,
            stored,
            refused: Vec::new(),
        }))
    }

    async fn piecemeal<'a>(
        &self,
        key: &LedgerKey,
        moves: &Moves,
        rows: &RowsBySource<'a>,
    ) -> Result<Outcome<'a>, sqlx::Error> {
        let Some(mut session) = self.begin(key, moves).await? else {
            return Ok(Outcome::Fenced);
        };
        let (mut stored, mut refused) = (BTreeMap::new(), Vec::new());
        for (source, rows) in rows {
            let mut count = 0;
            let guilty = isolate(rows.len(), async |range| {
                let connection = &mut *session.connection;
                connection.execute("SAVEPOINT piece").await?;
                match merge(connection, *source, &rows[range]).await {
                    Ok(merged) => {
                        count += merged;
                        connection.execute(AssertSqlSafe(table::clear(*source))).await?;
                        connection.execute("RELEASE SAVEPOINT piece").await?;
                        Ok(None)
                    }
                    Err(error) if fault::of(&error) == Fault::Data => {
                        connection.execute("ROLLBACK TO SAVEPOINT piece").await?;
                        Ok(Some(fault::describe(&error)))
                    }
                    Err(error) => Err(error),
                }
            })
            .await?;
            stored.insert(*source, count);
            refused.extend(guilty.into_iter().map(|(index, reason)| (rows[index], reason)));
        }
        Ok(Outcome::Written(Write {
            session,
            stored,
            refused,
        }))
    }

    /// A transaction in which the ledger has moved; `None` when another reader moved it before.
    async fn begin(&self, key: &LedgerKey, moves: &Moves) -> Result<Option<Session>, sqlx::Error> {
        let mut session = Session {
            connection: self.pool.acquire().await?,
            clean: false,
        };
        session.connection.execute("BEGIN").await?;
        if ledger::advance(&mut session.connection, key, moves).await? {
            return Ok(Some(session));
        }
        session.connection.execute("ROLLBACK").await?;
        session.clean = true;
        Ok(None)
    }
}

impl Write<'_> {
    /// Makes it last.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        let session = &mut self.session;
        let outcome = tokio::time::timeout(COMMIT_TIMEOUT, session.connection.execute("COMMIT")).await;
        match outcome {
            Ok(Ok(_)) => {
                session.clean = true;
                Ok(())
            }
            Ok(Err(error)) => Err(store_error(error)),
            Err(_) => Err(StoreError {
                store: crate::sink::POSTGRES,
                fault: Fault::Passing,
                reason: format!("no answer to COMMIT within {} s", COMMIT_TIMEOUT.as_secs()),
            }),
        }
    }
}

/// Copies rows to the staging table and merges them; answers how many were new or newer.
async fn merge(connection: &mut PgConnection, source: Source, rows: &[&Row]) -> Result<u64, sqlx::Error> {
    let mut staging = connection.copy_in_raw(&table::copy(source)).await?;
    staging.send(copy::encode(source, rows.iter().copied())).await?;
    staging.finish().await?;
    let merged = sqlx::query(AssertSqlSafe(table::merge(source)))
        .execute(connection)
        .await?;
    Ok(merged.rows_affected())
}

/// A connection of the pool that goes back only in a known state; otherwise it is closed, and the server rolls back.
struct Session {
    connection: PoolConnection<Server>,
    clean: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.clean {
            self.connection.close_on_drop();
        }
    }
}
