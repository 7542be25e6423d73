//! What makes two records, or two deliveries, the same.

use crate::{Source, begun_hash::BegunHash};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{borrow::Cow, fmt};
use uuid::{Builder, Uuid};

/// Identity of a record: the same record sent twice has the same id and becomes one row.
pub type RecordId = Uuid;

/// Namespace of record ids (a random UUID, fixed for ever: changing it would make every record new).
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_2a52_9d0e_4d6b_8a57_3e04_c1b7_75d9);

/// What makes a record the one that it is among the records of its [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientId<'a> {
    /// The client's `id` of it; a number as its digits.
    Given(Cow<'a, str>),
    /// Its canonical JSON (keys sorted, so that their order does not matter), where the client gave none.
    Content(String),
}

impl<'a> ClientId<'a> {
    /// That of a record.
    pub fn of(record: &'a Value) -> ClientId<'a> {
        match record.get("id") {
            Some(Value::String(id)) if !id.is_empty() => ClientId::Given(id.as_str().into()),
            Some(Value::Number(id)) => ClientId::Given(id.to_string().into()),
            _ => ClientId::Content(record.to_string()),
        }
    }
}

/// Where records come from: the part of their identities that all records of one upload share.
#[derive(Debug, Clone)]
pub struct Origin {
    begin: BegunHash,
}

impl Origin {
    /// The records of one source and one user's device.
    pub fn new(tenant: &str, source: Source, user: &str, device: &str) -> Origin {
        let mut hash = BegunHash::new();
        hash.add(NAMESPACE.as_bytes());
        for part in [tenant, source.name(), user, device] {
            add(&mut hash, part);
        }
        Origin { begin: hash }
    }

    /// UUIDv5 over tenant, source, user, device and what the client calls the record.
    pub fn record_id(&self, id: &ClientId<'_>) -> RecordId {
        let (kind, id) = match id {
            ClientId::Given(id) => ("id", id.as_ref()),
            ClientId::Content(content) => ("content", content.as_str()),
        };
        let hash = self
            .begin
            .end([&length(kind), kind.as_bytes(), &length(id), id.as_bytes()]);
        let mut bytes = [0; 16];
        for (four, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(hash) {
            *four = word.to_be_bytes();
        }
        Builder::from_sha1_bytes(bytes).into_uuid()
    }
}

fn add(hash: &mut BegunHash, part: &str) {
    hash.add(&length(part));
    hash.add(part.as_bytes());
}

/// Comes before each part: lengths keep ("ab", "c") and ("a", "bc") apart.
fn length(part: &str) -> [u8; 8] {
    (part.len() as u64).to_be_bytes()
}

/// The identity of one record, see [`Origin::record_id`].
pub fn record_id(tenant: &str, source: Source, user: &str, device: &str, record: &Value) -> RecordId {
    Origin::new(tenant, source, user, device).record_id(&ClientId::of(record))
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

    #[test]
    fn it_is_the_version_5_of_the_standard() {
        let record = json!({"b": [1, "x"], "a": null});
        let mut name = Vec::new();
        for part in ["t", "sms", "u", "d", "content", r#"{"a":null,"b":[1,"x"]}"#] {
            name.extend_from_slice(&(part.len() as u64).to_be_bytes());
            name.extend_from_slice(part.as_bytes());
        }
        let id = record_id("t", Source::Sms, "u", "d", &record);
        assert_eq!(id, Uuid::new_v5(&NAMESPACE, &name));
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
