//! What makes two records, or two deliveries, the same.

use crate::Source;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use uuid::Uuid;

/// Identity of a record: the same record sent twice has the same id and becomes one row.
pub type RecordId = Uuid;

/// Namespace of record ids (a random UUID, fixed for ever: changing it would make every record new).
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_2a52_9d0e_4d6b_8a57_3e04_c1b7_75d9);

/// UUIDv5 over tenant, source, user, device and the client's `id` of the record, or, where it gave none, the
/// record's canonical JSON (keys sorted), so that key order does not matter.
pub fn record_id(tenant: &str, source: Source, user: &str, device: &str, record: &Value) -> RecordId {
    let (kind, id) = match record.get("id") {
        Some(Value::String(id)) if !id.is_empty() => ("id", id.clone()),
        Some(Value::Number(id)) => ("id", id.to_string()),
        _ => ("content", record.to_string()),
    };
    let mut name = Vec::with_capacity(128);
    for part in [tenant, source.name(), user, device, kind, &id] {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name)
}

/// Identity of one delivery by Kafka. It holds the topic's id and never its name, so that a recreated topic
/// cannot hide new data behind old keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DeliveryId<'a> {
    /// Kafka cluster id.
    pub cluster: &'a str,
    /// Kafka topic id.
    pub topic: Uuid,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Place of the record in its message.
    pub index: i32,
}

impl fmt::Display for DeliveryId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeliveryId {
            cluster,
            topic,
            partition,
            offset,
            index,
        } = self;
        write!(f, "{cluster}/{topic}/{partition}/{offset}/{index}")
    }
}

/// What the producer returns for an accepted record, after Kafka acknowledged it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Kafka cluster id.
    pub cluster: String,
    /// Topic, prefix included.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset of the message.
    pub offset: i64,
    /// Place of the record in its message; 0 where a message holds one record.
    pub index: i32,
    /// Identity of the record in both stores.
    pub record_id: RecordId,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn the_same_client_id_is_the_same_record_whatever_else_it_says() {
        let one = record_id("t", Source::Sms, "u", "d", &json!({"id": "7", "body": "a"}));
        let two = record_id("t", Source::Sms, "u", "d", &json!({"id": "7", "body": "b"}));
        assert_eq!(one, two);
    }

    #[test]
    fn key_order_does_not_matter_without_a_client_id() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":2}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":2,"a":1}"#).unwrap();
        assert_eq!(
            record_id("t", Source::Sms, "u", "d", &one),
            record_id("t", Source::Sms, "u", "d", &two)
        );
    }

    #[test]
    fn a_record_id_never_changes_between_releases() {
        let id = record_id("default", Source::Events, "user-1", "device-1", &json!({"id": "e-1"}));
        assert_eq!(id.to_string(), "78a3417a-cabc-572a-9cfc-666a4fbc938f");
    }

    proptest! {
        #[test]
        fn moving_a_letter_between_two_parts_makes_another_record(user in "[a-z]{1,8}", device in "[a-z]{1,8}") {
            let record = json!({"id": "1"});
            let together = record_id("t", Source::Sms, &format!("{user}{device}"), "", &record);
            prop_assert_ne!(together, record_id("t", Source::Sms, &user, &device, &record));
        }
    }
}
