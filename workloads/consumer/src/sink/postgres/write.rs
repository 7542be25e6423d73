//! One batch in one transaction: the ledger's moves first, which fences off other readers of the same partitions,
//! then the rows.

use super::{
    Postgres, bounded, copy,
    erased::{self, BEGIN_WRITE, Erased},
    fault,
    ledger::{self, LedgerKey},
    rules::Rules,
    store_error, table, unanswered,
};
use crate::{
    batch::{Batch, RecordPlace, Row},
    candidates::{Candidates, RowsBySource},
    isolate::{Refusal, isolate},
    sink::{Fault, StoreError},
};
use contract::{Source, source::Storage};
use sqlx::{Executor, PgConnection, Postgres as Server, pool::PoolConnection};
use std::{collections::HashSet, ops::Range, time::Duration};
use uuid::Uuid;

/// Longest attempt at a whole batch.
const WRITE_TIMEOUT: Duration = Duration::from_secs(40);
/// Longest search for bad rows: each costs some twenty round trips.
const ISOLATE_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest commit.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a statement beside the rows.
pub(super) const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where PostgreSQL found the first row that it cannot store: its source and its place among the chosen ones.
type Suspect = Option<(Source, usize)>;

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
    /// Rows of which PostgreSQL holds this version or a better one after this, each record id once.
    pub accepted: RowsBySource<'a>,
    /// Those that are new, or newer than what was there.
    pub stored: Vec<&'a Row<'a>>,
    /// Rows that were received before their user was erased.
    pub erased: Vec<&'a Row<'a>>,
    /// Rows that PostgreSQL cannot store, with the reason.
    pub refused: Vec<(&'a Row<'a>, String)>,
    /// Which users of the batch were erased.
    pub erased_users: Erased<'a>,
}

impl Postgres {
    /// Writes a batch, but for those records that were `given_up`. Rows that cannot be stored are left out and named;
    /// other copies of their records take their place.
    pub async fn write<'a>(
        &self,
        key: &LedgerKey,
        batch: &'a Batch<'a>,
        given_up: &HashSet<RecordPlace>,
    ) -> Result<Outcome<'a>, StoreError> {
        let mut suspect = None;
        match bounded(WRITE_TIMEOUT, self.whole(key, batch, given_up, &mut suspect)).await {
            Err(StoreError {
                fault: Fault::Data,
                reason,
                ..
            }) => {
                tracing::warn!(reason, "PostgreSQL refused a batch; looking for the guilty records");
                bounded(ISOLATE_TIMEOUT, self.piecemeal(key, batch, given_up, suspect)).await
            }
            outcome => outcome,
        }
    }

    /// Copies what is new; what is not is known by a look before. Another reader may have stored the same in between,
    /// where a partition that was added has divided a user's records: then all of it is merged.
    async fn whole<'a>(
        &self,
        key: &LedgerKey,
        batch: &'a Batch<'a>,
        given_up: &HashSet<RecordPlace>,
        suspect: &mut Suspect,
    ) -> Result<Outcome<'a>, sqlx::Error> {
        let mut copied = async |connection: &mut PgConnection, source, rows: &[&Row<'_>]| {
            copy_new(connection, &self.rules, source, rows)
                .await
                .map_err(|failure| {
                    *suspect = failure.place.map(|place| (source, place));
                    failure.error
                })
        };
        let rules = self.rules.all();
        let mut outcome = self.each(key, batch, given_up, &mut copied).await;
        if outcome.as_ref().is_err_and(fault::is_broken_rule) {
            self.learn_rules().await?;
            if self.rules.all() != rules {
                tracing::info!("a table has a rule that was not known; rows against it are left out from now on");
                outcome = self.each(key, batch, given_up, &mut copied).await;
            }
        }
        match outcome {
            Err(error) if fault::is_unique_violation(&error) => {
                tracing::info!("records of this batch were stored by somebody else just now; merging it");
                let mut merged = async |connection: &mut PgConnection, source, rows: &[&Row<'_>]| {
                    merge(connection, source, rows).await.map(Copied::all)
                };
                self.each(key, batch, given_up, &mut merged).await
            }
            outcome => outcome,
        }
    }

    async fn each<'a>(
        &self,
        key: &LedgerKey,
        batch: &'a Batch<'a>,
        given_up: &HashSet<RecordPlace>,
        write: &mut impl AsyncFnMut(&mut PgConnection, Source, &[&Row<'_>]) -> Result<Copied, sqlx::Error>,
    ) -> Result<Outcome<'a>, sqlx::Error> {
        let Some((mut begun, mut candidates)) = self.begin(key, batch, given_up).await? else {
            return Ok(Outcome::Fenced);
        };
        for (source, mut rows) in std::mem::take(&mut candidates.chosen) {
            while !rows.is_empty() {
                match write(&mut begun.session.connection, source, &rows).await {
                    Ok(Copied { stored, refused }) => {
                        begun.stored.extend(stored.into_iter().map(|place| rows[place]));
                        let refused = refused
                            .into_iter()
                            .map(|place| (place, fault::refusal(fault::BROKEN_RULE)));
                        rows = begun.settle(source, rows, refused.collect(), &mut candidates);
                    }
                    Err(error) => {
                        begun.session.undo_after(&error).await;
                        return Err(error);
                    }
                }
            }
        }
        Ok(Outcome::Written(begun))
    }

    /// As [`whole`](Self::whole), in pieces, each of which has an effect or none.
    async fn piecemeal<'a>(
        &self,
        key: &LedgerKey,
        batch: &'a Batch<'a>,
        given_up: &HashSet<RecordPlace>,
        suspect: Suspect,
    ) -> Result<Outcome<'a>, sqlx::Error> {
        let Some((mut write, mut candidates)) = self.begin(key, batch, given_up).await? else {
            return Ok(Outcome::Fenced);
        };
        for (source, mut rows) in std::mem::take(&mut candidates.chosen) {
            let mut suspect = suspect.filter(|(of, _)| *of == source).map(|(_, place)| place);
            write.session.connection.execute("SAVEPOINT piece").await?;
            // What takes the place of rows that are refused may be refused itself.
            while !rows.is_empty() {
                let guilty = write.pieces(&self.rules, source, &rows, suspect.take()).await?;
                rows = write.settle(source, rows, guilty, &mut candidates);
            }
            write.session.connection.execute("RELEASE SAVEPOINT piece").await?;
        }
        Ok(Outcome::Written(write))
    }

    /// A transaction in which the ledger has moved, with the rows that may be stored in it; `None` when another reader
    /// moved the ledger before.
    async fn begin<'a>(
        &self,
        key: &LedgerKey,
        batch: &'a Batch<'a>,
        given_up: &HashSet<RecordPlace>,
    ) -> Result<Option<(Write<'a>, Candidates<'a>)>, sqlx::Error> {
        let mut session = Session {
            connection: self.pool.acquire().await?,
            clean: false,
        };
        session.connection.execute(BEGIN_WRITE).await?;
        let Some(advanced) = ledger::advance(&mut session.connection, key, &batch.moves).await? else {
            session.connection.execute("ROLLBACK").await?;
            session.clean = true;
            return Ok(None);
        };
        let erased_users = match advanced.any_erased {
            true => erased::among(&mut session.connection, batch.senders()).await?,
            false => Erased::default(),
        };
        let rows = batch.rows.iter();
        let (erased, rows): (Vec<&Row<'_>>, Vec<&Row<'_>>) =
            rows.partition(|row| !erased_users.is_empty() && erased_users.covers(row.sender));
        let rows = rows.into_iter();
        let candidates = Candidates::of(rows.filter(|row| given_up.is_empty() || !given_up.contains(&row.place())));
        let write = Write {
            session,
            accepted: RowsBySource::default(),
            stored: Vec::new(),
            erased,
            refused: Vec::new(),
            erased_users,
        };
        Ok(Some((write, candidates)))
    }
}

impl<'a> Write<'a> {
    /// Takes note of rows of one source that were written, but for the `guilty` ones. Answers what takes the place of those.
    fn settle(
        &mut self,
        source: Source,
        rows: Vec<&'a Row<'a>>,
        guilty: Vec<(usize, String)>,
        candidates: &mut Candidates<'a>,
    ) -> Vec<&'a Row<'a>> {
        let accepted = self.accepted.entry(source).or_default();
        if guilty.is_empty() {
            accepted.extend(rows);
            return Vec::new();
        }
        let places: HashSet<usize> = guilty.iter().map(|(place, _)| *place).collect();
        let good = (0..rows.len()).filter(|place| !places.contains(place));
        accepted.extend(good.map(|place| rows[place]));
        let instead = guilty
            .iter()
            .filter_map(|(place, _)| candidates.instead_of(rows[*place]));
        let instead = instead.collect();
        let refused = guilty.into_iter().map(|(place, reason)| (rows[place], reason));
        self.refused.extend(refused);
        instead
    }

    /// Writes rows of one source in pieces, and finds those that PostgreSQL cannot store: by their places, with the
    /// reason of each.
    async fn pieces(
        &mut self,
        rules: &Rules,
        source: Source,
        rows: &[&'a Row<'a>],
        suspect: Option<usize>,
    ) -> Result<Vec<(usize, String)>, sqlx::Error> {
        let connection = &mut *self.session.connection;
        let known = known(connection, source, rows.iter().copied()).await?;
        let (mut stored, mut left_out) = (Vec::new(), Vec::new());
        let mut guilty = isolate(rows.len(), suspect, async |range: Range<usize>| {
            match piece(connection, rules, source, rows, &known, range.clone()).await {
                Ok(copied) => {
                    stored.extend(copied.stored);
                    left_out.extend(copied.refused);
                    Ok(None)
                }
                Err(failure) if fault::of(&failure.error) == Fault::Data => Ok(Some(Refusal {
                    reason: fault::describe(&failure.error),
                    place: failure.place.and_then(|place| place.checked_sub(range.start)),
                })),
                Err(failure) => Err(failure.error),
            }
        })
        .await?;
        self.stored.extend(stored.into_iter().map(|place: usize| rows[place]));
        let left_out = left_out
            .into_iter()
            .map(|place| (place, fault::refusal(fault::BROKEN_RULE)));
        guilty.extend(left_out);
        Ok(guilty)
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
    /// The first guilty one by its place among all rows, where PostgreSQL says so.
    place: Option<usize>,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Failure {
        Failure { error, place: None }
    }
}

/// What became of rows that were offered to PostgreSQL, by their places. Others were there already.
#[derive(Debug, Default)]
struct Copied {
    /// They are new, or newer than what was there.
    stored: Vec<usize>,
    /// They are against a rule of the table.
    refused: Vec<usize>,
}

impl Copied {
    /// None of them is refused.
    fn all(stored: Vec<usize>) -> Copied {
        Copied {
            stored,
            refused: Vec::new(),
        }
    }
}

/// Writes the rows in `range`, or has no effect; answers what became of them, by places among all `rows`. A piece that
/// fails is rolled back to the savepoint, which moves on after each piece that is written.
async fn piece(
    connection: &mut PgConnection,
    rules: &Rules,
    source: Source,
    rows: &[&Row<'_>],
    known: &HashSet<usize>,
    range: Range<usize>,
) -> Result<Copied, Failure> {
    let mut written = copy_unknown(connection, rules, source, rows, known, range.clone()).await;
    if let Err(failure) = &written
        && fault::is_unique_violation(&failure.error)
    {
        // Somebody else has stored some of them just now.
        connection.execute("ROLLBACK TO SAVEPOINT piece").await?;
        let merged = merge(connection, source, &rows[range.clone()]).await;
        written = merged
            .map(|places| Copied::all(places.into_iter().map(|place| range.start + place).collect()))
            .map_err(Failure::from);
    }
    match written {
        Ok(copied) => {
            connection.execute(&*table::next_piece(source)).await?;
            Ok(copied)
        }
        Err(failure) => {
            connection.execute("ROLLBACK TO SAVEPOINT piece").await?;
            Err(failure)
        }
    }
}

/// Copies the rows whose ids are new, and merges those of the others that may be newer.
async fn copy_new(
    connection: &mut PgConnection,
    rules: &Rules,
    source: Source,
    rows: &[&Row<'_>],
) -> Result<Copied, Failure> {
    let known = known(connection, source, rows.iter().copied()).await?;
    copy_unknown(connection, rules, source, rows, &known, 0..rows.len()).await
}

/// As [`copy_new`], of the rows in `range`, where it is `known` which ids are stored already.
async fn copy_unknown(
    connection: &mut PgConnection,
    rules: &Rules,
    source: Source,
    rows: &[&Row<'_>],
    known: &HashSet<usize>,
    range: Range<usize>,
) -> Result<Copied, Failure> {
    let (older, new): (Vec<usize>, Vec<usize>) = range.partition(|place| known.contains(place));
    let mut copied = copy_by_rules(connection, rules, source, rows, new).await?;
    if source.storage() == Storage::VersionedUpsert && !older.is_empty() {
        let part: Vec<&Row<'_>> = older.iter().map(|place| rows[*place]).collect();
        let merged = merge(connection, source, &part).await?;
        copied.stored.extend(merged.into_iter().map(|place| older[place]));
    }
    Ok(copied)
}

/// Copies the rows at `places`, but for those against the rules that are known of the table.
async fn copy_by_rules(
    connection: &mut PgConnection,
    rules: &Rules,
    source: Source,
    rows: &[&Row<'_>],
    mut places: Vec<usize>,
) -> Result<Copied, Failure> {
    let mut copied = Copied::default();
    while !places.is_empty() {
        let condition = rules.of(source);
        let part = || places.iter().map(|place| rows[*place]);
        let statement = table::copy(source, condition.as_deref());
        let sent = send(connection, &statement, source, part()).await;
        let count = sent.map_err(|error| Failure {
            place: fault::copied(&error).and_then(|place| places.get(place).copied()),
            error,
        })?;
        let Some(condition) = condition.filter(|_| count < places.len() as u64) else {
            copied.stored.extend(places);
            break;
        };
        let there = known(connection, source, part()).await?;
        let (stored, left_out): (Vec<usize>, Vec<usize>) = (0..places.len()).partition(|index| there.contains(index));
        copied.stored.extend(stored.into_iter().map(|index| places[index]));
        let left_out: Vec<usize> = left_out.into_iter().map(|index| places[index]).collect();
        if rules.still_hold(connection, source, &condition).await? {
            copied.refused = left_out;
            break;
        }
        // The table takes them now, or says itself what it does not take.
        places = left_out;
    }
    Ok(copied)
}

/// Places of those rows whose ids are stored already.
async fn known<'a>(
    connection: &mut PgConnection,
    source: Source,
    rows: impl Iterator<Item = &'a Row<'a>> + Clone,
) -> Result<HashSet<usize>, sqlx::Error> {
    let users: Vec<&str> = rows.clone().map(|row| &*row.sender.user).collect();
    let ids: Vec<Uuid> = rows.map(|row| row.id).collect();
    let places: Vec<(i64,)> = sqlx::query_as(&table::known(source))
        .bind(users)
        .bind(ids)
        .fetch_all(connection)
        .await?;
    // From 1, and no more than there are rows.
    Ok(places.into_iter().map(|(place,)| place as usize - 1).collect())
}

/// Copies rows to the staging table and merges them; answers the places of those that were new or newer.
async fn merge(connection: &mut PgConnection, source: Source, rows: &[&Row<'_>]) -> Result<Vec<usize>, sqlx::Error> {
    send(connection, &table::stage(source), source, rows.iter().copied()).await?;
    let merged: Vec<(Uuid,)> = sqlx::query_as(&table::merge(source)).fetch_all(connection).await?;
    let merged: HashSet<Uuid> = merged.into_iter().map(|(id,)| id).collect();
    Ok((0..rows.len())
        .filter(|place| merged.contains(&rows[*place].id))
        .collect())
}

/// Sends rows to a COPY; answers how many of them it took.
async fn send<'a>(
    connection: &mut PgConnection,
    statement: &str,
    source: Source,
    rows: impl Iterator<Item = &'a Row<'a>>,
) -> Result<u64, sqlx::Error> {
    let mut body = connection.copy_in_raw(statement).await?;
    for piece in copy::encode(source, rows) {
        body.send(piece).await?;
    }
    body.finish().await
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
