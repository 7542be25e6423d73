//! Takes what was collected for one lane, decodes it into batches, and stores one after the other: MongoDB, dead letters,
//! PostgreSQL with the ledger. It comes back to a batch until it is stored, or until it is told to give up.

use crate::{
    account::{Account, Messages, messages},
    batch::{Batch, Delivery, RejectClass, Rejection, Row},
    breaker::{Breaker, Open},
    collected::Collected,
    dead_letter::{DEAD_LETTERS, DeadLetterError, DeadLetters},
    ledger::Moves,
    metrics::Metrics,
    retry::Backoff,
    sink::{
        Fault, MONGODB, POSTGRES, StoreError,
        health::StoreHealth,
        mongodb::Mongodb,
        postgres::{
            Postgres,
            ledger::LedgerKey,
            write::{self, RowsBySource},
        },
    },
    topic::Partition,
};
use contract::{RecordId, Source, source::Storage};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc as blocking,
    },
    time::Instant,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What became of all that was collected at once.
#[derive(Debug)]
pub struct Completion {
    /// Number of its lane.
    pub lane: usize,
    /// Its epoch.
    pub epoch: u64,
    /// Its moves of the ledger.
    pub moves: Moves,
    /// Records that one of its messages has, on average.
    pub density: f64,
    /// How it ended.
    pub ending: Ending,
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Both stores have it.
    Written,
    /// Another reader had moved the ledger: nothing was written to PostgreSQL.
    Fenced,
    /// Not tried, because a batch before it was fenced.
    Stale,
    /// Given up at shutdown. Its records are read again.
    Abandoned,
}

/// Writes batches. Each lane has one of its own.
#[derive(Clone)]
pub struct Writer {
    /// Number of the lane.
    pub lane: usize,
    /// The authority.
    pub postgres: Postgres,
    /// The other store.
    pub mongodb: Mongodb,
    /// Where rejected records go.
    pub dead_letters: DeadLetters,
    /// Whose rows of the ledger move.
    pub ledger: LedgerKey,
    /// Readiness of the stores, as all lanes find them.
    pub health: StoreHealth,
    /// Metrics.
    pub metrics: Metrics,
    /// Cancelled when there is no more time.
    pub give_up: CancellationToken,
    /// The reader's epoch: batches of an earlier one are stale.
    pub epoch: Arc<AtomicU64>,
    /// Opens where nearly nothing can be stored.
    pub breaker: Breaker,
}

/// The writer was told to give up.
struct GivenUp;

/// Dead letters of a batch that are written: not once more where another attempt is made.
type Buried = HashSet<(Partition, i64, Option<i32>)>;

fn place(rejection: &Rejection) -> (Partition, i64, Option<i32>) {
    (rejection.partition.clone(), rejection.offset, rejection.index)
}

/// How an attempt at a batch ended.
enum Attempt {
    /// Both stores have it, but for what was given up.
    Stored {
        account: Account,
        rejections: Vec<Rejection>,
    },
    /// Nearly nothing of it can be stored, and nothing is.
    Refused(Open),
    /// Something else.
    Ended(Ending),
}

impl Writer {
    /// Writes until the reader closes its end.
    pub async fn run(mut self, mut waiting: mpsc::Receiver<Collected>, completions: blocking::Sender<Completion>) {
        while let Some(collected) = waiting.recv().await {
            let (ending, density) = self.write_collected(&collected).await;
            if completions
                .send(Completion {
                    lane: self.lane,
                    epoch: collected.epoch,
                    moves: collected.moves,
                    density,
                    ending,
                })
                .is_err()
            {
                return;
            }
        }
        self.dead_letters.flush();
    }

    /// Writes batch after batch, up to the first that is not written: how that one ended. With the average number of
    /// records of a message.
    async fn write_collected(&mut self, collected: &Collected) -> (Ending, f64) {
        let senders = collected.senders();
        let batches = collected.batches(&senders);
        let records: usize = batches.iter().map(Batch::records).sum();
        let density = records as f64 / collected.len().max(1) as f64;
        for batch in &batches {
            let ending = self.write_unless_stale(collected.epoch, batch).await;
            match ending {
                Ending::Written => continue,
                Ending::Fenced => {
                    self.metrics.fenced();
                    tracing::warn!("another reader moved the ledger; a batch is dropped and read again from there");
                }
                Ending::Abandoned => tracing::warn!(records = batch.records(), "a batch is given up at shutdown"),
                Ending::Stale => {}
            }
            return (ending, density);
        }
        (Ending::Written, density)
    }

    async fn write_unless_stale(&mut self, epoch: u64, batch: &Batch<'_>) -> Ending {
        if epoch < self.epoch.load(Ordering::Acquire) {
            return Ending::Stale;
        }
        let give_up = self.give_up.clone();
        tokio::select! {
            biased;
            ending = self.write_patiently(batch) => ending.unwrap_or(Ending::Abandoned),
            () = give_up.cancelled() => Ending::Abandoned,
        }
    }

    /// Comes back to a batch of which nearly nothing can be stored, until that is repaired.
    async fn write_patiently(&mut self, batch: &Batch<'_>) -> Result<Ending, GivenUp> {
        let mut backoff = Backoff::slow();
        let mut buried = Buried::new();
        let mut was_refused = None;
        loop {
            match self.write(batch, &mut buried).await? {
                Attempt::Ended(ending) => return Ok(ending),
                Attempt::Stored { account, rejections } => {
                    self.metrics.stored(batch, &account, &rejections);
                    self.breaker.done(batch.records() as u64, rejections.len() as u64);
                    if was_refused.is_some() {
                        self.health.works(DEAD_LETTERS, self.lane);
                    }
                    return Ok(Ending::Written);
                }
                Attempt::Refused(open) => {
                    tracing::error!(lane = self.lane, reason = %open, "this is not given up");
                    self.health.fails(DEAD_LETTERS, self.lane, &open.to_string());
                    was_refused.get_or_insert_with(|| self.metrics.breaker_opens());
                    if !backoff.wait(&self.give_up).await {
                        return Err(GivenUp);
                    }
                }
            }
        }
    }

    async fn write(&self, batch: &Batch<'_>, buried: &mut Buried) -> Result<Attempt, GivenUp> {
        let messages = messages(batch);
        let mut rejections: Vec<Rejection> = batch
            .messages
            .iter()
            .flat_map(|message| message.rejections.iter().cloned())
            .collect();
        let mut rows = unique(&batch.rows);

        for (source, rows) in &mut rows {
            if self.mongodb.stores(*source) {
                rejections.extend(self.write_mongodb(*source, rows).await?);
            }
        }
        if let Err(open) = self.admit(batch, &rejections) {
            return Ok(Attempt::Refused(open));
        }
        self.bury(&rejections, &messages, buried).await?;

        // A commit without an answer may have happened. Then the next attempt finds the ledger where it wants to
        // leave it, and the account of the first attempt is the one that counts.
        let mut unanswered: Option<Account> = None;
        let mut retries = Retries::default();
        loop {
            let started = Instant::now();
            let failure = match self.postgres.write(&self.ledger, &batch.moves, &rows).await {
                Ok(write::Outcome::Fenced) => {
                    return Ok(match unanswered.take() {
                        Some(account) if self.is_at_end(&batch.moves).await? => Attempt::Stored { account, rejections },
                        _ => Attempt::Ended(Ending::Fenced),
                    });
                }
                Ok(write::Outcome::Written(mut write)) => {
                    if !write.refused.is_empty() {
                        let refused = write.refused.iter();
                        let refused: Vec<Rejection> = refused.map(|(row, reason)| rejection(row, reason)).collect();
                        let all: Vec<Rejection> = rejections.iter().chain(&refused).cloned().collect();
                        if let Err(open) = self.admit(batch, &all) {
                            return Ok(Attempt::Refused(open));
                        }
                        self.bury(&refused, &messages, buried).await?;
                        // Whatever becomes of this transaction, these are done with.
                        let ids: HashSet<RecordId> = write.refused.iter().map(|(row, _)| row.id).collect();
                        rows.values_mut()
                            .for_each(|rows| rows.retain(|row| !ids.contains(&row.id)));
                        rejections = all;
                    }
                    let account = Account::of(batch, &messages, &write.stored, &write.erased, &rejections);
                    let done = async {
                        self.remove_erased(&write.erased).await?;
                        write.account(&self.ledger, &account, &rejections).await
                    };
                    match done.await {
                        Err(failure) => failure,
                        Ok(()) => match write.commit().await {
                            Ok(()) => {
                                self.metrics.written(POSTGRES, started);
                                self.health.works(POSTGRES, self.lane);
                                return Ok(Attempt::Stored { account, rejections });
                            }
                            Err(failure) => {
                                unanswered = Some(account);
                                failure
                            }
                        },
                    }
                }
                Err(failure) => failure,
            };
            self.pause_after(&failure, &mut retries).await?;
        }
    }

    /// Whether these records are given up, or the batch is.
    fn admit(&self, batch: &Batch, rejections: &[Rejection]) -> Result<(), Open> {
        let example = rejections.last().map_or("", |rejection| &rejection.error);
        self.breaker
            .admits(batch.records() as u64, rejections.len() as u64, example)
    }

    /// Takes out of MongoDB what was written there of users who turned out to be erased.
    async fn remove_erased(&self, erased: &[&Row<'_>]) -> Result<(), StoreError> {
        let mut by_source: BTreeMap<Source, Vec<&Row<'_>>> = BTreeMap::new();
        for row in erased {
            by_source.entry(row.partition.topic.source).or_default().push(row);
        }
        for (source, rows) in by_source {
            if self.mongodb.stores(source) {
                self.mongodb.remove(source, &rows).await?;
            }
        }
        Ok(())
    }

    /// Writes rows of one source to MongoDB; takes those that it refuses out of `rows` and returns them.
    async fn write_mongodb(&self, source: Source, rows: &mut Vec<&Row<'_>>) -> Result<Vec<Rejection>, GivenUp> {
        let mut retries = Retries::default();
        loop {
            let started = Instant::now();
            match self.mongodb.write(source, rows).await {
                Ok(refused) => {
                    self.metrics.written(MONGODB, started);
                    self.health.works(MONGODB, self.lane);
                    let refused: BTreeMap<usize, String> = refused.into_iter().collect();
                    let rejections = refused
                        .iter()
                        .map(|(index, reason)| rejection(rows[*index], reason))
                        .collect();
                    let mut index = 0;
                    rows.retain(|_| {
                        index += 1;
                        !refused.contains_key(&(index - 1))
                    });
                    return Ok(rejections);
                }
                Err(failure) => self.pause_after(&failure, &mut retries).await?,
            }
        }
    }

    /// Writes dead letters until all are acknowledged.
    async fn bury(
        &self,
        rejections: &[Rejection],
        messages: &Messages<'_>,
        buried: &mut Buried,
    ) -> Result<(), GivenUp> {
        let letters: Vec<(&Rejection, Delivery<'_>)> = rejections
            .iter()
            .filter(|rejection| !buried.contains(&place(rejection)))
            .filter_map(|rejection| {
                let message = messages.get(&(&rejection.partition, rejection.offset))?;
                Some((rejection, message.delivery))
            })
            .collect();
        if letters.is_empty() {
            return Ok(());
        }
        let mut backoff = Backoff::brief();
        for attempt in 1.. {
            match self.dead_letters.send(letters.iter().copied(), attempt).await {
                Ok(()) => break,
                Err(error) => self.pause_after_letter(&error, &mut backoff).await?,
            }
        }
        buried.extend(letters.iter().map(|(rejection, _)| place(rejection)));
        self.health.works(DEAD_LETTERS, self.lane);
        Ok(())
    }

    /// Whether the ledger is where this batch leaves it.
    async fn is_at_end(&self, moves: &Moves) -> Result<bool, GivenUp> {
        let partitions = moves.partitions().cloned().collect();
        let mut retries = Retries::default();
        loop {
            match self.postgres.read_ledger(&self.ledger, &partitions).await {
                Ok(ledger) => {
                    return Ok(moves
                        .iter()
                        .all(|(partition, step)| ledger.get(partition) == Some(&step.next)));
                }
                Err(failure) => self.pause_after(&failure, &mut retries).await?,
            }
        }
    }

    async fn pause_after(&self, failure: &StoreError, retries: &mut Retries) -> Result<(), GivenUp> {
        self.metrics.retried(failure.store);
        self.health.fails(failure.store, self.lane, &failure.reason);
        let backoff = match failure.fault {
            Fault::Passing => &mut retries.brief,
            Fault::Setup | Fault::Data => {
                tracing::error!(
                    store = failure.store,
                    reason = failure.reason,
                    "cannot write until this is repaired"
                );
                &mut retries.slow
            }
        };
        if backoff.wait(&self.give_up).await {
            Ok(())
        } else {
            Err(GivenUp)
        }
    }

    async fn pause_after_letter(&self, error: &DeadLetterError, backoff: &mut Backoff) -> Result<(), GivenUp> {
        self.metrics.retried(DEAD_LETTERS);
        self.health.fails(DEAD_LETTERS, self.lane, &error.to_string());
        if backoff.wait(&self.give_up).await {
            Ok(())
        } else {
            Err(GivenUp)
        }
    }
}

/// The pauses of one write.
struct Retries {
    brief: Backoff,
    slow: Backoff,
}

impl Default for Retries {
    fn default() -> Retries {
        Retries {
            brief: Backoff::brief(),
            slow: Backoff::slow(),
        }
    }
}

fn rejection(row: &Row, reason: &str) -> Rejection {
    Rejection {
        partition: row.partition.clone(),
        offset: row.offset,
        index: Some(row.index),
        class: RejectClass::Data,
        error: reason.to_owned(),
    }
}

/// Each record id once: of facts the first one, of versions the newest.
fn unique<'a>(rows: &'a [Row<'a>]) -> RowsBySource<'a> {
    let mut by_source: RowsBySource<'a> = BTreeMap::new();
    let mut places: HashMap<(Source, RecordId), usize> = HashMap::new();
    for row in rows {
        let source = row.partition.topic.source;
        let chosen = by_source.entry(source).or_default();
        match places.get(&(source, row.id)) {
            None => {
                places.insert((source, row.id), chosen.len());
                chosen.push(row);
            }
            Some(place) if source.storage() == Storage::VersionedUpsert && row.version() > chosen[*place].version() => {
                chosen[*place] = row;
            }
            Some(_) => {}
        }
    }
    by_source
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::tests::{kept, row},
        topic::Topic,
    };
    use uuid::Uuid;

    fn of_source<'a>(source: Source, mut row: Row<'a>) -> Row<'a> {
        let topic = Topic {
            name: source.topic().to_owned(),
            id: Uuid::from_u128(9),
            source,
        };
        row.partition = kept(Partition {
            topic: Arc::new(topic),
            number: 0,
        });
        row
    }

    #[test]
    fn of_facts_the_first_is_kept_and_of_versions_the_newest() {
        let rows = [
            of_source(Source::Sms, row(1, 10)),
            of_source(Source::Contacts, row(1, 10)),
            of_source(Source::Sms, row(1, 20)),
            of_source(Source::Contacts, row(1, 30)),
            of_source(Source::Contacts, row(1, 20)),
            of_source(Source::Sms, row(2, 5)),
        ];
        let unique = unique(&rows);
        let times = |source| -> Vec<(Uuid, i64)> {
            unique[&source]
                .iter()
                .map(|row| (row.id, row.event_time.timestamp_micros()))
                .collect()
        };
        assert_eq!(times(Source::Sms), [(Uuid::from_u128(1), 10), (Uuid::from_u128(2), 5)]);
        assert_eq!(times(Source::Contacts), [(Uuid::from_u128(1), 30)]);
    }
}
