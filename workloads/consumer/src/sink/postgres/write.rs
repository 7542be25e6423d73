//! One batch in one transaction: the ledger's moves first, which fences off other readers of the same partitions,
//! then the rows.

use super::{
    Postgres, bounded, copy,
    erased::{self, BEGIN_WRITE},
    fault,
    ledger::{self, LedgerKey},
    store_error, table, unanswered,
};
use crate::{
    batch::Row,
    isolate::{Refusal, isolate},
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
/// Longest wait for a statement beside the rows.
pub(super) const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// The rows of a batch by source, each record id once.
pub type RowsBySource<'a> = BTreeMap<Source, Vec<&'a Row<'a>>>;

/// What became of a batch, short of its commit.
pub enum Outcome<'a> {
    /// Another reader moved the ledger; nothing was written.
    Fenced,
    /// Written, to be committed once the refused rows are safe elsewhere. Dropping it undoes everything.
    Written(Write<'a>),
}

/// A transaction that holds a batch.
pub struct Write<'a> {
    pub(super) session: Session,
    /// New or newer rows; the others were there already.
    pub stored: Vec<&'a Row<'a>>,
    /// Rows that were received before their user was erased.
    pub erased: Vec<&'a Row<'a>>,
    /// Rows that PostgreSQL cannot store, with the reason.
    pub refused: Vec<(&'a Row<'a>, String)>,
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
        let copied = self.each(key, moves, rows, async |connection, source, rows| {
            copy_new(connection, source, rows)
                .await
                .map_err(|failure| failure.error)
        });
        match copied.await {
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
        write: impl AsyncFn(&mut PgConnection, Source, &[&Row<'_>]) -> Result<Vec<usize>, sqlx::Error>,
    ) -> Result<Outcome<'a>, sqlx::Error> {
        let Some(mut begun) = self.begin(key, moves, rows).await? else {
            return Ok(Outcome::Fenced);
        };
        for (source, rows) in &begun.rows {
            match write(&mut begun.write.session.connection, *source, rows).await {
                Ok(places) => begun.write.stored.extend(places.into_iter().map(|place| rows[place])),
                Err(error) => {
                    begun.write.session.undo_after(&error).await;
                    return Err(error);
                }
            }
        }
        Ok(Outcome::Written(begun.write))
    }

    async fn piecemeal<'a>(
        &self,
        key: &LedgerKey,
        moves: &Moves,
        rows: &RowsBySource<'a>,
    ) -> Result<Outcome<'a>, sqlx::Error> {
        let Some(Begun { mut write, rows }) = self.begin(key, moves, rows).await? else {
            return Ok(Outcome::Fenced);
        };
        for (source, rows) in &rows {
            let mut stored = Vec::new();
            write.session.connection.execute("SAVEPOINT piece").await?;
            let guilty = isolate(rows.len(), async |range| {
                let connection = &mut *write.session.connection;
                match piece(connection, *source, &rows[range.clone()]).await {
                    Ok(places) => {
                        stored.extend(places.into_iter().map(|place| range.start + place));
                        Ok(None)
                    }
                    Err(failure) if fault::of(&failure.error) == Fault::Data => Ok(Some(Refusal {
                        reason: fault::describe(&failure.error),
                        place: failure.place,
                    })),
                    Err(failure) => Err(failure.error),
                }
            })
            .await?;
            write.session.connection.execute("RELEASE SAVEPOINT piece").await?;
            write.stored.extend(stored.into_iter().map(|place| rows[place]));
            let guilty = guilty.into_iter().map(|(index, reason)| (rows[index], reason));
            write.refused.extend(guilty);
        }
        Ok(Outcome::Written(write))
    }

    /// A transaction in which the ledger has moved, with the rows that may be stored in it; `None` when another reader
    /// moved the ledger before.
    async fn begin<'a>(
        &self,
        key: &LedgerKey,
        moves: &Moves,
        rows: &RowsBySource<'a>,
    ) -> Result<Option<Begun<'a>>, sqlx::Error> {
        let mut session = Session {
            connection: self.pool.acquire().await?,
            clean: false,
        };
        session.connection.execute(BEGIN_WRITE).await?;
        let Some(advanced) = ledger::advance(&mut session.connection, key, moves).await? else {
            session.connection.execute("ROLLBACK").await?;
            session.clean = true;
            return Ok(None);
        };
        let (mut rows, mut gone) = (rows.clone(), Vec::new());
        if advanced.any_erased {
            let all = rows.values().flatten().copied();
            let erased = erased::among(&mut session.connection, all).await?;
            for rows in rows.values_mut() {
                gone.extend(rows.extract_if(.., |row| erased::is_erased(&erased, row)));
            }
        }
        Ok(Some(Begun {
            write: Write {
                session,
                stored: Vec::new(),
                erased: gone,
                refused: Vec::new(),
            },
            rows,
        }))
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
            Err(_) => Err(unanswered("COMMIT", COMMIT_TIMEOUT)),
        }
    }
}

/// Why rows were not written.
struct Failure {
    error: sqlx::Error,
    /// The first guilty one by its place, where PostgreSQL says so.
    place: Option<usize>,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Failure {
        Failure { error, place: None }
    }
}

/// Writes some of a batch's rows, or has no effect; answers the places of those that were stored. A piece that fails is
/// rolled back to the savepoint, which moves on after each piece that is written.
async fn piece(connection: &mut PgConnection, source: Source, rows: &[&Row<'_>]) -> Result<Vec<usize>, Failure> {
    let mut written = copy_new(connection, source, rows).await;
    if let Err(failure) = &written
        && fault::is_unique_violation(&failure.error)
    {
        // Somebody else has stored some of them just now.
        connection.execute("ROLLBACK TO SAVEPOINT piece").await?;
        written = merge(connection, source, rows).await.map_err(Failure::from);
    }
    match written {
        Ok(stored) => {
            connection.execute(AssertSqlSafe(table::next_piece(source))).await?;
            Ok(stored)
        }
        Err(failure) => {
            connection.execute("ROLLBACK TO SAVEPOINT piece").await?;
            Err(failure)
        }
    }
}

/// Copies the rows whose ids are new, and merges those of the others that may be newer; answers the places of those that
/// were stored.
async fn copy_new(connection: &mut PgConnection, source: Source, rows: &[&Row<'_>]) -> Result<Vec<usize>, Failure> {
    let known = known(connection, source, rows).await?;
    if known.is_empty() {
        copy(connection, source, rows).await.map_err(|error| Failure {
            place: fault::copied(&error).filter(|place| *place < rows.len()),
            error,
        })?;
        return Ok((0..rows.len()).collect());
    }
    let (older, new): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|place| known.contains(place));
    let part = |places: &[usize]| -> Vec<&Row> { places.iter().map(|place| rows[*place]).collect() };
    copy(connection, source, &part(&new)).await.map_err(|error| Failure {
        place: fault::copied(&error).and_then(|place| new.get(place).copied()),
        error,
    })?;
    let mut stored = new;
    if source.storage() == Storage::VersionedUpsert {
        let merged = merge(connection, source, &part(&older)).await?;
        stored.extend(merged.into_iter().map(|place| older[place]));
    }
    Ok(stored)
}

/// Places of those rows whose ids are stored already.
async fn known(
    connection: &mut PgConnection,
    source: Source,
    rows: &[&Row<'_>],
) -> Result<HashSet<usize>, sqlx::Error> {
    let users: Vec<&str> = rows.iter().map(|row| &*row.sender.user).collect();
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let places: Vec<(i64,)> = sqlx::query_as(AssertSqlSafe(table::known(source)))
        .bind(users)
        .bind(ids)
        .fetch_all(connection)
        .await?;
    // From 1, and no more than there are rows.
    Ok(places.into_iter().map(|(place,)| place as usize - 1).collect())
}

async fn copy(connection: &mut PgConnection, source: Source, rows: &[&Row<'_>]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    send(connection, &table::copy(source), source, rows).await
}

/// Copies rows to the staging table and merges them; answers the places of those that were new or newer.
async fn merge(connection: &mut PgConnection, source: Source, rows: &[&Row<'_>]) -> Result<Vec<usize>, sqlx::Error> {
    send(connection, &table::stage(source), source, rows).await?;
    let merged: Vec<(Uuid,)> = sqlx::query_as(AssertSqlSafe(table::merge(source)))
        .fetch_all(connection)
        .await?;
    let merged: HashSet<Uuid> = merged.into_iter().map(|(id,)| id).collect();
    Ok((0..rows.len())
        .filter(|place| merged.contains(&rows[*place].id))
        .collect())
}

async fn send(
    connection: &mut PgConnection,
    statement: &str,
    source: Source,
    rows: &[&Row<'_>],
) -> Result<(), sqlx::Error> {
    let mut body = connection.copy_in_raw(statement).await?;
    for piece in copy::encode(source, rows.iter().copied()) {
        body.send(piece).await?;
    }
    body.finish().await.map(drop)
}

/// A write that has begun, and what is left to be written.
struct Begun<'a> {
    write: Write<'a>,
    rows: RowsBySource<'a>,
}

/// A connection of the pool that goes back only in a known state; otherwise it is closed, and the server rolls back.
pub(super) struct Session {
    pub(super) connection: PoolConnection<Server>,
    clean: bool,
}

impl Session {
    /// Keeps the connection, if the server only refused a statement.
    async fn undo_after(&mut self, error: &sqlx::Error) {
        if let sqlx::Error::Database(_) = error {
            self.clean = self.connection.execute("ROLLBACK").await.is_ok();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.clean {
            self.connection.close_on_drop();
        }
    }
}
