//! Application events.

use crate::people::{Person, word};
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

const SCREENS: &[&str] = &[
    "home",
    "accounts",
    "transfer",
    "history",
    "profile",
    "loan_offer",
    "support",
];
const NETWORKS: &[&str] = &["wifi", "4g", "3g", "5g", "2g"];

pub(super) fn event(person: &Person, rng: &mut StdRng) -> Value {
    let (name, details) = match rng.random_range(0..100) {
        0..20 => ("app_open", json!({"cold": rng.random_bool(0.3)})),
        20..55 => (
            "screen_view",
            json!({"screen": word(rng, SCREENS), "millis": rng.random_range(150..60_000)}),
        ),
        55..75 => (
            "button_tap",
            json!({"screen": word(rng, SCREENS), "position": rng.random_range(0..12)}),
        ),
        75..83 => (
            "login",
            json!({"method": word(rng, &["pin", "fingerprint", "password"])}),
        ),
        83..90 => (
            "payment_started",
            json!({"amount": rng.random_range(1..person.country.usual_amount * 3), "currency": person.country.currency.trim()}),
        ),
        90..95 => (
            "permission_answer",
            json!({"permission": "READ_SMS", "granted": rng.random_bool(0.7)}),
        ),
        _ => (
            "request_failed",
            json!({"status": rng.random_range(500..505), "millis": rng.random_range(20..30_000)}),
        ),
    };
    json!({
        "name": name,
        "session": format!("{:08x}", rng.random::<u32>()),
        "network": word(rng, NETWORKS),
        "battery": rng.random_range(1..=100),
        "details": details,
    })
}
