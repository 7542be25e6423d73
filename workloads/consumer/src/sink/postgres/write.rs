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
use contract::{Source, source::Storage};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Postgres as Server, pool::PoolConnection};
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};
use uuid::Uuid;

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

    /// Copies what is new; what is not is known by a look before. Another reader may have stored the same in between,
    /// where a partition that was added has divided a user's records: then all of it is merged.
    async fn whole<'a>(
        &self,
        key: &LedgerKey,
        moves: &Moves,
        rows: &RowsBySource<'a>,
    ) -> Result<Outcome<'a>, sqlx::Error> {
        match self.each(key, moves, rows, copy_new).await {
            Err(error) if fault::is_unique_violation(&error) => {
                tracing::info!("records of this batch were stored by somebody else just now; merging it");
                self.each(key, moves, rows, merge).await
            }
            outcome => outcome,
        }
    }

    async fn each<'a>(
        &self,
        key: &LedgerKey,
        moves: &Moves,
        rows: &RowsBySource<'a>,
        write: impl AsyncFn(&mut PgConnection, Source, &[&Row]) -> Result<u64, sqlx::Error>,
    ) -> Result<Outcome<'a>, sqlx::Error> {
        let Some(mut session) = self.begin(key, moves).await? else {
            return Ok(Outcome::Fenced);
        };
        let mut stored = BTreeMap::new();
        for (source, rows) in rows {
            stored.insert(*source, write(&mut session.connection, *source, rows).await?);
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

/// Copies the rows whose ids are new, and merges those of the others that may be newer; answers how many were stored.
async fn copy_new(connection: &mut PgConnection, source: Source, rows: &[&Row]) -> Result<u64, sqlx::Error> {
    let known = known(connection, source, rows).await?;
    if known.is_empty() {
        return copy(connection, source, rows).await;
    }
    let part = |is_known: bool| -> Vec<&Row> {
        let places = (0..).zip(rows.iter().copied());
        let part = places.filter(|(place, _)| known.contains(place) == is_known);
        part.map(|(_, row)| row).collect()
    };
    let copied = copy(connection, source, &part(false)).await?;
    Ok(match source.storage() {
        Storage::Append => copied,
        Storage::VersionedUpsert => copied + merge(connection, source, &part(true)).await?,
    })
}

/// Places of those rows whose ids are stored already.
async fn known(connection: &mut PgConnection, source: Source, rows: &[&Row]) -> Result<HashSet<usize>, sqlx::Error> {
    let users: Vec<&str> = rows.iter().map(|row| row.sender.user.as_str()).collect();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let places: Vec<(i64,)> = sqlx::query_as(AssertSqlSafe(table::known(source)))
        .bind(users)
        .bind(ids)
        .fetch_all(connection)
        .await?;
    // From 1, and no more than there are rows.
    Ok(places.into_iter().map(|(place,)| place as usize - 1).collect())
}

async fn copy(connection: &mut PgConnection, source: Source, rows: &[&Row]) -> Result<u64, sqlx::Error> {
    if rows.is_empty() {
        return Ok(0);
    }
    send(connection, &table::copy(source), source, rows).await
}

/// Copies rows to the staging table and merges them; answers how many were new or newer.
async fn merge(connection: &mut PgConnection, source: Source, rows: &[&Row]) -> Result<u64, sqlx::Error> {
    send(connection, &table::stage(source), source, rows).await?;
    let merged = sqlx::query(AssertSqlSafe(table::merge(source)))
        .execute(connection)
        .await?;
    Ok(merged.rows_affected())
}

async fn send(
    connection: &mut PgConnection,
    statement: &str,
    source: Source,
    rows: &[&Row],
) -> Result<u64, sqlx::Error> {
    let mut body = connection.copy_in_raw(statement).await?;
    for piece in copy::encode(source, rows.iter().copied()) {
        body.send(piece).await?;
    }
    body.finish().await
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
