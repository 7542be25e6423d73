//! Installed applications and facts about the device.

use crate::people::word;
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

const PUBLISHERS: &[&str] = &[
    "com.sunbird",
    "io.kiteapps",
    "org.openfarm",
    "com.metrogo",
    "ph.tindahan",
    "ng.sharp",
];
const APPS: &[&str] = &[
    "wallet", "chat", "maps", "radio", "notes", "camera", "keyboard", "market", "scores", "weather",
];
const MODELS: &[&str] = &[
    "Lumo A12",
    "Lumo A32",
    "Tekra Spark 9",
    "Orion Y20",
    "Pico C33",
    "Galena M14",
];

pub(super) fn app_or_device(rng: &mut StdRng) -> Value {
    if rng.random_bool(0.06) {
        return json!({
            "kind": "device",
            "name": word(rng, MODELS),
            "version": format!("Android {}", rng.random_range(8..16)),
            "ramMegabytes": rng.random_range(1..=8) * 1024,
            "freeStorageMegabytes": rng.random_range(100..64_000),
            "rooted": rng.random_bool(0.02),
            "timeZoneMinutes": word(rng, &["+330", "+180", "+480", "+420", "+60"]),
        });
    }
    json!({
        "kind": "app",
        "name": format!("{}.{}{}", word(rng, PUBLISHERS), word(rng, APPS), rng.random_range(1..40)),
        "version": format!("{}.{}.{}", rng.random_range(0..12), rng.random_range(0..30), rng.random_range(0..200)),
        "system": rng.random_bool(0.3),
        "installedDaysAgo": rng.random_range(0..900),
    })
}
