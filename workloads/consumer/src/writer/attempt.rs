//! One batch in both stores, with its dead letters.
//!
//! PostgreSQL goes first, in a transaction that stays open: it says whether the batch is still this reader's, who was
//! erased, and which records can be stored. MongoDB gets those, the others become dead letters, and only then the
//! transaction is committed. So nothing is in MongoDB that PostgreSQL refuses, and a reader that has lost its partitions
//! writes nothing anywhere.

use super::Writer;
use crate::{
    account::{Account, Messages, messages, places},
    batch::{Batch, Delivery, RecordPlace, RejectClass, Rejection, Row},
    breaker::{Open, Share},
    dead_letter::{DEAD_LETTERS, DeadLetterError},
    ledger::Moves,
    retry::Backoff,
    sink::{
        Fault, MONGODB, POSTGRES, StoreError,
        postgres::write::{Outcome, Write},
    },
    topic::Partition,
};
use std::{
    collections::{BTreeMap, HashSet},
    time::Instant,
};

/// The writer was told to give up.
pub(super) struct GivenUp;

/// Dead letters of a batch that are written: not once more where another attempt is made.
pub(super) type Buried = HashSet<RecordPlace>;

/// How the attempts at a batch ended.
pub(super) enum Attempt {
    /// Both stores have it, but for what was given up.
    Stored(Stored),
    /// Another reader had moved the ledger.
    Fenced,
    /// Nearly nothing of it can be stored, and nothing is.
    Refused(Open),
}

/// What became of a batch that is stored.
pub(super) struct Stored {
    /// The counts.
    pub(super) account: Account,
    /// What was given up.
    pub(super) rejections: Vec<Rejection>,
}

/// A batch, and what earlier attempts at it have found.
struct Work<'a> {
    batch: &'a Batch<'a>,
    messages: Messages<'a>,
    /// What MongoDB cannot store.
    refused: Vec<Rejection>,
    /// The places of these.
    given_up: HashSet<RecordPlace>,
    /// Something of it may be in MongoDB.
    is_in_mongodb: bool,
    /// A commit without an answer may have happened. Then the next attempt finds the ledger where it wants to leave it,
    /// and the account of the first attempt is the one that counts.
    unanswered: Option<Stored>,
    retries: Retries,
}

/// How one attempt ended.
enum Step {
    Done(Attempt),
    /// MongoDB has refused some records: without them, once more.
    Again,
    Failed(StoreError),
}

impl Writer {
    /// Tries until the batch is stored, or cannot be.
    pub(super) async fn write(&self, batch: &Batch<'_>, buried: &mut Buried) -> Result<Attempt, GivenUp> {
        let mut work = Work {
            batch,
            messages: messages(batch),
            refused: Vec::new(),
            given_up: HashSet::new(),
            is_in_mongodb: false,
            unanswered: None,
            retries: Retries::default(),
        };
        loop {
            let began = Instant::now();
            let step = match self.postgres.write(&self.ledger, batch, &work.given_up).await {
                Ok(Outcome::Written(write)) => self.complete(&mut work, write, began, buried).await?,
                Ok(Outcome::Fenced) => return self.fenced(work).await,
                Err(failure) => Step::Failed(failure),
            };
            match step {
                Step::Done(attempt) => return Ok(attempt),
                Step::Again => {}
                Step::Failed(failure) => self.pause_after(&failure, &mut work.retries).await?,
            }
        }
    }

    /// Does what is left to be done once PostgreSQL has the batch in a transaction that `began` then, and commits it.
    async fn complete<'a>(
        &self,
        work: &mut Work<'a>,
        mut write: Write<'a>,
        began: Instant,
        buried: &mut Buried,
    ) -> Result<Step, GivenUp> {
        let copied = began.elapsed();
        let (erased, rejections) = work.divide_rejections(&write);
        if let Err(open) = self.admit(work.batch, &rejections) {
            return Ok(Step::Done(Attempt::Refused(open)));
        }
        match self.write_mongodb(work, &write).await {
            Ok(refused) if refused.is_empty() => {}
            Ok(refused) => {
                work.given_up.extend(refused.iter().map(Rejection::place));
                work.refused.extend(refused);
                return Ok(Step::Again);
            }
            Err(failure) => return Ok(Step::Failed(failure)),
        }
        self.bury(&rejections, &work.messages, buried).await?;

        let erased = places(&write.erased).chain(erased.iter().map(|(partition, offset)| (partition, *offset)));
        let account = Account::of(work.batch, &work.messages, &write.stored, erased, &rejections);
        if let Err(failure) = write.account(&self.ledger, &account, &rejections).await {
            return Ok(Step::Failed(failure));
        }
        let stored = Stored { account, rejections };
        let commits = Instant::now();
        if let Err(failure) = write.commit().await {
            work.unanswered = Some(stored);
            return Ok(Step::Failed(failure));
        }
        self.metrics.written(POSTGRES, copied + commits.elapsed());
        self.health.works(POSTGRES, self.lane);
        Ok(Step::Done(Attempt::Stored(stored)))
    }

    /// The ledger is not where the batch expects it.
    async fn fenced(&self, mut work: Work<'_>) -> Result<Attempt, GivenUp> {
        self.health.works(POSTGRES, self.lane);
        if let Some(stored) = work.unanswered.take()
            && self.is_at_end(&work.batch.moves, &mut work.retries).await?
        {
            return Ok(Attempt::Stored(stored));
        }
        if work.is_in_mongodb {
            self.forget_erased(&mut work).await?;
        }
        Ok(Attempt::Fenced)
    }

    /// Whether these records are given up, or the batch is.
    fn admit(&self, batch: &Batch<'_>, rejections: &[Rejection]) -> Result<(), Open> {
        let example = rejections.last().map_or("", |rejection| &rejection.error);
        self.breaker.admits(share(batch, rejections), example)
    }

    /// Writes to MongoDB what PostgreSQL has accepted, and returns what it refuses.
    async fn write_mongodb(&self, work: &mut Work<'_>, write: &Write<'_>) -> Result<Vec<Rejection>, StoreError> {
        let mut rejections = Vec::new();
        for (source, rows) in &write.accepted {
            if rows.is_empty() || !self.mongodb.stores(*source) {
                continue;
            }
            work.is_in_mongodb = true;
            let began = Instant::now();
            let refused = self.mongodb.write(*source, rows).await?;
            self.metrics.written(MONGODB, began.elapsed());
            self.health.works(MONGODB, self.lane);
            let refused = refused.iter();
            rejections.extend(refused.map(|(place, reason)| rejection(rows[*place], reason)));
        }
        Ok(rejections)
    }

    /// Takes out of MongoDB what an earlier attempt has written of users who were erased since: the reader that has the
    /// batch now may have looked before that.
    async fn forget_erased(&self, work: &mut Work<'_>) -> Result<(), GivenUp> {
        loop {
            let failure = match self.remove_erased(work.batch).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            self.pause_after(&failure, &mut work.retries).await?;
        }
    }

    async fn remove_erased(&self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let erased = self.postgres.erased_among(batch.senders()).await?;
        let mut by_source: BTreeMap<_, Vec<&Row<'_>>> = BTreeMap::new();
        for row in batch.rows.iter().filter(|row| erased.covers(row.sender)) {
            by_source.entry(row.partition.topic.source).or_default().push(row);
        }
        for (source, rows) in by_source {
            if self.mongodb.stores(source) {
                self.mongodb.remove(source, &rows).await?;
            }
        }
        Ok(())
    }

    /// Writes dead letters until all are acknowledged.
    async fn bury(
        &self,
        rejections: &[Rejection],
        messages: &Messages<'_>,
        buried: &mut Buried,
    ) -> Result<(), GivenUp> {
        let (mut backoff, mut one_by_one) = (Backoff::brief(), false);
        for attempt in 1.. {
            let letters: Vec<(&Rejection, Delivery<'_>)> = rejections
                .iter()
                .filter(|rejection| !buried.contains(&rejection.place()))
                .filter_map(|rejection| {
                    let message = messages.get(&(&rejection.partition, rejection.offset))?;
                    Some((rejection, message.delivery))
                })
                .collect();
            if letters.is_empty() {
                return Ok(());
            }
            let mut failure = None;
            let sent = self.dead_letters.send(&letters, attempt, one_by_one).await;
            for ((rejection, _), sent) in letters.iter().zip(sent) {
                match sent {
                    Ok(()) => drop(buried.insert(rejection.place())),
                    Err(error) => {
                        one_by_one |= error.is_too_large;
                        failure = Some(error);
                    }
                }
            }
            match failure {
                None => self.health.works(DEAD_LETTERS, self.lane),
                Some(error) => self.pause_after_letter(&error, &mut backoff).await?,
            }
        }
        Ok(())
    }

    /// Whether the ledger is where this batch leaves it.
    async fn is_at_end(&self, moves: &Moves, retries: &mut Retries) -> Result<bool, GivenUp> {
        let partitions = moves.partitions().cloned().collect();
        loop {
            match self.postgres.read_ledger(&self.ledger, &partitions).await {
                Ok(ledger) => {
                    return Ok(moves
                        .iter()
                        .all(|(partition, step)| ledger.get(partition) == Some(&step.next)));
                }
                Err(failure) => self.pause_after(&failure, retries).await?,
            }
        }
    }

    async fn pause_after(&self, failure: &StoreError, retries: &mut Retries) -> Result<(), GivenUp> {
        self.pause_once_after(failure, retries).await?;
        // Before MongoDB answers, PostgreSQL need not take the batch once more in vain.
        if failure.store == MONGODB {
            while let Err(failure) = self.mongodb.ping().await {
                self.pause_once_after(&failure, retries).await?;
            }
        }
        Ok(())
    }

    async fn pause_once_after(&self, failure: &StoreError, retries: &mut Retries) -> Result<(), GivenUp> {
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

impl<'a> Work<'a> {
    /// What is not stored: where records of erased users are, which become no dead letters, and the rejections.
    fn divide_rejections(&self, write: &Write<'_>) -> (Vec<(Partition, i64)>, Vec<Rejection>) {
        let decoded = self.batch.messages.iter().flat_map(|message| {
            let is_erased = message.sender.is_some_and(|sender| write.erased_users.covers(sender));
            message.rejections.iter().map(move |rejection| (is_erased, rejection))
        });
        let (mut erased, mut rejections) = (Vec::new(), Vec::new());
        for (is_erased, rejection) in decoded {
            match is_erased {
                true => erased.push((rejection.partition.clone(), rejection.offset)),
                false => rejections.push(rejection.clone()),
            }
        }
        let refused = write.refused.iter();
        rejections.extend(refused.map(|(row, reason)| rejection(row, reason)));
        let is_erased = |rejection: &Rejection| {
            let message = self.messages.get(&(&rejection.partition, rejection.offset));
            let sender = message.and_then(|message| message.sender);
            sender.is_some_and(|sender| write.erased_users.covers(sender))
        };
        rejections.extend(self.refused.iter().filter(|rejection| !is_erased(rejection)).cloned());
        (erased, rejections)
    }
}

/// The share of a batch that is given up with these.
pub(super) fn share(batch: &Batch<'_>, rejections: &[Rejection]) -> Share {
    let messages: HashSet<(&Partition, i64)> = rejections
        .iter()
        .map(|rejection| (&rejection.partition, rejection.offset))
        .collect();
    Share {
        records: batch.records() as u64,
        failing: rejections.len() as u64,
        messages: batch.messages.len() as u64,
        failing_messages: messages.len() as u64,
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

fn rejection(row: &Row<'_>, reason: &str) -> Rejection {
    Rejection {
        partition: row.partition.clone(),
        offset: row.offset,
        index: Some(row.index),
        class: RejectClass::Data,
        error: reason.to_owned(),
    }
}
