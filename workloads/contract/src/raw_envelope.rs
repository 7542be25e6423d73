//! The envelope with its records as text, for those who pass them on: see
//! [`Envelope`](crate::Envelope) for the form.

use crate::{
    Sender,
    message::{ENVELOPE_VERSION, EnvelopeError, MAX_RECORDS, check_sender},
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use uuid::Uuid;

/// An [`Envelope`](crate::Envelope) of this release's version whose records are text.
#[derive(Debug, Clone)]
pub struct RawEnvelope<'a> {
    /// Who sent them.
    pub sender: Sender<'a>,
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
        if records.len() > MAX_RECORDS {
            return Err(EnvelopeError::TooMany);
        }
        let sender = Sender {
            tenant: incoming.tenant,
            user: incoming.user,
            device: incoming.device,
            batch_id: incoming.batch_id,
            received_at: incoming.received_at,
        };
        Ok(RawEnvelope { sender, records })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Envelope, Source};
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
                let texts: Vec<&str> = raw.records.iter().map(|record| record.get()).collect();
                assert_eq!(raw.sender.encode(source, &texts), message);
                assert_eq!(raw.sender.user, envelope.user);
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
            with("records", json!(vec![0; MAX_RECORDS + 1])),
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
