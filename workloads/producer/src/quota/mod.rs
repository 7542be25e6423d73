//! Records a minute and key, over all replicas.
//!
//! PostgreSQL counts; a replica takes a chunk of the minute's records there and gives them out itself. What it does not
//! give out within the minute is lost, so that never more than the quota is admitted in a minute, and at times a little
//! less.
//!
//! - [`chunk`]: what a replica has in hand
//! - [`store`]: the count in PostgreSQL

pub mod chunk;
pub mod store;

use crate::{database::Away, keys::Key};
use chunk::{Chunk, Take};
use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use store::{QuotaStore, Reservation};
use tokio::time::timeout;

/// Part of the quota that is taken at once.
const CHUNKS: u32 = 64;
/// Longest wait for a chunk, that of others before included.
const WAIT: Duration = Duration::from_secs(4);
/// Most keys with a chunk in hand. The requests of further ones ask PostgreSQL each.
const MOST: usize = 10_000;
/// A minute may end between question and answer, once.
const ATTEMPTS: usize = 3;

/// Longest wait to give records back, which are lost to their minute otherwise: the client waits for its answer.
const GIVE_BACK_WAIT: Duration = Duration::from_millis(100);

/// Why an upload is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaError {
    /// The minute's records are used up.
    #[error("the quota is used up for {seconds} s")]
    Exhausted {
        /// Until the next minute begins.
        seconds: u32,
    },
    /// No minute has room for so many.
    #[error("more records than a whole minute's quota of {quota}")]
    TooSmall {
        /// Records a minute.
        quota: NonZeroU32,
    },
    /// The count cannot be asked.
    #[error(transparent)]
    Away(#[from] Away),
}

/// What this replica has in hand, for each key. Shared by all HTTP workers.
pub struct Quotas {
    store: Arc<dyn QuotaStore>,
    /// Each behind a lock of its own, which is held while PostgreSQL is asked: who comes meanwhile gets of that chunk.
    chunks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Chunk>>>>,
}

/// Records that were taken of a key's minute.
#[derive(Debug)]
#[must_use = "what is not stored is given back"]
pub struct Taken {
    chunk: Arc<tokio::sync::Mutex<Chunk>>,
    /// When the minute ends.
    ends: Instant,
}

impl Taken {
    /// Gives back those that were not used.
    pub async fn give_back(self, records: usize) {
        let Ok(records @ 1..) = u32::try_from(records) else {
            return;
        };
        if let Ok(mut chunk) = timeout(GIVE_BACK_WAIT, self.chunk.lock()).await {
            chunk.give_back(records, self.ends);
        }
    }
}

impl Quotas {
    /// With nothing in hand yet.
    pub fn new(store: Arc<dyn QuotaStore>) -> Quotas {
        Quotas {
            store,
            chunks: Mutex::default(),
        }
    }

    /// Takes `records` of what `key` may upload in this minute: all of them or none. Nothing is taken where there is no
    /// quota or no record.
    pub async fn take(&self, key: &Key, records: usize) -> Result<Option<Taken>, QuotaError> {
        let (Some(quota), true) = (key.quota, records > 0) else {
            return Ok(None);
        };
        let records = u32::try_from(records)
            .ok()
            .filter(|records| *records <= quota.get())
            .ok_or(QuotaError::TooSmall { quota })?;
        let chunk = self.chunk(&key.id);
        let late = |_| Away("no chunk of the quota in time".to_owned());
        let ends = timeout(WAIT, self.take_of(&chunk, key, quota, records))
            .await
            .map_err(late)??;
        Ok(Some(Taken { chunk, ends }))
    }

    /// When the minute ends of which they are taken.
    async fn take_of(
        &self,
        chunk: &tokio::sync::Mutex<Chunk>,
        key: &Key,
        quota: NonZeroU32,
        records: u32,
    ) -> Result<Instant, QuotaError> {
        let mut chunk = chunk.lock().await;
        for _ in 0..ATTEMPTS {
            let asked = Instant::now();
            match chunk.take(records, asked) {
                Take::Taken => return Ok(chunk.ends().unwrap_or(asked)),
                Take::Exhausted { wait } => return Err(QuotaError::Exhausted { seconds: seconds(wait) }),
                Take::Ask { needed } => {
                    let wanted = Reservation {
                        key: key.id.clone(),
                        needed,
                        chunk: needed.max(quota.get() / CHUNKS),
                        quota: quota.get(),
                    };
                    let reserved = self.store.reserve(wanted).await?;
                    chunk.add(reserved, asked);
                }
            }
        }
        Err(Away("the quota's minute ends too soon, again and again".to_owned()).into())
    }

    fn chunk(&self, id: &str) -> Arc<tokio::sync::Mutex<Chunk>> {
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunk) = chunks.get(id) {
            return chunk.clone();
        }
        if chunks.len() >= MOST {
            let now = Instant::now();
            chunks.retain(|_, chunk| chunk.try_lock().map_or(true, |chunk| chunk.is_good_at(now)));
        }
        let chunk = Arc::default();
        if chunks.len() < MOST {
            chunks.insert(id.to_owned(), Arc::clone(&chunk));
        }
        chunk
    }
}

/// Whole seconds, one at least.
fn seconds(wait: Duration) -> u32 {
    let whole = wait.as_millis().div_ceil(1000).max(1);
    u32::try_from(whole).unwrap_or(u32::MAX)
}
