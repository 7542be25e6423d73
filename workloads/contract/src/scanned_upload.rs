//! Bodies of uploads whose records are all as they should be, in any order of their fields: read in one pass, where they
//! lie.
//!
//! What is not so is for those who take all forms and say what is wrong.

use crate::{Source, identity::ClientId, message::MAX_RECORDS, scan::Scan, scanned::Unusual};
use std::borrow::Cow;
use uuid::Uuid;

/// An upload, see [`SyncRequest`](crate::SyncRequest) for the form.
#[derive(Debug, Clone)]
pub struct ScannedUpload<'a> {
    /// User.
    pub user: Cow<'a, str>,
    /// Device of the user.
    pub device: Cow<'a, str>,
    /// The client's id of the upload.
    pub batch_id: Option<Uuid>,
    /// The records, each fit to be stored; one at least.
    pub records: Vec<Identified<'a>>,
    /// Whether it is one record by itself, and no array.
    pub alone: bool,
}

/// A record that is fit to be stored.
#[derive(Debug, Clone)]
pub struct Identified<'a> {
    /// What the client calls it.
    pub id: ClientId<'a>,
    /// Its text, the client's own.
    pub text: &'a str,
}

/// The fields of a body, as far as they came. One that comes twice is unusual.
#[derive(Default)]
struct Fields<'a> {
    user: Option<Cow<'a, str>>,
    device: Option<Cow<'a, str>>,
    batch_id: Option<Uuid>,
    records: Option<Vec<Identified<'a>>>,
    alone: bool,
}

impl<'a> ScannedUpload<'a> {
    /// Reads a body of records of `source`.
    pub fn read(source: Source, body: &'a [u8]) -> Result<ScannedUpload<'a>, Unusual> {
        let text = simdutf8::basic::from_utf8(body).map_err(|_| Unusual)?;
        Self::in_one_pass(source, text).ok_or(Unusual)
    }

    fn in_one_pass(source: Source, text: &'a str) -> Option<ScannedUpload<'a>> {
        let mut fields = Fields::default();
        let mut scan = Scan::new(text);
        scan.object(|scan, key| match key.as_ref() {
            "user" => once(&mut fields.user, scan.identifier()?),
            "device" => once(&mut fields.device, scan.identifier()?),
            "batchId" => once(&mut fields.batch_id, Uuid::try_parse(&scan.string()?).ok()?),
            "records" => {
                let mut records = Vec::new();
                scan.array(|scan| {
                    records.push(record(source, text, scan)?);
                    (records.len() <= MAX_RECORDS).then_some(())
                })?;
                once(&mut fields.records, records)
            }
            "record" => {
                fields.alone = true;
                once(&mut fields.records, vec![record(source, text, scan)?])
            }
            _ => None,
        })?;
        scan.space();
        if !scan.is_at_end() {
            return None;
        }
        Some(ScannedUpload {
            user: fields.user?,
            device: fields.device?,
            batch_id: fields.batch_id,
            records: fields.records.filter(|records| !records.is_empty())?,
            alone: fields.alone,
        })
    }
}

fn once<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

fn record<'a>(source: Source, text: &'a str, scan: &mut Scan<'a>) -> Option<Identified<'a>> {
    let start = scan.place();
    let (_, id) = scan.record(source)?;
    let text = &text[start..scan.place()];
    Some(Identified { id, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MAX_IDENTIFIER;
    use serde_json::json;

    fn is_taken(body: &str) -> bool {
        ScannedUpload::read(Source::Sms, body.as_bytes()).is_ok()
    }

    const SMS: &str = r#"{"id":"1","timestamp":0,"sender":"BANK","body":"debited"}"#;

    #[test]
    fn an_upload_is_taken_in_any_order_and_with_any_space() {
        let body = format!(
            " {{ \"records\" : [ {SMS} , {SMS} ],\n\"device\":\"d\\n\", \"user\":\"u\", \"batchId\":\"{}\" }} ",
            Uuid::from_u128(7)
        );
        let upload = ScannedUpload::read(Source::Sms, body.as_bytes()).unwrap();
        assert_eq!((upload.user.as_ref(), upload.device.as_ref()), ("u", "d\n"));
        assert_eq!(upload.batch_id, Some(Uuid::from_u128(7)));
        let records: Vec<_> = upload.records.iter().map(|record| (&record.id, record.text)).collect();
        let id = ClientId::Given("1".into());
        assert_eq!(records, [(&id, SMS), (&id, SMS)]);

        assert!(!upload.alone);

        let one = format!(r#"{{"user":"u","device":"d","record":{SMS}}}"#);
        let upload = ScannedUpload::read(Source::Sms, one.as_bytes()).unwrap();
        assert_eq!((upload.records.len(), upload.alone), (1, true));
    }

    #[test]
    fn what_is_wrong_or_unusual_is_left_to_others() {
        let good =
            json!({"user": "u", "device": "d", "records": [serde_json::from_str::<serde_json::Value>(SMS).unwrap()]});
        assert!(is_taken(&good.to_string()));
        let with = |name: &str, value: serde_json::Value| {
            let mut changed = good.clone();
            changed[name] = value;
            changed.to_string()
        };
        for body in [
            String::new(),
            "[]".to_owned(),
            format!("{good}x"),
            good.to_string()
                .replace("\"user\":\"u\"", "\"user\":\"u\",\"user\":\"u\""),
            good.to_string().replace("\"user\":\"u\"", "\"x\":\"u\""),
            with("user", json!("")),
            with("user", json!("x".repeat(MAX_IDENTIFIER + 1))),
            with("device", json!("a\0")),
            with("batchId", json!("x")),
            with("batchId", json!(null)),
            with("records", json!([])),
            with("records", json!([{"id": "1"}])),
            with("record", json!({})),
            with("extra", json!(1)),
        ] {
            assert!(!is_taken(&body), "{body}");
        }
        let records = |count| {
            format!(
                r#"{{"user":"u","device":"d","records":[{}]}}"#,
                vec![SMS; count].join(",")
            )
        };
        assert!(is_taken(&records(MAX_RECORDS)));
        assert!(!is_taken(&records(MAX_RECORDS + 1)));
        for both in [format!("[{SMS}]"), "[]".to_owned()] {
            let both = format!(r#"{{"user":"u","device":"d","records":{both},"record":{SMS}}}"#);
            assert!(!is_taken(&both), "{both}");
        }
        let mut broken = good.to_string().into_bytes();
        broken.insert(10, 0xff);
        assert!(ScannedUpload::read(Source::Sms, &broken).is_err());
    }
}
