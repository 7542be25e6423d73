//! What a record of each source must look like: checked by the producer before it accepts, and by the consumer
//! before it stores.

use crate::Source;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

/// Longest text of one field, bytes.
pub const MAX_TEXT: usize = 16 * 1024;

/// A field that is wrong, by its path in the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Path, for example `timestamp` or `phones[2]`.
    pub field: String,
    /// What is wrong and what is wanted. Never the value itself.
    pub problem: String,
}

fn wrong(field: impl Into<String>, problem: impl Into<String>) -> FieldError {
    FieldError {
        field: field.into(),
        problem: problem.into(),
    }
}

/// The typed columns of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// When it happened, as the device says: `timestamp`, RFC 3339 or milliseconds since 1970.
    pub event_time: DateTime<Utc>,
    /// What is particular to the source.
    pub columns: Columns,
}

/// Typed columns by source.
#[derive(Debug, Clone, PartialEq)]
pub enum Columns {
    /// A text message.
    Sms {
        /// Phone number or sender id.
        sender: String,
        /// The text.
        body: String,
    },
    /// An application event.
    Event {
        /// Name of the event.
        name: String,
    },
    /// An installed application or a fact about the device.
    AppOrDevice {
        /// `app` or `device`.
        kind: String,
        /// Package name or device model.
        name: String,
        /// Version of the application or of the operating system.
        version: Option<String>,
    },
    /// An address book entry.
    Contact {
        /// Display name.
        name: String,
        /// Phone numbers.
        phones: Vec<String>,
    },
    /// A call.
    Call {
        /// The other side.
        number: String,
        /// `incoming`, `outgoing` or `missed`.
        direction: String,
        /// Length, seconds.
        duration_seconds: i64,
    },
}

impl Record {
    /// Checks `value` as a record of `source`.
    pub fn parse(source: Source, value: &Value) -> Result<Record, FieldError> {
        let Value::Object(fields) = value else {
            return Err(wrong("", "a record is a JSON object"));
        };
        storable(value, &mut String::new())?;
        if let Some(id) = fields.get("id")
            && !matches!(id, Value::String(text) if !text.is_empty())
            && !id.is_i64()
            && !id.is_u64()
        {
            return Err(wrong("id", "must be a non-empty string or an integer"));
        }
        let event_time = timestamp(fields)?;
        let columns = match source {
            Source::Sms => Columns::Sms {
                sender: text(fields, "sender")?,
                body: text(fields, "body")?,
            },
            Source::Events => Columns::Event {
                name: text(fields, "name")?,
            },
            Source::AppsAndDevice => Columns::AppOrDevice {
                kind: one_of(fields, "kind", &["app", "device"])?,
                name: text(fields, "name")?,
                version: fields.get("version").map(|_| text(fields, "version")).transpose()?,
            },
            Source::Contacts => Columns::Contact {
                name: text(fields, "name")?,
                phones: phones(fields)?,
            },
            Source::CallLogs => Columns::Call {
                number: text(fields, "number")?,
                direction: one_of(fields, "direction", &["incoming", "outgoing", "missed"])?,
                duration_seconds: seconds(fields, "durationSeconds")?,
            },
        };
        Ok(Record { event_time, columns })
    }
}

/// Refuses what no store can hold: U+0000 in a string or key, and fields past [`MAX_TEXT`].
fn storable(value: &Value, path: &mut String) -> Result<(), FieldError> {
    match value {
        Value::String(text) if text.contains('\0') => Err(wrong(path.as_str(), "must not contain U+0000")),
        Value::String(text) if text.len() > MAX_TEXT => {
            Err(wrong(path.as_str(), format!("is longer than {MAX_TEXT} bytes")))
        }
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            let length = path.len();
            path.push_str(&format!("[{index}]"));
            storable(item, path)?;
            path.truncate(length);
            Ok(())
        }),
        Value::Object(fields) => fields.iter().try_for_each(|(key, item)| {
            if key.contains('\0') {
                return Err(wrong(path.as_str(), "has a key with U+0000"));
            }
            let length = path.len();
            if length > 0 {
                path.push('.');
            }
            path.push_str(key);
            storable(item, path)?;
            path.truncate(length);
            Ok(())
        }),
        _ => Ok(()),
    }
}

/// Years that PostgreSQL, BSON and RFC 3339 all hold.
const EARLIEST: DateTime<Utc> = match DateTime::from_timestamp(0, 0) {
    Some(time) => time,
    None => DateTime::<Utc>::MIN_UTC,
};
const LATEST: DateTime<Utc> = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(time) => time,
    None => DateTime::<Utc>::MAX_UTC,
};

fn timestamp(fields: &Map<String, Value>) -> Result<DateTime<Utc>, FieldError> {
    let wanted = "must be RFC 3339 text or milliseconds since 1970, between 1970 and 9999";
    let time = match fields.get("timestamp") {
        None => return Err(wrong("timestamp", "is missing")),
        Some(Value::String(text)) => DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()),
        Some(Value::Number(number)) => number.as_i64().and_then(DateTime::from_timestamp_millis),
        Some(_) => None,
    };
    time.filter(|time| (EARLIEST..=LATEST).contains(time))
        .ok_or_else(|| wrong("timestamp", wanted))
}

fn text(fields: &Map<String, Value>, field: &str) -> Result<String, FieldError> {
    match fields.get(field) {
        None => Err(wrong(field, "is missing")),
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(_) => Err(wrong(field, "must be a non-empty string")),
    }
}

fn one_of(fields: &Map<String, Value>, field: &str, allowed: &[&str]) -> Result<String, FieldError> {
    let value = text(fields, field)?;
    if allowed.contains(&value.as_str()) {
        Ok(value)
    } else {
        Err(wrong(field, format!("must be one of {}", allowed.join(", "))))
    }
}

fn phones(fields: &Map<String, Value>) -> Result<Vec<String>, FieldError> {
    let Some(Value::Array(phones)) = fields.get("phones") else {
        return Err(wrong("phones", "must be an array of strings"));
    };
    phones
        .iter()
        .enumerate()
        .map(|(index, phone)| match phone {
            Value::String(phone) => Ok(phone.clone()),
            _ => Err(wrong(format!("phones[{index}]"), "must be a string")),
        })
        .collect()
}

fn seconds(fields: &Map<String, Value>, field: &str) -> Result<i64, FieldError> {
    match fields.get(field).map(Value::as_i64) {
        None => Err(wrong(field, "is missing")),
        Some(Some(seconds)) if seconds >= 0 => Ok(seconds),
        Some(_) => Err(wrong(field, "must be a whole number of seconds, 0 or more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_good_record_of_each_source_parses() {
        let good = [
            (
                Source::Sms,
                json!({"timestamp": 1_700_000_000_000_i64, "sender": "BANK", "body": "debited"}),
            ),
            (
                Source::Events,
                json!({"timestamp": "2026-01-02T03:04:05Z", "name": "app_open"}),
            ),
            (
                Source::AppsAndDevice,
                json!({"timestamp": 0, "kind": "app", "name": "com.example", "version": "1"}),
            ),
            (
                Source::Contacts,
                json!({"timestamp": 0, "name": "Aunt", "phones": ["+911"]}),
            ),
            (
                Source::CallLogs,
                json!({"timestamp": 0, "number": "+1", "direction": "missed", "durationSeconds": 0}),
            ),
        ];
        for (source, record) in good {
            Record::parse(source, &record).unwrap_or_else(|error| panic!("{source}: {error}"));
        }
    }

    #[test]
    fn an_error_names_the_field_and_not_the_value() {
        let cases = [
            (json!({"sender": "A", "body": "b"}), "timestamp: is missing"),
            (
                json!({"timestamp": 0, "sender": 7, "body": "b"}),
                "sender: must be a non-empty string",
            ),
            (
                json!({"timestamp": 0, "sender": "A", "body": "x\u{0}"}),
                "body: must not contain U+0000",
            ),
            (
                json!({"timestamp": 0, "sender": "A", "body": "x", "m": [{"k": "\u{0}"}]}),
                "m[0].k: must not contain U+0000",
            ),
            (
                json!({"timestamp": -1, "sender": "A", "body": "b"}),
                "timestamp: must be RFC 3339 text or milliseconds since 1970, between 1970 and 9999",
            ),
            (
                json!({"id": {}, "timestamp": 0, "sender": "A", "body": "b"}),
                "id: must be a non-empty string or an integer",
            ),
        ];
        for (record, expected) in cases {
            assert_eq!(Record::parse(Source::Sms, &record).unwrap_err().to_string(), expected);
        }
    }
}
