//! Whether a store works, as those find who write to it at the same time: one that fails for one of them is not ready,
//! whatever the others say.

use runtime::health::Health;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Readiness of the stores.
#[derive(Clone)]
pub struct StoreHealth {
    health: Health,
    /// What each lane reported last, where that was a failure.
    failures: Arc<Mutex<BTreeMap<(&'static str, usize), String>>>,
}

impl StoreHealth {
    /// Nobody has reported anything.
    pub fn new(health: Health) -> StoreHealth {
        StoreHealth {
            health,
            failures: Arc::default(),
        }
    }

    /// The store took what this lane wrote.
    pub fn works(&self, store: &'static str, lane: usize) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&(store, lane));
        let other = failures.iter().find(|((failing, _), _)| *failing == store);
        self.health
            .set(store, other.map_or(Ok(()), |(_, reason)| Err(reason.clone())));
    }

    /// The store did not take what this lane wrote.
    pub fn fails(&self, store: &'static str, lane: usize, reason: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.insert((store, lane), reason.to_owned());
        self.health.set(store, Err(reason.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_ready_once_it_works_for_everybody() {
        let health = Health::new(&["store"]);
        let stores = StoreHealth::new(health.clone());
        let is_ready = || health.readiness().ready;
        stores.works("store", 0);
        assert!(is_ready());
        stores.fails("store", 1, "no such table");
        stores.works("store", 0);
        assert!(!is_ready());
        stores.works("store", 1);
        assert!(is_ready());
    }
}
