//! What phones upload, a file for each source.

mod apps_and_device;
mod call_logs;
mod contacts;
mod events;
mod sms;

use crate::people::Person;
use chrono::{DateTime, TimeDelta, Utc};
use contract::Source;
use rand::{RngExt, rngs::StdRng};
use serde_json::Value;
use std::ops::RangeInclusive;
use uuid::Builder;

/// Records that an upload of the source usually has.
pub fn usual(source: Source) -> RangeInclusive<u32> {
    match source {
        Source::Sms => 1..=8,
        Source::Events => 1..=6,
        Source::AppsAndDevice => 5..=30,
        Source::Contacts => 3..=25,
        Source::CallLogs => 1..=12,
    }
}

/// A record of the person, with a client id of its own.
pub fn record(source: Source, person: &Person, now: DateTime<Utc>, rng: &mut StdRng) -> Value {
    let mut record = match source {
        Source::Sms => sms::message(person, rng),
        Source::Events => events::event(person, rng),
        Source::AppsAndDevice => apps_and_device::app_or_device(rng),
        Source::Contacts => contacts::contact(person, rng),
        Source::CallLogs => call_logs::call(person, rng),
    };
    record["id"] = Builder::from_random_bytes(rng.random()).into_uuid().to_string().into();
    record["timestamp"] = when(now, rng);
    record
}

/// A moment of the last two days, in one of the two forms that phones write.
fn when(now: DateTime<Utc>, rng: &mut StdRng) -> Value {
    let time = now - TimeDelta::milliseconds(rng.random_range(0..172_800_000));
    if rng.random_bool(0.5) {
        time.timestamp_millis().into()
    } else {
        time.to_rfc3339().into()
    }
}
