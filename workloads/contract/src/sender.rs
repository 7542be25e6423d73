//! Who sent the records of one message, and when: what an envelope says beside its records.

use crate::{Source, message::ENVELOPE_VERSION};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::borrow::Cow;
use uuid::Uuid;

/// More than an envelope takes beside its records, its user and its device, bytes.
const FRAME: usize = 256;

/// Who sent the records of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender<'a> {
    /// Tenant of the client.
    pub tenant: Cow<'a, str>,
    /// User, also the message key.
    pub user: Cow<'a, str>,
    /// Device of the user.
    pub device: Cow<'a, str>,
    /// Upload that brought the records.
    pub batch_id: Uuid,
    /// When the producer took it.
    pub received_at: DateTime<Utc>,
}

/// As it is written, before the records.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outgoing<'a> {
    v: u32,
    tenant: &'a str,
    user: &'a str,
    device: &'a str,
    batch_id: Uuid,
    received_at: DateTime<Utc>,
}

impl Sender<'_> {
    /// The message value for a topic of `source`, with these records, each JSON. Only `events_log` takes the form with
    /// one record.
    pub fn encode(&self, source: Source, records: &[&str]) -> Vec<u8> {
        let texts: usize = records.iter().map(|record| record.len() + 1).sum();
        let mut message = Vec::with_capacity(FRAME + self.tenant.len() + self.user.len() + self.device.len() + texts);
        let outgoing = Outgoing {
            v: ENVELOPE_VERSION,
            tenant: &self.tenant,
            user: &self.user,
            device: &self.device,
            batch_id: self.batch_id,
            received_at: self.received_at,
        };
        // Serialising strings and numbers into memory cannot fail.
        let _ = serde_json::to_writer(&mut message, &outgoing);
        // The records come last.
        message.pop();
        match (source.batched(), records) {
            (false, [record]) => {
                message.extend_from_slice(b",\"record\":");
                message.extend_from_slice(record.as_bytes());
            }
            (_, records) => {
                message.extend_from_slice(b",\"records\":[");
                for (place, record) in records.iter().enumerate() {
                    if place > 0 {
                        message.push(b',');
                    }
                    message.extend_from_slice(record.as_bytes());
                }
                message.push(b']');
            }
        }
        message.push(b'}');
        message
    }
}
