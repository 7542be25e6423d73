//! From the body of a request to validated Kafka messages.

mod request;

use crate::refusal::Refusal;
use chrono::{DateTime, Utc};
use contract::{FieldError, RawEnvelope, Reading, RecordId, Source, identity::Origin, reading::ReadingError};
use request::{Records, Request, malformed};
use serde_json::value::RawValue;
use std::borrow::Cow;
use uuid::Uuid;

/// An upload, ready to be written. The parsed JSON is gone, so that what waits for Kafka is as small as it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The upload's id, the client's or a new one.
    pub batch_id: Uuid,
    /// The user, key of every message.
    pub user: String,
    /// The messages of the good records: one for all of them where the source is batched, else one for each. None
    /// where no record is good.
    pub messages: Vec<Vec<u8>>,
    /// What is known of each record, in the order of the request.
    pub records: Vec<Result<Placed, FieldError>>,
}

/// A good record, and where it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Identity of the record.
    pub record_id: RecordId,
    /// Its message, by number.
    pub message: usize,
    /// Its place in the message.
    pub index: i32,
}

impl Upload {
    /// How many records are good.
    pub fn good(&self) -> usize {
        self.records.iter().flatten().count()
    }

    /// Checks the body and makes the messages. What is wrong with the upload as a whole refuses it; what is wrong with
    /// a record leaves out that record alone.
    pub fn parse(source: Source, tenant: &str, body: &[u8], received_at: DateTime<Utc>) -> Result<Upload, Refusal> {
        let request = Request::read(body)?;
        let (user, device) = (request.user, request.device);
        let batch_id = request.batch_id.unwrap_or_else(Uuid::new_v4);
        let origin = Origin::new(tenant, source, &user, &device);
        let mut good = Vec::new();
        let mut check = |path: &dyn Fn() -> String, record| {
            let reading = match Reading::of(source, record) {
                Ok(reading) => reading,
                Err(ReadingError::Field(error)) => return Ok(Err(within(path(), error))),
                // Found no sooner, because until now it was only looked at for its end.
                Err(ReadingError::Json(error)) => return Err(malformed(body, error)),
            };
            let place = good.len();
            good.push(reading.text);
            // At most as many as MAX_RECORDS.
            let (message, index) = match source.batched() {
                true => (0, place as i32),
                false => (place, 0),
            };
            Ok(Ok(Placed {
                record_id: origin.record_id(&reading.id),
                message,
                index,
            }))
        };
        let records = match request.records {
            Records::One(record) => vec![check(&|| "record".to_owned(), record)?],
            Records::Many(records) => records
                .into_iter()
                .enumerate()
                .map(|(index, record)| check(&|| format!("records[{index}]"), record))
                .collect::<Result<_, _>>()?,
        };
        let envelope = |records: &[Cow<'_, RawValue>]| {
            let envelope = RawEnvelope {
                tenant: tenant.into(),
                user: user.as_ref().into(),
                device: device.as_ref().into(),
                batch_id,
                received_at,
                records: records.iter().map(AsRef::as_ref).collect(),
            };
            envelope.encode(source)
        };
        let messages = match source.batched() {
            true if good.is_empty() => vec![],
            true => vec![envelope(&good)],
            false => good.chunks(1).map(envelope).collect(),
        };
        Ok(Upload {
            batch_id,
            user: user.into_owned(),
            messages,
            records,
        })
    }
}

/// The error by its path in the request.
fn within(record: String, error: FieldError) -> FieldError {
    let field = match error.field.as_str() {
        "" => record,
        field => format!("{record}.{field}"),
    };
    FieldError {
        field,
        problem: error.problem,
    }
}

fn wrong(field: &str, problem: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{
        Envelope, identity,
        message::{MAX_IDENTIFIER, MAX_RECORDS},
    };
    use serde_json::{Value, json};

    fn parse(source: Source, body: &Value) -> Result<Upload, Refusal> {
        Upload::parse(source, "default", body.to_string().as_bytes(), DateTime::UNIX_EPOCH)
    }

    fn sms(id: &str) -> Value {
        json!({"id": id, "timestamp": 0, "sender": "BANK", "body": "debited"})
    }

    #[test]
    fn a_batched_source_makes_one_message_and_events_one_each() {
        let body = json!({"user": "u", "device": "d", "batchId": Uuid::from_u128(7), "records": [sms("1"), sms("2")]});
        let upload = parse(Source::Sms, &body).unwrap();
        assert_eq!(upload.batch_id, Uuid::from_u128(7));
        assert_eq!(upload.user, "u");
        assert_eq!(upload.messages.len(), 1);
        let envelope = Envelope::decode(&upload.messages[0]).unwrap();
        assert_eq!(envelope.records, [sms("1"), sms("2")]);
        let record_id = identity::record_id("default", Source::Sms, "u", "d", &sms("2"));
        let (message, index) = (0, 1);
        assert_eq!(
            upload.records[1],
            Ok(Placed {
                record_id,
                message,
                index
            })
        );

        let event = |id: u32| json!({"id": id, "timestamp": 0, "name": "open"});
        let body = json!({"user": "u", "device": "d", "records": [event(1), event(2), event(3)]});
        let upload = parse(Source::Events, &body).unwrap();
        assert_eq!(upload.messages.len(), 3);
        assert_eq!(Envelope::decode(&upload.messages[2]).unwrap().records, [event(3)]);
        let places: Vec<_> = upload
            .records
            .iter()
            .flatten()
            .map(|record| (record.message, record.index))
            .collect();
        assert_eq!(places, [(0, 0), (1, 0), (2, 0)]);
    }

    #[test]
    fn what_is_wrong_with_the_upload_refuses_it_and_names_the_field() {
        let long = "x".repeat(MAX_IDENTIFIER + 1);
        let cases = [
            (json!([]), "", "the body must be a JSON object"),
            (json!({"device": "d", "records": [sms("1")]}), "user", "is missing"),
            (
                json!({"user": "", "device": "d", "records": []}),
                "user",
                "must be a string of 1 to 256 bytes",
            ),
            (
                json!({"user": long, "device": "d", "records": []}),
                "user",
                "must be a string of 1 to 256 bytes",
            ),
            (
                json!({"user": "u", "device": "a\u{0}", "records": []}),
                "device",
                "must not contain U+0000",
            ),
            (
                json!({"user": "u", "device": "d", "batchId": "x", "records": []}),
                "batchId",
                "must be a UUID",
            ),
            (json!({"user": "u", "device": "d"}), "records", "is missing"),
            (
                json!({"user": "u", "device": "d", "records": []}),
                "records",
                "must be an array of 1 to 1000 records",
            ),
            (
                json!({"user": "u", "device": "d", "records": [sms("1")], "extra": 1}),
                "extra",
                "is not known; the fields are user, device, batchId, and records or record",
            ),
            (
                json!({"user": "u", "device": "d", "records": [sms("1")], "record": sms("2")}),
                "record",
                "must not come together with records",
            ),
        ];
        for (body, field, problem) in cases {
            assert_eq!(
                parse(Source::Sms, &body).unwrap_err(),
                Refusal::InvalidField(FieldError {
                    field: field.to_owned(),
                    problem: problem.to_owned()
                }),
                "{body}"
            );
        }
    }

    #[test]
    fn bad_records_are_left_out_and_the_others_keep_their_places() {
        let bad = json!({"sender": "a", "body": "b"});
        let invalid = |field: &str, problem: &str| Err(wrong(field, problem));
        for (source, places) in [(Source::Sms, [(0, 0), (0, 1)]), (Source::Events, [(0, 0), (1, 0)])] {
            let good = |id: &str| match source {
                Source::Events => json!({"id": id, "timestamp": 0, "name": "open"}),
                _ => sms(id),
            };
            let body = json!({"user": "u", "device": "d", "records": [bad, good("1"), 7, good("2")]});
            let upload = parse(source, &body).unwrap();
            assert_eq!(upload.records[0], invalid("records[0].timestamp", "is missing"));
            assert_eq!(upload.records[2], invalid("records[2]", "a record is a JSON object"));
            let found: Vec<_> = upload.records.iter().flatten().collect();
            assert_eq!(
                found
                    .iter()
                    .map(|record| (record.message, record.index))
                    .collect::<Vec<_>>(),
                places
            );
            for (record, id) in found.iter().zip(["1", "2"]) {
                let envelope = Envelope::decode(&upload.messages[record.message]).unwrap();
                assert_eq!(envelope.records[record.index as usize], good(id));
            }
        }
        let body = json!({"user": "u", "device": "d", "records": [bad]});
        assert!(
            parse(Source::Sms, &body).unwrap().messages.is_empty(),
            "nothing to write"
        );
    }

    #[test]
    fn a_single_record_may_come_by_itself() {
        let body = json!({"user": "u", "device": "d", "record": sms("1")});
        let upload = parse(Source::Sms, &body).unwrap();
        assert_eq!(Envelope::decode(&upload.messages[0]).unwrap().records, [sms("1")]);
        assert_eq!(upload.records.len(), 1);
        let body = json!({"user": "u", "device": "d", "record": {"timestamp": 0, "sender": "a"}});
        assert_eq!(
            parse(Source::Sms, &body).unwrap().records,
            [Err(wrong("record.body", "is missing"))]
        );
    }

    #[test]
    fn an_array_of_too_many_records_is_refused() {
        let body = json!({"user": "u", "device": "d", "records": vec![sms("1"); MAX_RECORDS + 1]});
        assert!(matches!(parse(Source::Sms, &body), Err(Refusal::InvalidField(error)) if error.field == "records"));
        let body = json!({"user": "u", "device": "d", "records": vec![sms("1"); MAX_RECORDS]});
        assert_eq!(parse(Source::Sms, &body).unwrap().records.len(), MAX_RECORDS);
    }

    #[test]
    fn what_is_no_json_says_where() {
        let refusal = Upload::parse(Source::Sms, "default", b"{\"user\": ", DateTime::UNIX_EPOCH).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the body is not valid JSON: EOF while parsing a value at line 1 column 9"
        );
        let nested = "[".repeat(100_000);
        let refusal = Upload::parse(Source::Sms, "default", nested.as_bytes(), DateTime::UNIX_EPOCH).unwrap_err();
        assert!(matches!(refusal, Refusal::MalformedJson(_)), "{refusal}");
    }
}
