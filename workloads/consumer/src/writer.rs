//! Takes the batches of one lane one after the other and stores each: MongoDB, dead letters, PostgreSQL with the ledger. It comes
//! back to a batch until it is stored, or until it is told to give up.

use crate::{
    batch::{Batch, Delivery, RejectClass, Rejection, Row},
    dead_letter::{DEAD_LETTERS, DeadLetterError, DeadLetters},
    ledger::Moves,
    metrics::{Metrics, Tally},
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

/// What became of a batch.
#[derive(Debug)]
pub struct Completion {
    /// Number of its lane.
    pub lane: usize,
    /// Epoch of the batch.
    pub epoch: u64,
    /// Its moves of the ledger.
    pub moves: Moves,
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
}

/// The writer was told to give up.
struct GivenUp;

impl Writer {
    /// Writes until the reader closes its end.
    pub async fn run(self, mut batches: mpsc::Receiver<Batch>, completions: blocking::Sender<Completion>) {
        while let Some(batch) = batches.recv().await {
            let ending = if batch.epoch < self.epoch.load(Ordering::Acquire) {
                Ending::Stale
            } else {
                tokio::select! {
                    biased;
                    ending = self.write(&batch) => ending.unwrap_or(Ending::Abandoned),
                    () = self.give_up.cancelled() => Ending::Abandoned,
                }
            };
            match ending {
                Ending::Fenced => {
                    self.metrics.fenced();
                    tracing::warn!("another reader moved the ledger; a batch is dropped and read again from there");
                }
                Ending::Abandoned => tracing::warn!(records = batch.records(), "a batch is given up at shutdown"),
                Ending::Written | Ending::Stale => {}
            }
            if completions
                .send(Completion {
                    lane: self.lane,
                    epoch: batch.epoch,
                    moves: batch.moves,
                    ending,
                })
                .is_err()
            {
                return;
            }
        }
        self.dead_letters.flush();
    }

    async fn write(&self, batch: &Batch) -> Result<Ending, GivenUp> {
        let deliveries: HashMap<_, _> = batch
            .messages
            .iter()
            .map(|message| {
                (
                    (&message.delivery.partition, message.delivery.offset),
                    &message.delivery,
                )
            })
            .collect();
        let mut rejections: Vec<Rejection> = batch
            .messages
            .iter()
            .flat_map(|message| message.rejections.iter().cloned())
            .collect();
        let all = batch.messages.iter().flat_map(|message| &message.rows);
        let mut rows = unique(all.clone());

        for (source, rows) in &mut rows {
            if self.mongodb.stores(*source) {
                rejections.extend(self.write_mongodb(*source, rows).await?);
            }
        }
        self.bury(&rejections, &deliveries).await?;

        // A commit without an answer may have happened. Then the next attempt finds the ledger where it wants to
        // leave it, and the rows of the first attempt are the ones that count.
        let mut unanswered: Option<BTreeMap<Source, u64>> = None;
        let mut retries = Retries::default();
        let stored = loop {
            let started = Instant::now();
            let failure = match self.postgres.write(&self.ledger, &batch.moves, &rows).await {
                Ok(write::Outcome::Fenced) => match unanswered.take() {
                    Some(stored) if self.is_at_end(&batch.moves).await? => break stored,
                    _ => return Ok(Ending::Fenced),
                },
                Ok(write::Outcome::Written(write)) => {
                    if !write.refused.is_empty() {
                        let refused: Vec<Rejection> = write
                            .refused
                            .iter()
                            .map(|(row, reason)| rejection(row, reason))
                            .collect();
                        self.bury(&refused, &deliveries).await?;
                        // Whatever becomes of this transaction, these are done with.
                        let ids: HashSet<RecordId> = write.refused.iter().map(|(row, _)| row.id).collect();
                        rows.values_mut()
                            .for_each(|rows| rows.retain(|row| !ids.contains(&row.id)));
                        rejections.extend(refused);
                    }
                    let stored = write.stored.clone();
                    match write.commit().await {
                        Ok(()) => {
                            self.metrics.written(POSTGRES, started);
                            self.health.works(POSTGRES, self.lane);
                            break stored;
                        }
                        Err(failure) => {
                            unanswered = Some(stored);
                            failure
                        }
                    }
                }
                Err(failure) => failure,
            };
            self.pause_after(&failure, &mut retries).await?;
        };
        self.metrics.stored(batch.records(), &tally(all, &rejections, stored));
        Ok(Ending::Written)
    }

    /// Writes rows of one source to MongoDB; takes those that it refuses out of `rows` and returns them.
    async fn write_mongodb(&self, source: Source, rows: &mut Vec<&Row>) -> Result<Vec<Rejection>, GivenUp> {
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
        deliveries: &HashMap<(&crate::topic::Partition, i64), &Delivery>,
    ) -> Result<(), GivenUp> {
        let letters: Vec<(&Rejection, &Delivery)> = rejections
            .iter()
            .filter_map(|rejection| Some((rejection, *deliveries.get(&(&rejection.partition, rejection.offset))?)))
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

/// What became of a batch's rows and rejections: what is neither stored nor given up was there already.
fn tally<'a>(rows: impl Iterator<Item = &'a Row>, rejections: &[Rejection], stored: BTreeMap<Source, u64>) -> Tally {
    let mut tally = Tally {
        stored,
        ..Tally::default()
    };
    let mut seen: BTreeMap<Source, u64> = BTreeMap::new();
    for row in rows {
        *seen.entry(row.partition.topic.source).or_default() += 1;
    }
    for rejection in rejections {
        let source = rejection.partition.topic.source;
        *tally.dead_lettered.entry(source).or_default() += 1;
        // Messages that are no envelope, and records that failed validation, never became rows.
        if rejection.class == RejectClass::Data {
            seen.entry(source).and_modify(|count| *count = count.saturating_sub(1));
        }
    }
    for (source, count) in seen {
        let stored = tally.stored.get(&source).copied().unwrap_or_default();
        tally.duplicate.insert(source, count.saturating_sub(stored));
    }
    tally
}

/// Each record id once: of facts the first one, of versions the newest.
fn unique<'a>(rows: impl Iterator<Item = &'a Row>) -> RowsBySource<'a> {
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
        batch::tests::row,
        topic::{Partition, Topic},
    };
    use uuid::Uuid;

    fn of_source(source: Source, mut row: Row) -> Row {
        let topic = Topic {
            name: source.topic().to_owned(),
            id: Uuid::from_u128(9),
            source,
        };
        row.partition = Partition {
            topic: Arc::new(topic),
            number: 0,
        };
        row
    }

    #[test]
    fn every_record_is_stored_or_a_duplicate_or_dead_lettered() {
        let rows: Vec<Row> = (0..10).map(|id| of_source(Source::Sms, row(id, 0))).collect();
        let mut rejections = vec![rejection(&rows[3], "too large")];
        rejections.push(Rejection {
            class: RejectClass::Validation,
            ..rejections[0].clone()
        });
        assert_eq!(
            tally(rows.iter(), &rejections, BTreeMap::from([(Source::Sms, 7)])),
            Tally {
                stored: BTreeMap::from([(Source::Sms, 7)]),
                duplicate: BTreeMap::from([(Source::Sms, 2)]),
                dead_lettered: BTreeMap::from([(Source::Sms, 2)]),
            }
        );
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
        let unique = unique(rows.iter());
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
