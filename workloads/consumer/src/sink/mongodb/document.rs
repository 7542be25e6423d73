//! From a row to its document.

use crate::batch::Row;
use ::mongodb::bson::{Bson, DateTime, Document};
use contract::record::Columns;
use serde_json::Value;

/// Field that orders the versions of a record.
pub const VERSION: &str = "version";

/// The document of a row.
pub fn of(row: &Row) -> Document {
    let mut document = Document::new();
    document.insert("_id", row.id.to_string());
    document.insert("tenant", &*row.sender.tenant);
    document.insert("user", &*row.sender.user);
    document.insert("device", &*row.sender.device);
    document.insert("batchId", row.sender.batch_id.to_string());
    document.insert(
        "receivedAt",
        DateTime::from_millis(row.sender.received_at.timestamp_millis()),
    );
    document.insert("eventTime", DateTime::from_millis(row.event_time.timestamp_millis()));
    document.insert(VERSION, version(row));
    document.insert("topicId", row.partition.topic.id.to_string());
    document.insert("partition", row.partition.number);
    document.insert("offset", row.offset);
    document.insert("index", row.index);
    match &row.columns {
        Columns::Sms { sender, body } => {
            document.insert("sender", &**sender);
            document.insert("body", &**body);
        }
        Columns::Event { name } => {
            document.insert("name", &**name);
        }
        Columns::AppOrDevice { kind, name, version } => {
            document.insert("kind", &**kind);
            document.insert("name", &**name);
            document.insert("appVersion", version.as_deref().map_or(Bson::Null, Bson::from));
        }
        Columns::Contact { name, phones } => {
            document.insert("name", &**name);
            document.insert(
                "phones",
                phones.iter().map(|phone| Bson::from(&**phone)).collect::<Vec<_>>(),
            );
        }
        Columns::Call {
            number,
            direction,
            duration_seconds,
        } => {
            document.insert("number", &**number);
            document.insert("direction", &**direction);
            document.insert("durationSeconds", *duration_seconds);
        }
    }
    // It was checked when it was read: what is no JSON never becomes a row.
    let raw: Value = serde_json::from_str(&row.raw).unwrap_or_default();
    document.insert("raw", bson(&raw));
    document
}

/// The row's version as text of one width, so that the store's order of strings is the order of versions. One field,
/// because times in BSON have milliseconds only, and both stores must take the same decision.
pub fn version(row: &Row) -> String {
    let (event_time, received_at) = row.version();
    format!("{:020}.{:020}", event_time.max(0), received_at.max(0))
}

/// Plain JSON, unlike bson's own conversion, which would take `{"$oid": …}` from a client for an object id.
fn bson(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(value) => Bson::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => Bson::Int64(value),
            // BSON has no unsigned integers; beyond 2^63 the nearest double has to do. PostgreSQL keeps it exactly.
            None => Bson::Double(number.as_f64().unwrap_or(f64::MAX)),
        },
        Value::String(value) => Bson::String(value.clone()),
        Value::Array(items) => Bson::Array(items.iter().map(bson).collect()),
        Value::Object(fields) => Bson::Document(fields.iter().map(|(key, value)| (key.clone(), bson(value))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::row;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn json_that_looks_like_extended_json_stays_what_it_is() {
        let Bson::Document(document) =
            bson(&json!({"$oid": "507f1f77bcf86cd799439011", "n": 18_446_744_073_709_551_615_u64}))
        else {
            panic!("an object becomes a document");
        };
        assert_eq!(
            document.get("$oid"),
            Some(&Bson::String("507f1f77bcf86cd799439011".to_owned()))
        );
        assert_eq!(document.get("n"), Some(&Bson::Double(18_446_744_073_709_551_615.0)));
    }

    proptest! {
        #[test]
        fn versions_as_text_keep_their_order(one in 0..253_402_300_799_999_999_i64, other in 0..253_402_300_799_999_999_i64) {
            let (one, other) = (row(1, one), row(1, other));
            prop_assert_eq!(version(&one).cmp(&version(&other)), one.version().cmp(&other.version()));
        }
    }
}
