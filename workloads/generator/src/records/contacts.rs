//! Address book entries.

use crate::people::{Person, full_name, phone, word};
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

const LABELS: &[&str] = &["", " (office)", " Uncle", " Bank", " Landlord", " 🏠"];

pub(super) fn contact(person: &Person, rng: &mut StdRng) -> Value {
    let numbers = rng.random_range(1..=3);
    json!({
        "name": format!("{}{}", full_name(rng, person.country), word(rng, LABELS)),
        "phones": (0..numbers).map(|_| phone(rng, person.country)).collect::<Vec<_>>(),
        "timesContacted": rng.random_range(0..400),
        "starred": rng.random_bool(0.1),
    })
}
