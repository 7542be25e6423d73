//! The envelope on the topics, and the HTTP request and answer in front of them.

use crate::{FieldError, Receipt, Source};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::RangeInclusive;
use uuid::Uuid;

/// Version of the envelope that this release writes.
pub const ENVELOPE_VERSION: u32 = 1;

/// Tenant of the clients of a producer that has no other.
pub const DEFAULT_TENANT: &str = "default";

/// Most records in one upload.
pub const MAX_RECORDS: usize = 1000;
/// Longest `user` and `device`, bytes.
pub const MAX_IDENTIFIER: usize = 256;
/// Longest body of an upload, bytes.
pub const MAX_BODY: usize = 1024 * 1024;

/// One Kafka message. On a batched topic it holds one upload of one user's device (`records`), on
/// `events_log` one event (`record`). The message key is the user.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Version, see [`ENVELOPE_VERSION`].
    pub version: u32,
    /// Tenant of the client.
    pub tenant: String,
    /// User, also the message key.
    pub user: String,
    /// Device of the user.
    pub device: String,
    /// Upload that brought the records.
    pub batch_id: Uuid,
    /// When the producer took it.
    pub received_at: DateTime<Utc>,
    /// The records as the client sent them.
    pub records: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an envelope")]
struct Wire {
    v: u32,
    tenant: String,
    user: String,
    device: String,
    batch_id: Uuid,
    received_at: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    records: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<Value>,
}

/// A message that is no envelope.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, or a field is missing or of the wrong type.
    #[error("not an envelope: {0}")]
    Json(#[from] serde_json::Error),
    /// Written by a newer release.
    #[error("envelope version {0} is not known here; this release reads version {ENVELOPE_VERSION}")]
    Version(u32),
    /// A tenant, user or device that no upload has.
    #[error("not an envelope: {0} must be a string of 1 to {MAX_IDENTIFIER} bytes without U+0000")]
    Identifier(&'static str),
    /// Neither or both of `records` and `record`.
    #[error("an envelope holds either `records` or `record`")]
    Records,
    /// More records than an upload may have.
    #[error("an envelope holds {MAX_RECORDS} records at most")]
    TooMany,
}

/// Bytes of a tenant, a user or a device.
pub(crate) const IDENTIFIER: RangeInclusive<usize> = 1..=MAX_IDENTIFIER;

/// Whether this may be a tenant, a user or a device: both stores take it, and PostgreSQL's index does.
fn is_identifier(text: &str) -> bool {
    IDENTIFIER.contains(&text.len()) && !text.contains('\0')
}

/// Checks who sent an envelope's records.
pub(crate) fn check_sender(tenant: &str, user: &str, device: &str) -> Result<(), EnvelopeError> {
    match [("tenant", tenant), ("user", user), ("device", device)]
        .iter()
        .find(|(_, text)| !is_identifier(text))
    {
        Some((field, _)) => Err(EnvelopeError::Identifier(field)),
        None => Ok(()),
    }
}

impl Envelope {
    /// The message value for a topic of `source`. Only `events_log` takes the form with one record.
    pub fn encode(self, source: Source) -> Vec<u8> {
        let Envelope {
            version,
            tenant,
            user,
            device,
            batch_id,
            received_at,
            mut records,
        } = self;
        let (records, record) = match (source.batched(), records.len()) {
            (false, 1) => (None, records.pop()),
            _ => (Some(records), None),
        };
        let wire = Wire {
            v: version,
            tenant,
            user,
            device,
            batch_id,
            received_at,
            records,
            record,
        };
        // Serialising strings, numbers and maps with string keys into memory cannot fail.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// Reads a message value of either form.
    pub fn decode(value: &[u8]) -> Result<Envelope, EnvelopeError> {
        let wire: Wire = serde_json::from_slice(value)?;
        if wire.v != ENVELOPE_VERSION {
            return Err(EnvelopeError::Version(wire.v));
        }
        check_sender(&wire.tenant, &wire.user, &wire.device)?;
        let records = match (wire.records, wire.record) {
            (Some(records), None) => records,
            (None, Some(record)) => vec![record],
            _ => return Err(EnvelopeError::Records),
        };
        if records.len() > MAX_RECORDS {
            return Err(EnvelopeError::TooMany);
        }
        Ok(Envelope {
            version: wire.v,
            tenant: wire.tenant,
            user: wire.user,
            device: wire.device,
            batch_id: wire.batch_id,
            received_at: wire.received_at,
            records,
        })
    }
}

/// Body of `POST /v1/sync/{source}`. A single record may also be sent as `record: {…}` in place of `records: […]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncRequest {
    /// User, 1 to 256 bytes.
    pub user: String,
    /// Device, 1 to 256 bytes.
    pub device: String,
    /// The client's id of this upload; the producer makes one where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<Uuid>,
    /// 1 to 1,000 records of the route's source.
    pub records: Vec<Value>,
}

/// Answer to [`SyncRequest`], sent once it is known of every record what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncResponse {
    /// The upload.
    pub batch_id: Uuid,
    /// A result a record, in the order of the request.
    pub results: Vec<RecordResult>,
}

/// What became of one record of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum RecordResult {
    /// Kafka has it.
    Stored {
        /// Where, and under which identity.
        receipt: Receipt,
    },
    /// It can never be stored as it is.
    Invalid {
        /// Path of the field in the request, for example `records[3].timestamp`.
        field: String,
        /// What is wrong and what is wanted. Never the value itself.
        problem: String,
    },
    /// Not acknowledged: it may or may not be stored. Sent again as it is, it is stored once.
    Retry {
        /// Stable name of the reason, for example `queue_full`.
        reason: String,
    },
}

impl SyncResponse {
    /// The receipts of the records that are stored, in the order of the request.
    pub fn receipts(&self) -> impl Iterator<Item = &Receipt> {
        self.results.iter().filter_map(|result| match result {
            RecordResult::Stored { receipt } => Some(receipt),
            RecordResult::Invalid { .. } | RecordResult::Retry { .. } => None,
        })
    }

    /// Whether a record has to be sent again.
    pub fn has_retry(&self) -> bool {
        let retry = |result: &RecordResult| matches!(result, RecordResult::Retry { .. });
        self.results.iter().any(retry)
    }
}

impl From<FieldError> for RecordResult {
    fn from(error: FieldError) -> RecordResult {
        RecordResult::Invalid {
            field: error.field,
            problem: error.problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn envelope(records: Vec<Value>) -> Envelope {
        Envelope {
            version: ENVELOPE_VERSION,
            tenant: "default".into(),
            user: "u".into(),
            device: "d".into(),
            batch_id: Uuid::from_u128(1),
            received_at: DateTime::from_timestamp(1_700_000_000, 0).unwrap(),
            records,
        }
    }

    #[test]
    fn both_forms_survive_the_wire() {
        for source in Source::ALL {
            let one = envelope(vec![json!({"id": 1})]);
            assert_eq!(Envelope::decode(&one.clone().encode(source)).unwrap(), one);
        }
    }

    #[test]
    fn an_event_travels_as_record_and_an_upload_as_records() {
        let event = String::from_utf8(envelope(vec![json!({"id": 1})]).encode(Source::Events)).unwrap();
        assert_eq!(
            event,
            r#"{"v":1,"tenant":"default","user":"u","device":"d","batchId":"00000000-0000-0000-0000-000000000001","receivedAt":"2023-11-14T22:13:20Z","record":{"id":1}}"#
        );
        let upload = String::from_utf8(envelope(vec![json!({"id": 1})]).encode(Source::Sms)).unwrap();
        assert!(upload.contains(r#""records":[{"id":1}]"#), "{upload}");
    }

    #[test]
    fn a_sender_that_no_upload_has_is_refused_by_its_field() {
        let refused = |change: fn(&mut Envelope)| {
            let mut changed = envelope(vec![]);
            change(&mut changed);
            Envelope::decode(&changed.encode(Source::Sms)).unwrap_err().to_string()
        };
        let words = |field: &str| format!("not an envelope: {field} must be a string of 1 to 256 bytes without U+0000");
        assert_eq!(refused(|envelope| envelope.tenant.clear()), words("tenant"));
        assert_eq!(refused(|envelope| envelope.user.push('\0')), words("user"));
        assert_eq!(
            refused(|envelope| envelope.device = "d".repeat(MAX_IDENTIFIER + 1)),
            words("device")
        );
    }

    #[test]
    fn a_newer_version_is_refused_by_name() {
        let mut newer = envelope(vec![]);
        newer.version = 2;
        let error = Envelope::decode(&newer.encode(Source::Sms)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "envelope version 2 is not known here; this release reads version 1"
        );
    }

    #[test]
    fn a_result_says_its_status_first() {
        let receipt = Receipt {
            cluster: "c".into(),
            topic: "t".into(),
            partition: 1,
            offset: 2,
            index: 3,
            record_id: Uuid::from_u128(4),
        };
        let answer = SyncResponse {
            batch_id: Uuid::from_u128(1),
            results: vec![
                RecordResult::Stored {
                    receipt: receipt.clone(),
                },
                RecordResult::Invalid {
                    field: "records[1].body".into(),
                    problem: "is missing".into(),
                },
                RecordResult::Retry {
                    reason: "queue_full".into(),
                },
            ],
        };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"batchId":"00000000-0000-0000-0000-000000000001","results":[{"status":"stored","receipt":{"cluster":"c","topic":"t","partition":1,"offset":2,"index":3,"recordId":"00000000-0000-0000-0000-000000000004"}},{"status":"invalid","field":"records[1].body","problem":"is missing"},{"status":"retry","reason":"queue_full"}]}"#
        );
        assert_eq!(answer.receipts().collect::<Vec<_>>(), [&receipt]);
        assert!(answer.has_retry());
    }
}
