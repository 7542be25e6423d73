//! Takes what was collected for one lane, decodes it into batches, and stores one after the other. It comes back to a batch
//! until it is stored, or until it is told to give up.
//!
//! - [`attempt`]: one batch in both stores, with its dead letters

mod attempt;

use crate::{
    batch::Batch,
    breaker::Breaker,
    collected::Collected,
    dead_letter::{DEAD_LETTERS, DeadLetters},
    ledger::Moves,
    metrics::Metrics,
    retry::Backoff,
    sink::{
        health::StoreHealth,
        mongodb::Mongodb,
        postgres::{Postgres, ledger::LedgerKey},
    },
};
use attempt::{Attempt, Buried, GivenUp, Stored, share};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc as blocking,
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
            let ending = match self.write(batch, &mut buried).await? {
                Attempt::Fenced => Ending::Fenced,
                Attempt::Stored(Stored { account, rejections }) => {
                    self.metrics.stored(batch, &account, &rejections);
                    self.breaker.done(share(batch, &rejections));
                    Ending::Written
                }
                Attempt::Refused(open) => {
                    tracing::error!(lane = self.lane, reason = %open, "this is not given up");
                    self.health.fails(DEAD_LETTERS, self.lane, &open.to_string());
                    was_refused.get_or_insert_with(|| self.metrics.breaker_opens());
                    if !backoff.wait(&self.give_up).await {
                        return Err(GivenUp);
                    }
                    continue;
                }
            };
            if was_refused.is_some() {
                self.health.works(DEAD_LETTERS, self.lane);
            }
            return Ok(ending);
        }
    }
}
