//! API keys: who may upload, as which tenant, and how much.
//!
//! - [`token`]: what a client sends, and what is kept of it
//! - [`store`]: the keys in PostgreSQL
//! - [`cache`]: what this replica knows of them, and for how long that holds
//! - [`command`]: `producer keys …`

pub mod cache;
pub mod command;
pub mod store;
pub mod token;

use crate::{database::Away, metrics::ProducerMetrics};
use actix_web::http::header::{self, HeaderMap};
use cache::{Entries, Look};
use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use store::KeyStore;
use token::{Hash, Token};
use tokio::{
    sync::Semaphore,
    time::{interval, timeout},
};

/// Between two readings of all keys that are in use. With the longest wait for an answer this keeps a revoked key from
/// being taken for longer than 30 seconds.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
/// Lookups at a time: whoever sends made-up keys must not use up the connections.
const LOOKUPS: usize = 4;
/// Longest wait for one of them.
const LOOKUP_WAIT: Duration = Duration::from_secs(1);

/// A key as PostgreSQL has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Public part.
    pub id: String,
    /// Hash of its secret.
    pub hash: Hash,
    /// Whose it is.
    pub client: String,
    /// Tenant of its uploads; the producer's own where it has none.
    pub tenant: Option<String>,
    /// Records a minute; no limit where it has none.
    pub quota: Option<NonZeroU32>,
}

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key, or one that is malformed, unknown, wrong or revoked. Which of these is nobody's business.
    #[error("no valid API key")]
    Refused,
    /// The key cannot be checked at the moment.
    #[error(transparent)]
    Away(#[from] Away),
    /// Too many keys are being looked up. PostgreSQL answers: nobody is taken by what was known once.
    #[error("too many API keys are being looked up")]
    Busy,
}

/// Tells whose request it is. Shared by all HTTP workers.
pub struct Keys {
    store: Arc<dyn KeyStore>,
    entries: Mutex<Entries>,
    lookups: Semaphore,
    metrics: ProducerMetrics,
}

impl Keys {
    /// Over `store`, with nothing known yet.
    pub fn new(store: Arc<dyn KeyStore>, metrics: ProducerMetrics) -> Keys {
        Keys {
            store,
            entries: Mutex::default(),
            lookups: Semaphore::new(LOOKUPS),
            metrics,
        }
    }

    /// The key that the request's `Authorization` header shows.
    pub async fn of_request(&self, headers: &HeaderMap) -> Result<Arc<Key>, KeyError> {
        let token = bearer(headers).ok_or(KeyError::Refused)?;
        let key = self.find(token.id()).await?;
        match key.filter(|key| token.matches(&key.hash)) {
            Some(key) => Ok(key),
            None => Err(KeyError::Refused),
        }
    }

    /// The key as it is now, of a request that began with it and has taken its time since.
    pub async fn still(&self, key: &Key) -> Result<Arc<Key>, KeyError> {
        let found = self.find(&key.id).await?;
        found.filter(|found| found.hash == key.hash).ok_or(KeyError::Refused)
    }

    async fn find(&self, id: &str) -> Result<Option<Arc<Key>>, KeyError> {
        let stale = match self.entries().look(id, Instant::now()) {
            Look::Known(key) => {
                self.metrics.key_lookup("cached");
                return Ok(Some(key));
            }
            Look::Unknown => {
                self.metrics.key_lookup("cached");
                return Ok(None);
            }
            Look::Stale(key) => Some(key),
            Look::Missing => None,
        };
        match self.look_up(id).await {
            Ok(key) => {
                self.metrics.key_lookup(if key.is_some() { "found" } else { "unknown" });
                Ok(key)
            }
            // Known not long ago: better than to turn away every client while PostgreSQL restarts.
            Err(error) => {
                self.metrics.key_lookup("unavailable");
                match (stale, error) {
                    (Some(key), KeyError::Away(_)) => Ok(Some(key)),
                    (_, error) => Err(error),
                }
            }
        }
    }

    async fn look_up(&self, id: &str) -> Result<Option<Arc<Key>>, KeyError> {
        let asked = Instant::now();
        let _permit = timeout(LOOKUP_WAIT, self.lookups.acquire())
            .await
            .map_err(|_| KeyError::Busy)?
            .map_err(|_| KeyError::Busy)?;
        let found = self.store.find(vec![id.to_owned()]).await?;
        let mut entries = self.entries();
        entries.learn(&[id.to_owned()], found, asked);
        Ok(match entries.look(id, asked) {
            Look::Known(key) => Some(key),
            _ => None,
        })
    }

    /// Reads the keys that are in use again and again, so that a revoked one is found out, and one request in so many
    /// need not wait for it. Never returns.
    pub async fn keep_fresh(&self) {
        let mut ticks = interval(REFRESH_INTERVAL);
        loop {
            ticks.tick().await;
            self.refresh().await;
        }
    }

    /// Reads the keys that are in use. What cannot be read grows old.
    pub async fn refresh(&self) {
        let asked = Instant::now();
        let ids = self.entries().in_use(asked);
        if ids.is_empty() {
            return;
        }
        match self.store.find(ids.clone()).await {
            Ok(found) => self.entries().learn(&ids, found, asked),
            Err(error) => tracing::debug!(%error, keys = ids.len(), "API keys are not refreshed"),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The token of `Authorization: Bearer …`. A request with two of these headers has none.
fn bearer(headers: &HeaderMap) -> Option<Token> {
    let mut values = headers.get_all(header::AUTHORIZATION);
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if values.next().is_some() || !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    token.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::BoxFuture};

    /// Never answers.
    struct Hanging;

    impl KeyStore for Hanging {
        fn find(&self, _: Vec<String>) -> BoxFuture<'_, Result<Vec<Key>, Away>> {
            std::future::pending().boxed()
        }
    }

    #[tokio::test]
    async fn a_stale_key_is_not_taken_because_others_are_looked_up() {
        let token = Token::random();
        let key = Key {
            id: token.id().to_owned(),
            hash: token.hash(),
            client: "phones".to_owned(),
            tenant: None,
            quota: None,
        };
        let metrics = ProducerMetrics::register().unwrap();
        let keys = Keys::new(Arc::new(Hanging), metrics);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        keys.entries()
            .learn(std::slice::from_ref(&key.id), vec![key.clone()], long_ago);
        let _all = keys.lookups.acquire_many(LOOKUPS as u32).await.unwrap();
        assert_eq!(keys.still(&key).await, Err(KeyError::Busy));
    }
}
