//! What asks for replicas at least, beside the lag: what the pods use, and the hour. Pure.

use serde::{Deserialize, Serialize};

use super::decide::{Ask, Reason};

/// Replicas at least, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Floor {
    /// How many.
    pub replicas: i32,
    /// Why, in a word for machines.
    pub reason: Reason,
    /// The numbers behind it.
    pub message: String,
}

/// The highest of the floors, no higher than `max`, where it is above what is asked for.
pub(super) fn raise(ask: Ask, floors: &[Floor], max: i32) -> Ask {
    let highest = floors.iter().max_by_key(|floor| floor.replicas);
    let Some(floor) = highest.filter(|floor| floor.replicas.min(max) > ask.replicas) else {
        return ask;
    };
    Ask::new(floor.replicas.min(max), floor.reason, floor.message.clone())
}
