//! Which parts of a workload are ready, and why the others are not.

use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Readiness of a workload: ready when every part is, and not draining. Clones share the state.
#[derive(Debug, Clone)]
pub struct Health {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    parts: BTreeMap<&'static str, Result<(), String>>,
    draining: bool,
}

/// What `/ready` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Whether traffic is welcome.
    pub ready: bool,
    /// Whether the workload is on its way out.
    pub draining: bool,
    /// The parts that are not ready.
    pub not_ready: Vec<NotReady>,
}

/// A part that is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// Name of the part, for example `kafka`.
    pub part: &'static str,
    /// Why.
    pub reason: String,
}

impl Health {
    /// A workload of these parts, none of them ready yet.
    pub fn new(parts: &[&'static str]) -> Health {
        let parts = parts
            .iter()
            .map(|part| (*part, Err("not checked yet".to_owned())))
            .collect();
        Health {
            state: Arc::new(Mutex::new(State { parts, draining: false })),
        }
    }

    /// Sets what a part's last check found. A change is logged once.
    pub fn set(&self, part: &'static str, outcome: Result<(), String>) {
        let before = self.lock().parts.insert(part, outcome.clone());
        if before.as_ref() != Some(&outcome) {
            match outcome {
                Ok(()) => tracing::info!(part, "ready"),
                Err(reason) => tracing::warn!(part, reason, "not ready"),
            }
        }
    }

    /// Turns the workload not ready for good, so that no new traffic is sent to it.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// Whether the workload is on its way out.
    pub fn draining(&self) -> bool {
        self.lock().draining
    }

    /// The state of all parts.
    pub fn readiness(&self) -> Readiness {
        let state = self.lock();
        let not_ready: Vec<NotReady> = state
            .parts
            .iter()
            .filter_map(|(part, outcome)| {
                Some(NotReady {
                    part,
                    reason: outcome.as_ref().err()?.clone(),
                })
            })
            .collect();
        Readiness {
            ready: not_ready.is_empty() && !state.draining,
            draining: state.draining,
            not_ready,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_every_part_and_not_draining() {
        let health = Health::new(&["kafka", "postgres"]);
        health.set("kafka", Ok(()));
        health.set("postgres", Err("connection refused".to_owned()));
        assert_eq!(
            serde_json::to_value(health.readiness()).unwrap(),
            serde_json::json!({
                "ready": false,
                "draining": false,
                "notReady": [{"part": "postgres", "reason": "connection refused"}],
            })
        );
        health.set("postgres", Ok(()));
        assert!(health.readiness().ready);
        health.drain();
        assert_eq!(
            health.readiness(),
            Readiness {
                ready: false,
                draining: true,
                not_ready: vec![]
            }
        );
    }
}
