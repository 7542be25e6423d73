//! From the body of a request to validated Kafka messages.

use crate::refusal::Refusal;
use chrono::{DateTime, Utc};
use contract::{
    Envelope, FieldError, Record, RecordId, Source, SyncRequest, identity,
    message::{ENVELOPE_VERSION, MAX_IDENTIFIER, MAX_RECORDS},
};
use serde_json::{Map, Value};
use uuid::Uuid;

/// An upload in which every record is good, ready to be written. The parsed JSON is gone, so that what waits for
/// Kafka is as small as it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The upload's id, the client's or a new one.
    pub batch_id: Uuid,
    /// The user, key of every message.
    pub user: String,
    /// The messages: one for all records of a batched source, else one for each record.
    pub messages: Vec<Vec<u8>>,
    /// Ids of the records, in the order of the request.
    pub record_ids: Vec<RecordId>,
}

impl Upload {
    /// Checks the body and makes the messages. One bad record refuses the whole upload: a client that is told which
    /// field is wrong can mend it, and half an upload would need two answers.
    pub fn parse(source: Source, tenant: &str, body: &[u8], received_at: DateTime<Utc>) -> Result<Upload, Refusal> {
        let body: Value = serde_json::from_slice(body).map_err(|error| Refusal::MalformedJson(error.to_string()))?;
        let SyncRequest {
            user,
            device,
            batch_id,
            records,
        } = request(body)?;
        let batch_id = batch_id.unwrap_or_else(Uuid::new_v4);
        let record_ids = records
            .iter()
            .enumerate()
            .map(|(index, record)| {
                Record::parse(source, record).map_err(|error| in_record(index, error))?;
                Ok(identity::record_id(tenant, source, &user, &device, record))
            })
            .collect::<Result<Vec<_>, FieldError>>()?;
        let envelope = |records| Envelope {
            version: ENVELOPE_VERSION,
            tenant: tenant.to_owned(),
            user: user.clone(),
            device: device.clone(),
            batch_id,
            received_at,
            records,
        };
        let messages = match source.batched() {
            true => vec![envelope(records).encode(source)],
            false => records
                .into_iter()
                .map(|record| envelope(vec![record]).encode(source))
                .collect(),
        };
        Ok(Upload {
            batch_id,
            user,
            messages,
            record_ids,
        })
    }
}

fn in_record(index: usize, error: FieldError) -> FieldError {
    let field = match error.field.as_str() {
        "" => format!("records[{index}]"),
        field => format!("records[{index}].{field}"),
    };
    FieldError {
        field,
        problem: error.problem,
    }
}

/// The request's fields, one by one: serde's own errors would not name the field.
fn request(body: Value) -> Result<SyncRequest, FieldError> {
    let Value::Object(mut fields) = body else {
        return Err(wrong("", "the body must be a JSON object"));
    };
    let request = SyncRequest {
        user: identifier(&mut fields, "user")?,
        device: identifier(&mut fields, "device")?,
        batch_id: batch_id(&mut fields)?,
        records: records(&mut fields)?,
    };
    match fields.keys().next() {
        Some(field) => Err(wrong(
            field,
            "is not known; the fields are user, device, batchId and records",
        )),
        None => Ok(request),
    }
}

fn identifier(fields: &mut Map<String, Value>, field: &str) -> Result<String, FieldError> {
    match fields.remove(field) {
        None => Err(wrong(field, "is missing")),
        Some(Value::String(text)) if text.contains('\0') => Err(wrong(field, "must not contain U+0000")),
        Some(Value::String(text)) if (1..=MAX_IDENTIFIER).contains(&text.len()) => Ok(text),
        Some(_) => Err(wrong(
            field,
            &format!("must be a string of 1 to {MAX_IDENTIFIER} bytes"),
        )),
    }
}

fn batch_id(fields: &mut Map<String, Value>) -> Result<Option<Uuid>, FieldError> {
    match fields.remove("batchId") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| wrong("batchId", "must be a UUID")),
        Some(_) => Err(wrong("batchId", "must be a UUID")),
    }
}

fn records(fields: &mut Map<String, Value>) -> Result<Vec<Value>, FieldError> {
    match fields.remove("records") {
        None => Err(wrong("records", "is missing")),
        Some(Value::Array(records)) if (1..=MAX_RECORDS).contains(&records.len()) => Ok(records),
        Some(_) => Err(wrong(
            "records",
            &format!("must be an array of 1 to {MAX_RECORDS} records"),
        )),
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
    use serde_json::json;

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
        assert_eq!(
            upload.record_ids[1],
            identity::record_id("default", Source::Sms, "u", "d", &sms("2"))
        );

        let event = |id: u32| json!({"id": id, "timestamp": 0, "name": "open"});
        let body = json!({"user": "u", "device": "d", "records": [event(1), event(2), event(3)]});
        let upload = parse(Source::Events, &body).unwrap();
        assert_eq!(upload.messages.len(), 3);
        assert_eq!(Envelope::decode(&upload.messages[2]).unwrap().records, [event(3)]);
        assert_eq!(upload.record_ids.len(), 3);
    }

    #[test]
    fn an_error_names_the_field() {
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
                "is not known; the fields are user, device, batchId and records",
            ),
            (
                json!({"user": "u", "device": "d", "records": [sms("1"), 7]}),
                "records[1]",
                "a record is a JSON object",
            ),
            (
                json!({"user": "u", "device": "d", "records": [sms("1"), sms("2"), {"sender": "a", "body": "b"}]}),
                "records[2].timestamp",
                "is missing",
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
    fn an_array_of_too_many_records_is_refused() {
        let body = json!({"user": "u", "device": "d", "records": vec![sms("1"); MAX_RECORDS + 1]});
        assert!(matches!(parse(Source::Sms, &body), Err(Refusal::InvalidField(error)) if error.field == "records"));
        let body = json!({"user": "u", "device": "d", "records": vec![sms("1"); MAX_RECORDS]});
        assert_eq!(parse(Source::Sms, &body).unwrap().record_ids.len(), MAX_RECORDS);
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
