//! From the body of a request to validated Kafka messages.

mod request;

use crate::refusal::Refusal;
use chrono::{DateTime, Utc};
use contract::{
    FieldError, Reading, RecordId, ScannedUpload, Sender, Source, identity::Origin, reading::ReadingError,
    scanned::Unusual,
};
use request::{Records, Request, malformed};
use std::borrow::Cow;
use uuid::Uuid;

/// Longest path of a field in an error, bytes, before the mark that it is cut off: its keys are the client's own, and of
/// any length.
const MAX_PATH: usize = 256;

/// An upload, ready to be written. The parsed JSON is gone, so that what waits for Kafka is as small as it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// The upload's id, the client's or a new one.
    pub batch_id: Uuid,
    /// The user, key of every message.
    pub user: String,
    /// The user's device.
    pub device: String,
    /// The messages of the good records: one for all of them where the source is batched, else one for each. None
    /// where no record is good.
    pub messages: Vec<Vec<u8>>,
    /// What is known of each record, in the order of the request.
    pub records: Vec<Result<Placed, FieldError>>,
    /// Whether it is one record by itself, and no array.
    pub alone: bool,
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
        match ScannedUpload::read(source, body) {
            Ok(upload) => Ok(Upload::of_good_records(source, tenant, upload, received_at)),
            Err(Unusual) => Upload::of_any_records(source, tenant, body, received_at),
        }
    }

    fn of_good_records(source: Source, tenant: &str, upload: ScannedUpload<'_>, received_at: DateTime<Utc>) -> Upload {
        let ScannedUpload {
            user,
            device,
            batch_id,
            records,
            alone,
        } = upload;
        let batch_id = batch_id.unwrap_or_else(Uuid::new_v4);
        let origin = Origin::new(tenant, source, &user, &device);
        let sender = Sender {
            tenant: tenant.into(),
            user,
            device,
            batch_id,
            received_at,
        };
        let texts: Vec<&str> = records.iter().map(|record| record.text).collect();
        let records = records.iter().enumerate();
        Upload {
            batch_id,
            messages: messages(source, &sender, &texts),
            records: records
                .map(|(place, record)| Ok(Placed::new(source, place, origin.record_id(&record.id))))
                .collect(),
            alone,
            user: sender.user.into_owned(),
            device: sender.device.into_owned(),
        }
    }

    /// Takes all forms, says what is wrong, and takes longer.
    fn of_any_records(
        source: Source,
        tenant: &str,
        body: &[u8],
        received_at: DateTime<Utc>,
    ) -> Result<Upload, Refusal> {
        let request = Request::read(body)?;
        let (user, device) = (request.user, request.device);
        let batch_id = request.batch_id.unwrap_or_else(Uuid::new_v4);
        let origin = Origin::new(tenant, source, &user, &device);
        let mut good = Vec::new();
        let alone = matches!(request.records, Records::One(_));
        let mut check = |number, record| {
            let reading = match Reading::of(source, record) {
                Ok(reading) => reading,
                Err(ReadingError::Field(error)) => return Ok(Err(within(path(alone, number), error))),
                // Found no sooner, because until now it was only looked at for its end.
                Err(ReadingError::Json(error)) => return Err(malformed(body, error)),
            };
            let place = good.len();
            good.push(reading.text);
            Ok(Ok(Placed::new(source, place, origin.record_id(&reading.id))))
        };
        let records = match request.records {
            Records::One(record) => vec![check(0, record)?],
            Records::Many(records) => records
                .into_iter()
                .enumerate()
                .map(|(number, record)| check(number, record))
                .collect::<Result<_, _>>()?,
        };
        let sender = Sender {
            tenant: tenant.into(),
            user,
            device,
            batch_id,
            received_at,
        };
        let texts: Vec<&str> = good.iter().map(|record| record.get()).collect();
        Ok(Upload {
            batch_id,
            messages: messages(source, &sender, &texts),
            records,
            alone,
            user: sender.user.into_owned(),
            device: sender.device.into_owned(),
        })
    }
}

impl Placed {
    /// The record that is at `place` among the good ones.
    fn new(source: Source, place: usize, record_id: RecordId) -> Placed {
        // At most as many as MAX_RECORDS.
        let (message, index) = match source.batched() {
            true => (0, place as i32),
            false => (place, 0),
        };
        Placed {
            record_id,
            message,
            index,
        }
    }
}

/// The messages of these records.
fn messages(source: Source, sender: &Sender<'_>, records: &[&str]) -> Vec<Vec<u8>> {
    match source.batched() {
        true if records.is_empty() => vec![],
        true => vec![sender.encode(source, records)],
        false => records.chunks(1).map(|one| sender.encode(source, one)).collect(),
    }
}

/// Path of a record in its request.
pub(crate) fn path(alone: bool, number: usize) -> String {
    match alone {
        true => "record".to_owned(),
        false => format!("records[{number}]"),
    }
}

/// The error by its path in the request.
fn within(record: String, error: FieldError) -> FieldError {
    let field = match error.field.as_str() {
        "" => record,
        field => format!("{record}.{}", cut(field)),
    };
    FieldError {
        field,
        problem: error.problem,
    }
}

fn wrong(field: &str, problem: &str) -> FieldError {
    FieldError {
        field: cut(field).into_owned(),
        problem: problem.to_owned(),
    }
}

/// The path, or its beginning and an ellipsis.
fn cut(path: &str) -> Cow<'_, str> {
    match path.len() {
        0..=MAX_PATH => path.into(),
        _ => format!("{}…", &path[..path.floor_char_boundary(MAX_PATH)]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{
        Envelope, identity,
        message::{MAX_IDENTIFIER, MAX_RECORDS},
    };
    use proptest::prelude::*;
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
    fn a_field_that_comes_twice_is_refused_by_name() {
        let record = sms("1");
        for (field, body) in [
            (
                "user",
                format!(r#"{{"user":"u","user":"v","device":"d","record":{record}}}"#),
            ),
            (
                "records",
                format!(r#"{{"user":"u","device":"d","records":[{record}],"records":[]}}"#),
            ),
            (
                "record",
                format!(r#"{{"user":"u","device":"d","record":{record},"record":{record}}}"#),
            ),
        ] {
            let refusal = Upload::parse(Source::Sms, "default", body.as_bytes(), DateTime::UNIX_EPOCH).unwrap_err();
            assert_eq!(refusal, wrong(field, "comes more than once").into());
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
    fn errors_are_short_however_long_the_names_of_fields_are() {
        let name = "ä".repeat(100_000);
        let mut bad = sms("1");
        bad[&name] = json!([{&name: "\0"}]);
        let body = json!({"user": "u", "device": "d", "records": [bad]});
        let upload = parse(Source::Sms, &body).unwrap();
        let field = &upload.records[0].as_ref().unwrap_err().field;
        assert_eq!(*field, format!("records[0].{}…", "ä".repeat(MAX_PATH / 2)));

        let body = json!({"user": "u", "device": "d", "records": [sms("1")], &name: 1});
        let refusal = parse(Source::Sms, &body).unwrap_err();
        assert!(
            refusal.to_string().len() < 2 * MAX_PATH,
            "{}",
            refusal.to_string().len()
        );
    }

    /// Bodies that are good but for a few of their bytes.
    fn nearly_good() -> impl Strategy<Value = String> {
        let record = prop_oneof![
            4 => "[a-c]{1,2}".prop_map(|id| sms(&id).to_string()),
            1 => Just(r#"{"id":7,"timestamp":"2026-01-02T03:04:05Z","sender":"B","body":"\u00e9","x":[1.5,{}]}"#.to_owned()),
            1 => Just(r#"{"timestamp":0,"sender":"B"}"#.to_owned()),
            1 => Just(r#"{ "timestamp" : 0, "sender":"B", "body": "b" }"#.to_owned()),
        ];
        let records = proptest::collection::vec(record, 0..4);
        let form = prop_oneof![
            3 => Just((r#"{"user":"u","device":"d\"","batchId":"00000000-0000-0000-0000-000000000007","records":["#, "]}")),
            1 => Just((r#"{"batchId":"00000000-0000-0000-0000-000000000007", "records":[ "#, r#" ],"device":"d","user":"u" } "#)),
            1 => Just((r#"{"batchId":"00000000-0000-0000-0000-000000000007","user":"u","device":"d","record":"#, "}")),
        ];
        let change = proptest::option::of((any::<proptest::sample::Index>(), "[a-z\\[\\]{}\":,0-9 ]"));
        (form, records, change).prop_map(|((begin, end), records, change)| {
            let mut body = format!("{begin}{}{end}", records.join(","));
            if let Some((place, text)) = change {
                let place = place.index(body.len());
                body.replace_range(place..=place, &text);
            }
            body
        })
    }

    proptest! {
        #[test]
        fn what_one_pass_takes_is_taken_in_the_same_way_by_the_other(body in nearly_good()) {
            for source in [Source::Sms, Source::Events] {
                let Ok(upload) = ScannedUpload::read(source, body.as_bytes()) else { continue };
                let quick = Upload::of_good_records(source, "t", upload, DateTime::UNIX_EPOCH);
                let other = Upload::of_any_records(source, "t", body.as_bytes(), DateTime::UNIX_EPOCH);
                prop_assert_eq!(Ok(quick), other);
            }
        }
    }

    #[test]
    fn an_array_of_too_many_records_is_refused() {
        let body = json!({"user": "u", "device": "d", "records": vec![sms("1"); MAX_RECORDS + 1]});
        assert!(matches!(parse(Source::Sms, &body), Err(Refusal::InvalidField(error)) if error.field == "records"));
        let body = json!({"user": "u", "device": "d", "records": vec![sms("1"); MAX_RECORDS]});
        assert_eq!(parse(Source::Sms, &body).unwrap().records.len(), MAX_RECORDS);
    }

    proptest! {
        /// What is said about a body that cannot be read is what a reader of all of it finds.
        #[test]
        fn the_place_of_what_is_no_json_is_that_in_the_body(body in "[\\[\\]{}\":,0-9eE+.a\\\\u -]{0,24}") {
            use serde::de::Error;
            let told = malformed(body.as_bytes(), serde_json::Error::custom("of a part"));
            let wanted = match serde_json::from_str::<Value>(&body) {
                Err(error) => Refusal::MalformedJson(error.to_string()),
                Ok(Value::Object(_)) => Refusal::MalformedJson("of a part".to_owned()),
                Ok(_) => wrong("", "the body must be a JSON object").into(),
            };
            prop_assert_eq!(told, wanted);
        }
    }

    #[test]
    fn a_record_of_too_many_values_is_invalid_in_both_ways_of_reading() {
        let many = vec![json!({"": 0}); contract::values::MAX_VALUES / 2];
        for id in [json!("1"), json!(1.5)] {
            let mut record = sms("1");
            record["id"] = id;
            record["x"] = json!(many);
            let body = json!({"user": "u", "device": "d", "records": [sms("2"), record]});
            let upload = parse(Source::Sms, &body).unwrap();
            let problem = "has more than 10000 values, nested ones included";
            assert_eq!(upload.records[1], Err(wrong("records[1]", problem)));
            assert_eq!(upload.good(), 1);
        }
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
