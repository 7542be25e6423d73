//! Calls.

use crate::people::{Person, phone, word};
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

pub(super) fn call(person: &Person, rng: &mut StdRng) -> Value {
    let direction = word(rng, &["incoming", "outgoing", "outgoing", "missed"]);
    let seconds = match direction {
        "missed" => 0,
        // Most calls are short, a few are long.
        _ => rng.random_range(1..60) * rng.random_range(1..30),
    };
    json!({
        "number": phone(rng, person.country),
        "direction": direction,
        "durationSeconds": seconds,
        "simSlot": rng.random_range(0..2),
    })
}
