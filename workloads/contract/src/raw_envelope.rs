//! The envelope with its records as text, for those who write it and those who pass them on: see
//! [`Envelope`](crate::Envelope) for the form.

use crate::{
    Source,
    message::{ENVELOPE_VERSION, EnvelopeError, check_sender},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use uuid::Uuid;

/// More than an envelope takes beside its records, its user and its device, bytes.
const FRAME: usize = 256;

/// An [`Envelope`](crate::Envelope) of this release's version whose records are text.
#[derive(Debug, Clone)]
pub struct RawEnvelope<'a> {
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
    /// The records.
    pub records: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an envelope")]
struct Incoming<'a> {
    v: u32,
    #[serde(borrow)]
    tenant: Cow<'a, str>,
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    device: Cow<'a, str>,
    batch_id: Uuid,
    received_at: DateTime<Utc>,
    #[serde(default, borrow)]
    records: Option<Vec<&'a RawValue>>,
    #[serde(default, borrow)]
    record: Option<&'a RawValue>,
}

/// What an envelope says beside its records, to be written before them.
#[derive(Debug, Clone, Copy)]
pub struct Heading<'a> {
    /// Tenant of the client.
    pub tenant: &'a str,
    /// User, also the message key.
    pub user: &'a str,
    /// Device of the user.
    pub device: &'a str,
    /// Upload that brings the records.
    pub batch_id: Uuid,
    /// When the producer takes it.
    pub received_at: DateTime<Utc>,
}

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

impl Heading<'_> {
    /// The message value for a topic of `source`, with these records, each JSON. Only `events_log` takes the form with
    /// one record.
    pub fn encode(&self, source: Source, records: &[&str]) -> Vec<u8> {
        let texts: usize = records.iter().map(|record| record.len() + 1).sum();
        let mut message = Vec::with_capacity(FRAME + self.tenant.len() + self.user.len() + self.device.len() + texts);
        let outgoing = Outgoing {
            v: ENVELOPE_VERSION,
            tenant: self.tenant,
            user: self.user,
            device: self.device,
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

impl<'a> RawEnvelope<'a> {
    /// Reads a message value of either form. What is within a record is looked at no further than to find its end.
    pub fn decode(value: &'a [u8]) -> Result<RawEnvelope<'a>, EnvelopeError> {
        let incoming: Incoming<'a> = match std::str::from_utf8(value) {
            Ok(text) => serde_json::from_str(text)?,
            Err(_) => serde_json::from_slice(value)?,
        };
        if incoming.v != ENVELOPE_VERSION {
            return Err(EnvelopeError::Version(incoming.v));
        }
        check_sender(&incoming.tenant, &incoming.user, &incoming.device)?;
        let records = match (incoming.records, incoming.record) {
            (Some(records), None) => records,
            (None, Some(record)) => vec![record],
            _ => return Err(EnvelopeError::Records),
        };
        Ok(RawEnvelope {
            tenant: incoming.tenant,
            user: incoming.user,
            device: incoming.device,
            batch_id: incoming.batch_id,
            received_at: incoming.received_at,
            records,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Envelope;
    use serde_json::{Value, json};

    #[test]
    fn it_is_the_same_message_with_and_without_values() {
        let records = [json!({"a": [1, "é\n"]}), json!({"b": null})];
        for source in Source::ALL {
            for records in [&records[..], &records[..1], &[]] {
                let envelope = Envelope {
                    version: ENVELOPE_VERSION,
                    tenant: "default".into(),
                    user: "u\"1\"".into(),
                    device: "d".into(),
                    batch_id: Uuid::from_u128(1),
                    received_at: DateTime::from_timestamp(1_700_000_000, 5_000_000).unwrap(),
                    records: records.to_vec(),
                };
                let message = envelope.clone().encode(source);
                let raw = RawEnvelope::decode(&message).unwrap();
                let heading = Heading {
                    tenant: &raw.tenant,
                    user: &raw.user,
                    device: &raw.device,
                    batch_id: raw.batch_id,
                    received_at: raw.received_at,
                };
                let texts: Vec<&str> = raw.records.iter().map(|record| record.get()).collect();
                assert_eq!(heading.encode(source, &texts), message);
                assert_eq!(raw.user, envelope.user);
                let values: Vec<Value> = raw
                    .records
                    .iter()
                    .map(|record| serde_json::from_str(record.get()).unwrap())
                    .collect();
                assert_eq!(values, records);
            }
        }
    }

    #[test]
    fn what_is_no_envelope_is_refused_with_the_same_words() {
        let good = json!({
            "v": 1, "tenant": "t", "user": "u", "device": "d", "batchId": Uuid::nil(),
            "receivedAt": "2023-11-14T22:13:20Z", "records": [],
        });
        let with = |name: &str, value: Value| {
            let mut changed = good.clone();
            changed[name] = value;
            changed.to_string().into_bytes()
        };
        let mut cases = vec![
            b"{".to_vec(),
            b"\xff".to_vec(),
            b"[]".to_vec(),
            good.to_string().into_bytes().split_last().unwrap().1.to_vec(),
            with("v", json!(2)),
            with("v", json!("1")),
            with("tenant", json!(null)),
            with("tenant", json!("")),
            with("user", json!("a\0")),
            with("device", json!("x".repeat(257))),
            with("batchId", json!("x")),
            with("receivedAt", json!(0)),
            with("records", json!(null)),
            with("records", json!({})),
            with("record", json!({})),
        ];
        let mut broken = with("device", json!("\u{fffd}"));
        let place = broken.iter().position(|byte| *byte == 0xef).unwrap();
        broken[place] = 0xff;
        cases.push(broken);
        for case in cases {
            let text = String::from_utf8_lossy(&case).into_owned();
            let wanted = Envelope::decode(&case).map(drop).unwrap_err().to_string();
            let error = RawEnvelope::decode(&case).map(drop).unwrap_err().to_string();
            assert_eq!(error, wanted, "{text}");
        }
    }
}
