//! What a record of each source must look like: checked by the producer before it accepts, and by the consumer
//! before it stores.

use crate::{Source, rfc3339};
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use std::borrow::Cow;

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

impl FieldError {
    /// The error for others than those who sent the record of `source`: without names of fields that no rule knows, which
    /// are the client's own words.
    pub fn told(&self, source: Source) -> String {
        let name = self.field.split(['.', '[']).next().unwrap_or_default();
        match name {
            "" => self.problem.clone(),
            name if Fields::new(source).place(name).is_some() => format!("{name}: {}", self.problem),
            _ => format!("a field of the client's own: {}", self.problem),
        }
    }
}

fn wrong(field: impl Into<String>, problem: impl Into<String>) -> FieldError {
    FieldError {
        field: field.into(),
        problem: problem.into(),
    }
}

/// The typed columns of a record. Texts are the client's own, where they lie, as far as they need no unescaping.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// When it happened, as the device says: `timestamp`, RFC 3339 or milliseconds since 1970.
    pub event_time: DateTime<Utc>,
    /// What is particular to the source.
    pub columns: Columns<'a>,
}

/// Typed columns by source.
#[derive(Debug, Clone, PartialEq)]
pub enum Columns<'a> {
    /// A text message.
    Sms {
        /// Phone number or sender id.
        sender: Cow<'a, str>,
        /// The text.
        body: Cow<'a, str>,
    },
    /// An application event.
    Event {
        /// Name of the event.
        name: Cow<'a, str>,
    },
    /// An installed application or a fact about the device.
    AppOrDevice {
        /// `app` or `device`.
        kind: Cow<'a, str>,
        /// Package name or device model.
        name: Cow<'a, str>,
        /// Version of the application or of the operating system.
        version: Option<Cow<'a, str>>,
    },
    /// An address book entry.
    Contact {
        /// Display name.
        name: Cow<'a, str>,
        /// Phone numbers.
        phones: Vec<Cow<'a, str>>,
    },
    /// A call.
    Call {
        /// The other side.
        number: Cow<'a, str>,
        /// `incoming`, `outgoing` or `missed`.
        direction: Cow<'a, str>,
        /// Length, seconds.
        duration_seconds: i64,
    },
}

impl Columns<'_> {
    /// The same, with texts of their own.
    pub fn into_owned(self) -> Columns<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        match self {
            Columns::Sms { sender, body } => Columns::Sms {
                sender: own(sender),
                body: own(body),
            },
            Columns::Event { name } => Columns::Event { name: own(name) },
            Columns::AppOrDevice { kind, name, version } => Columns::AppOrDevice {
                kind: own(kind),
                name: own(name),
                version: version.map(own),
            },
            Columns::Contact { name, phones } => Columns::Contact {
                name: own(name),
                phones: phones.into_iter().map(own).collect(),
            },
            Columns::Call {
                number,
                direction,
                duration_seconds,
            } => Columns::Call {
                number: own(number),
                direction: own(direction),
                duration_seconds,
            },
        }
    }
}

/// A field as the rules below see it, wherever it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field<'a> {
    Text(Cow<'a, str>),
    Integer(i64),
    /// An integer that an `i64` does not hold.
    Large(u64),
    /// Items of an array; `None` for those that are no text.
    Items(Vec<Option<Cow<'a, str>>>),
    /// What no rule takes.
    Other,
}

/// Most fields that the rules of one source ask for.
const MOST_FIELDS: usize = 5;

/// The fields that the rules of a source ask for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fields<'a> {
    source: Source,
    values: [Option<Field<'a>>; MOST_FIELDS],
}

impl<'a> Fields<'a> {
    /// None of them yet.
    #[inline]
    pub(crate) fn new(source: Source) -> Fields<'a> {
        Fields {
            source,
            values: [const { None }; MOST_FIELDS],
        }
    }

    /// Its place, where a rule asks for it. Constants, because it is asked for every field: they are compared in a few
    /// instructions.
    #[inline]
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        let place = match (self.source, name) {
            (_, "id") => 0,
            (_, "timestamp") => 1,
            (Source::Sms, "sender") => 2,
            (Source::Sms, "body") => 3,
            (Source::Events | Source::AppsAndDevice | Source::Contacts, "name") => 2,
            (Source::AppsAndDevice, "kind") => 3,
            (Source::AppsAndDevice, "version") => 4,
            (Source::Contacts, "phones") => 3,
            (Source::CallLogs, "number") => 2,
            (Source::CallLogs, "direction") => 3,
            (Source::CallLogs, "durationSeconds") => 4,
            _ => return None,
        };
        Some(place)
    }

    /// Keeps the field of this place. Of two with one name the last one counts, as it does for both stores.
    #[inline]
    pub(crate) fn set(&mut self, place: usize, field: Field<'a>) {
        self.values[place] = Some(field);
    }

    /// The field of this name.
    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&Field<'a>> {
        self.values[self.place(name)?].as_ref()
    }

    #[inline]
    fn take(&mut self, name: &str) -> Option<Field<'a>> {
        self.values[self.place(name)?].take()
    }

    fn of(source: Source, record: &'a Map<String, Value>) -> Fields<'a> {
        let mut fields = Fields::new(source);
        for (name, value) in record {
            if let Some(place) = fields.place(name) {
                fields.set(place, Field::of(value));
            }
        }
        fields
    }
}

impl<'a> Field<'a> {
    fn of(value: &'a Value) -> Field<'a> {
        match value {
            Value::String(text) => Field::Text(text.as_str().into()),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Field::Integer(number),
                (None, Some(number)) => Field::Large(number),
                (None, None) => Field::Other,
            },
            Value::Array(items) => Field::Items(items.iter().map(|item| item.as_str().map(Cow::Borrowed)).collect()),
            Value::Null | Value::Bool(_) | Value::Object(_) => Field::Other,
        }
    }
}

impl<'a> Record<'a> {
    /// Checks `value` as a record of `source`.
    pub fn parse(source: Source, value: &'a Value) -> Result<Record<'a>, FieldError> {
        let Value::Object(record) = value else {
            return Err(wrong("", "a record is a JSON object"));
        };
        storable(value, &mut String::new())?;
        Record::of_fields(Fields::of(source, record))
    }

    /// Checks the fields of a record of `source`, in which is nothing that no store can hold.
    #[inline]
    pub(crate) fn of_fields(mut fields: Fields<'a>) -> Result<Record<'a>, FieldError> {
        match fields.get("id") {
            None | Some(Field::Integer(_) | Field::Large(_)) => {}
            Some(Field::Text(id)) if !id.is_empty() => {}
            Some(_) => return Err(wrong("id", "must be a non-empty string or an integer")),
        }
        let event_time = timestamp(&fields)?;
        let fields = &mut fields;
        let columns = match fields.source {
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
                version: match fields.get("version") {
                    Some(_) => Some(text(fields, "version")?),
                    None => None,
                },
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

#[inline]
fn timestamp(fields: &Fields<'_>) -> Result<DateTime<Utc>, FieldError> {
    let wanted = "must be RFC 3339 text or milliseconds since 1970, between 1970 and 9999";
    let time = match fields.get("timestamp") {
        None => return Err(wrong("timestamp", "is missing")),
        Some(Field::Text(text)) => rfc3339::parse(text),
        Some(Field::Integer(number)) => DateTime::from_timestamp_millis(*number),
        Some(_) => None,
    };
    time.filter(|time| (EARLIEST..=LATEST).contains(time))
        .ok_or_else(|| wrong("timestamp", wanted))
}

/// Takes the field out of `fields`.
#[inline]
fn text<'a>(fields: &mut Fields<'a>, field: &str) -> Result<Cow<'a, str>, FieldError> {
    match fields.take(field) {
        None => Err(wrong(field, "is missing")),
        Some(Field::Text(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(wrong(field, "must be a non-empty string")),
    }
}

fn one_of<'a>(fields: &mut Fields<'a>, field: &str, allowed: &[&str]) -> Result<Cow<'a, str>, FieldError> {
    let value = text(fields, field)?;
    if allowed.contains(&value.as_ref()) {
        Ok(value)
    } else {
        Err(wrong(field, format!("must be one of {}", allowed.join(", "))))
    }
}

fn phones<'a>(fields: &mut Fields<'a>) -> Result<Vec<Cow<'a, str>>, FieldError> {
    let Some(Field::Items(phones)) = fields.take("phones") else {
        return Err(wrong("phones", "must be an array of strings"));
    };
    phones
        .into_iter()
        .enumerate()
        .map(|(index, phone)| match phone {
            Some(phone) => Ok(phone),
            None => Err(wrong(format!("phones[{index}]"), "must be a string")),
        })
        .collect()
}

fn seconds(fields: &Fields<'_>, field: &str) -> Result<i64, FieldError> {
    match fields.get(field) {
        None => Err(wrong(field, "is missing")),
        Some(Field::Integer(seconds)) if *seconds >= 0 => Ok(*seconds),
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
    fn others_are_told_no_names_that_clients_made_up() {
        let told = |field: &str| wrong(field, "is wrong").told(Source::Contacts);
        assert_eq!(told("phones[2]"), "phones: is wrong");
        assert_eq!(told("name"), "name: is wrong");
        assert_eq!(told("name.Aunt"), "name: is wrong");
        assert_eq!(told("Aunt.name"), "a field of the client's own: is wrong");
        assert_eq!(told("sender"), "a field of the client's own: is wrong");
        assert_eq!(told(""), "is wrong");
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
