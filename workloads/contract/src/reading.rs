//! Records read where they lie: checked in the text of an upload or a message, and passed on as that text, with no tree
//! of values in between.
//!
//! What one pass over the text cannot vouch for is read again as a [`Value`], unless it holds too many of them. Its
//! outcome counts then, so that a record is judged by [`Record::parse`] and by nothing else.

use crate::{FieldError, Record, Source, identity::ClientId, scan::Scan, values};
use serde_json::{Value, value::RawValue};
use std::borrow::Cow;

/// A record that is fit to be stored.
#[derive(Debug, Clone)]
pub struct Reading<'a> {
    /// Its typed columns.
    pub record: Record<'a>,
    /// What the client calls it.
    pub id: ClientId<'a>,
    /// Its text: the client's own, where both stores are sure to take that.
    pub text: Cow<'a, RawValue>,
}

/// Why a record cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum ReadingError {
    /// A field is missing or wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The text is not JSON after all: it holds half of a surrogate pair, or a number that is too large.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl<'a> Reading<'a> {
    /// Checks the text as a record of `source`.
    pub fn of(source: Source, text: &'a RawValue) -> Result<Reading<'a>, ReadingError> {
        if let Some((record, id)) = in_one_pass(source, text.get()) {
            let text = Cow::Borrowed(text);
            return Ok(Reading { record, id, text });
        }
        values::check(text.get())?;
        let value: Value = serde_json::from_str(text.get())?;
        let record = Record::parse(source, &value)?;
        Ok(Reading {
            record: Record {
                event_time: record.event_time,
                columns: record.columns.into_owned(),
            },
            id: match ClientId::of(&value) {
                ClientId::Given(id) => ClientId::Given(id.into_owned().into()),
                ClientId::Content(content) => ClientId::Content(content),
            },
            text: Cow::Owned(serde_json::value::to_raw_value(&value)?),
        })
    }
}

/// The record and what the client calls it, if nothing about it is wrong or unusual.
fn in_one_pass(source: Source, text: &str) -> Option<(Record<'_>, ClientId<'_>)> {
    let mut scan = Scan::new(text);
    let found = scan.record(source)?;
    scan.is_at_end().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::MAX_VALUES;
    use proptest::prelude::*;
    use serde_json::json;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    /// Whether the text is passed on as it is.
    fn is_taken(source: Source, text: &str) -> bool {
        matches!(Reading::of(source, &raw(text)).unwrap().text, Cow::Borrowed(_))
    }

    #[test]
    fn usual_records_are_passed_on_as_their_clients_wrote_them() {
        for text in [
            r#"{"id":"1","timestamp":0,"sender":"BANK","body":"Rs 1.50\n\u00e9 \ud83d\ude00"}"#,
            r#"{ "id" : 7, "timestamp" : "2026-01-02T03:04:05Z", "sender":"B", "body":"b", "x":[1,-2.5,{"y":null}] }"#,
            r#"{"body":"b","sender":"B","timestamp":1}"#,
        ] {
            assert!(is_taken(Source::Sms, text), "{text}");
        }
        let contact = r#"{"id":18446744073709551615,"timestamp":0,"name":"Aunt","phones":["+1","+2"]}"#;
        assert!(is_taken(Source::Contacts, contact));
    }

    #[test]
    fn what_postgresql_might_not_take_is_written_anew() {
        let record = |more: &str| format!(r#"{{"id":"1","timestamp":0,"name":"open","x":{more}}}"#);
        for (written, kept) in [
            // More digits behind the point than PostgreSQL has.
            ("1e-20000", "0.0"),
            ("-0", "-0.0"),
        ] {
            let raw = raw(&record(written));
            let reading = Reading::of(Source::Events, &raw).unwrap();
            assert_eq!(reading.text.get(), record_sorted(kept));
        }
        let long = record(&format!("[1.5,{}]", vec!["1"; 9_000].join(",")));
        assert!(!is_taken(Source::Events, &long), "a long text with fractions");
        let repeated = raw(r#"{"id":"1","name":"\u0000","timestamp":0,"name":"open"}"#);
        let reading = Reading::of(Source::Events, &repeated).unwrap();
        assert_eq!(reading.text.get(), r#"{"id":"1","name":"open","timestamp":0}"#);
    }

    fn record_sorted(x: &str) -> String {
        format!(r#"{{"id":"1","name":"open","timestamp":0,"x":{x}}}"#)
    }

    #[test]
    fn what_is_no_json_after_all_is_told_apart_from_what_is_wrong() {
        for text in [
            r#"{"id":"1","timestamp":0,"name":"\ud800"}"#,
            r#"{"id":"1","timestamp":0,"name":"open","x":1e999}"#,
        ] {
            let raw = raw(text);
            assert!(
                matches!(Reading::of(Source::Events, &raw), Err(ReadingError::Json(_))),
                "{text}"
            );
        }
        for (text, problem) in [
            ("7", ": a record is a JSON object"),
            (r#"{"timestamp":0}"#, "name: is missing"),
            (
                r#"{"timestamp":0,"name":"a","x":{"\u0000":1}}"#,
                "x: has a key with U+0000",
            ),
            (
                r#"{"timestamp":0,"name":"a","id":1.5}"#,
                "id: must be a non-empty string or an integer",
            ),
        ] {
            let raw = raw(text);
            let error = Reading::of(Source::Events, &raw).unwrap_err();
            assert_eq!(error.to_string(), problem);
        }
    }

    #[test]
    fn too_many_values_are_refused_whatever_else_is_usual() {
        let record = |id: &str, values: usize| {
            let values = vec!["{\"\":0}"; values / 2].join(",");
            raw(&format!(
                r#"{{{id}"timestamp":0,"sender":"B","body":"b","x":[{values}]}}"#
            ))
        };
        for id in ["\"id\":\"1\",", "", "\"id\":-0,"] {
            let error = Reading::of(Source::Sms, &record(id, MAX_VALUES)).unwrap_err();
            assert_eq!(error.to_string(), ": has more than 10000 values, nested ones included");
        }
        assert!(is_taken(Source::Sms, record("\"id\":\"1\",", MAX_VALUES - 10).get()));
    }

    /// Any JSON, with the names and the forms that rules ask for among others.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z\\x00\"\\\\é\\n]{0,6}".prop_map(Value::from),
            Just(json!("2026-01-02T03:04:05Z")),
            Just(json!("app")),
            Just(json!("missed")),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let name = prop_oneof![
                Just("id".to_owned()),
                Just("timestamp".to_owned()),
                Just("name".to_owned()),
                Just("phones".to_owned()),
                "[a-z\\x00\"]{0,3}",
            ];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(name, inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Records that are good but for a field or two.
    fn record() -> impl Strategy<Value = Value> {
        let good = json!({
            "id": "1", "timestamp": 1, "sender": "s", "body": "b", "name": "n", "kind": "app", "version": "1",
            "phones": ["+1"], "number": "+1", "direction": "missed", "durationSeconds": 3,
        });
        let names: Vec<String> = good.as_object().unwrap().keys().cloned().collect();
        let change = (proptest::sample::select(names), proptest::option::of(value()));
        proptest::collection::vec(change, 0..3).prop_map(move |changes| {
            let mut record = good.clone();
            for (name, value) in changes {
                match value {
                    Some(value) => record[name] = value,
                    None => drop(record.as_object_mut().unwrap().remove(&name)),
                }
            }
            record
        })
    }

    fn same_as_of_the_value(source: Source, raw: &RawValue) {
        let value: Value = serde_json::from_str(raw.get()).unwrap();
        match (Reading::of(source, raw), Record::parse(source, &value)) {
            (Ok(reading), Ok(record)) => {
                assert_eq!(reading.record, record);
                assert_eq!(reading.id, ClientId::of(&value));
                match reading.text {
                    Cow::Borrowed(text) => assert_eq!(text.get(), raw.get()),
                    Cow::Owned(text) => assert_eq!(text.get(), value.to_string()),
                }
            }
            (Err(ReadingError::Field(error)), Err(wanted)) => assert_eq!(error, wanted),
            (reading, record) => panic!("{reading:?} of the text, {record:?} of the value"),
        }
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_its_value_is(value in prop_oneof![value(), record()]) {
            let raw = serde_json::value::to_raw_value(&value).unwrap();
            for source in Source::ALL {
                same_as_of_the_value(source, &raw);
            }
        }
    }
}
