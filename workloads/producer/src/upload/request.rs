//! The fields of a body, one by one: serde's own errors would not name the field. Records stay text.

use super::wrong;
use crate::refusal::Refusal;
use contract::{
    FieldError,
    message::{MAX_IDENTIFIER, MAX_RECORDS},
};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};
use uuid::Uuid;

/// What a body holds.
pub(super) struct Request<'a> {
    pub(super) user: Cow<'a, str>,
    pub(super) device: Cow<'a, str>,
    pub(super) batch_id: Option<Uuid>,
    pub(super) records: Records<'a>,
}

/// One record by itself, or an array of them.
pub(super) enum Records<'a> {
    One(&'a RawValue),
    Many(Vec<&'a RawValue>),
}

impl<'a> Request<'a> {
    /// Takes the body apart. The error names what is wrong with the upload as a whole.
    pub(super) fn read(body: &'a [u8]) -> Result<Request<'a>, Refusal> {
        let fields = match std::str::from_utf8(body) {
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(body),
        };
        let fields: Fields<'a> = fields.map_err(|error| malformed(body, error))?;
        if let Some(field) = fields.repeated {
            return Err(wrong(field, "comes more than once").into());
        }
        let request = Request {
            user: identifier(fields.user, "user")?,
            device: identifier(fields.device, "device")?,
            batch_id: batch_id(fields.batch_id)?,
            records: records(fields.records, fields.record)?,
        };
        match fields.unknown {
            Some(field) => Err(wrong(
                &field,
                "is not known; the fields are user, device, batchId, and records or record",
            )
            .into()),
            None => Ok(request),
        }
    }
}

/// Why a body cannot be read, by its place in the body: the reader that tells may have looked at a part of it only.
pub(super) fn malformed(body: &[u8], error: serde_json::Error) -> Refusal {
    match serde_json::from_slice::<Passed>(body) {
        Err(error) => Refusal::MalformedJson(error.to_string()),
        Ok(Passed { is_object: true }) => Refusal::MalformedJson(error.to_string()),
        Ok(Passed { is_object: false }) => wrong("", "the body must be a JSON object").into(),
    }
}

fn identifier<'a>(value: Option<Part<'a>>, field: &str) -> Result<Cow<'a, str>, FieldError> {
    match value {
        None => Err(wrong(field, "is missing")),
        Some(Part::Text(text)) if text.contains('\0') => Err(wrong(field, "must not contain U+0000")),
        Some(Part::Text(text)) if (1..=MAX_IDENTIFIER).contains(&text.len()) => Ok(text),
        Some(_) => Err(wrong(
            field,
            &format!("must be a string of 1 to {MAX_IDENTIFIER} bytes"),
        )),
    }
}

fn batch_id(value: Option<Part<'_>>) -> Result<Option<Uuid>, FieldError> {
    match value {
        None | Some(Part::Null) => Ok(None),
        Some(Part::Text(text)) => text.parse().map(Some).map_err(|_| wrong("batchId", "must be a UUID")),
        Some(Part::Items(_) | Part::Other) => Err(wrong("batchId", "must be a UUID")),
    }
}

fn records<'a>(records: Option<Part<'a>>, record: Option<&'a RawValue>) -> Result<Records<'a>, FieldError> {
    match (records, record) {
        (None, None) => Err(wrong("records", "is missing")),
        (None, Some(record)) => Ok(Records::One(record)),
        (Some(_), Some(_)) => Err(wrong("record", "must not come together with records")),
        (Some(Part::Items(records)), None) if (1..=MAX_RECORDS).contains(&records.len()) => Ok(Records::Many(records)),
        (Some(_), None) => Err(wrong(
            "records",
            &format!("must be an array of 1 to {MAX_RECORDS} records"),
        )),
    }
}

/// The fields of a body as they come.
#[derive(Default)]
struct Fields<'a> {
    user: Option<Part<'a>>,
    device: Option<Part<'a>>,
    batch_id: Option<Part<'a>>,
    records: Option<Part<'a>>,
    record: Option<&'a RawValue>,
    /// The first by its name of those that no upload has.
    unknown: Option<String>,
    /// One that came more than once.
    repeated: Option<&'static str>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Fields<'a>, D::Error> {
        reader.deserialize_map(OfBody)
    }
}

struct OfBody;

impl<'de> Visitor<'de> for OfBody {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an upload")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<Name<'de>>()? {
            let repeated = match name.0.as_ref() {
                "user" => fields.user.replace(map.next_value()?).map(|_| "user"),
                "device" => fields.device.replace(map.next_value()?).map(|_| "device"),
                "batchId" => fields.batch_id.replace(map.next_value()?).map(|_| "batchId"),
                "records" => fields.records.replace(map.next_value()?).map(|_| "records"),
                "record" => fields.record.replace(map.next_value()?).map(|_| "record"),
                name => {
                    map.next_value::<IgnoredAny>()?;
                    if fields.unknown.as_deref().is_none_or(|first| name < first) {
                        fields.unknown = Some(name.to_owned());
                    }
                    None
                }
            };
            fields.repeated = fields.repeated.or(repeated);
        }
        Ok(fields)
    }
}

/// A key.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The value of a field.
enum Part<'a> {
    Text(Cow<'a, str>),
    Null,
    Items(Vec<&'a RawValue>),
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Part<'a> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Part<'a>, D::Error> {
        reader.deserialize_any(OfPart)
    }
}

struct OfPart;

impl<'de> Visitor<'de> for OfPart {
    type Value = Part<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Part<'de>, E> {
        Ok(Part::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Part<'de>, E> {
        Ok(Part::Text(text.to_owned().into()))
    }

    fn visit_unit<E>(self) -> Result<Part<'de>, E> {
        Ok(Part::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Part<'de>, E> {
        Ok(Part::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Part<'de>, E> {
        Ok(Part::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Part<'de>, E> {
        Ok(Part::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Part<'de>, E> {
        Ok(Part::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Part<'de>, A::Error> {
        let mut records = Vec::new();
        while let Some(record) = items.next_element()? {
            records.push(record);
        }
        Ok(Part::Items(records))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Part::Other)
    }
}

/// JSON that was read to its end with nothing left of it: a tree of its values may be a hundred times as large.
struct Passed {
    is_object: bool,
}

impl Passed {
    const OBJECT: Passed = Passed { is_object: true };
    const OTHER: Passed = Passed { is_object: false };
}

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Passed, D::Error> {
        reader.deserialize_any(OfAnything)
    }
}

struct OfAnything;

impl<'de> Visitor<'de> for OfAnything {
    type Value = Passed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_str<E>(self, _: &str) -> Result<Passed, E> {
        Ok(Passed::OTHER)
    }

    fn visit_unit<E>(self) -> Result<Passed, E> {
        Ok(Passed::OTHER)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Passed, E> {
        Ok(Passed::OTHER)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Passed, E> {
        Ok(Passed::OTHER)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Passed, E> {
        Ok(Passed::OTHER)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Passed, E> {
        Ok(Passed::OTHER)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Passed, A::Error> {
        while items.next_element::<Passed>()?.is_some() {}
        Ok(Passed::OTHER)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Passed, A::Error> {
        while map.next_entry::<Name<'de>, Passed>()?.is_some() {}
        Ok(Passed::OBJECT)
    }
}
