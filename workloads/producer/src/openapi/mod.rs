//! The API's description, at `/openapi.json`. The types here are the contract's in the words of OpenAPI; tests hold
//! the two together.

use chrono::{DateTime, Utc};
use serde::Serialize;
use std::sync::LazyLock;
use utoipa::{
    OpenApi, PartialSchema, ToSchema,
    openapi::{Ref, RefOr, Schema, schema::AnyOfBuilder},
};
use uuid::Uuid;

/// The document.
pub fn document() -> &'static utoipa::openapi::OpenApi {
    static DOCUMENT: LazyLock<utoipa::openapi::OpenApi> = LazyLock::new(Api::openapi);
    &DOCUMENT
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "SyncPipeline producer",
        description = "Takes uploads of mobile data into Kafka."
    ),
    paths(crate::api::sync),
    // What the path does not lead to by itself: the schema of its parameter, and the alternatives of a record.
    components(schemas(SourceName, SmsRecord, EventRecord, AppOrDeviceRecord, ContactRecord, CallRecord))
)]
struct Api;

/// Kind of synced data.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceName {
    /// Text messages.
    Sms,
    /// Application events.
    Events,
    /// Installed applications and device facts.
    AppsAndDevice,
    /// Address book entries.
    Contacts,
    /// Calls.
    CallLogs,
}

/// An upload of one user and device.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncRequest {
    /// User, 1 to 256 bytes.
    #[schema(min_length = 1, max_length = 256)]
    pub user: String,
    /// Device, 1 to 256 bytes.
    #[schema(min_length = 1, max_length = 256)]
    pub device: String,
    /// The client's id of this upload; the producer makes one where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<Uuid>,
    /// Records of the route's source; `record` in its place for a single one.
    #[schema(min_items = 1, max_items = 1000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<Record>>,
    /// A single record, in place of `records`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
}

/// A record of one of the sources.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Record {
    /// A text message.
    Sms(SmsRecord),
    /// An application event.
    Event(EventRecord),
    /// An installed application or a fact about the device.
    AppOrDevice(AppOrDeviceRecord),
    /// An address book entry.
    Contact(ContactRecord),
    /// A call.
    Call(CallRecord),
}

/// The derived schema would be `oneOf`, which refuses what fits two kinds, as every application fits an event.
impl PartialSchema for Record {
    fn schema() -> RefOr<Schema> {
        let kinds = [
            SmsRecord::name(),
            EventRecord::name(),
            AppOrDeviceRecord::name(),
            ContactRecord::name(),
            CallRecord::name(),
        ];
        let any = AnyOfBuilder::new().description(Some(
            "A record of the route's source. Further fields are allowed and kept. `id`, a non-empty string or an \
             integer, makes a record sent twice one record; without it the whole content does.",
        ));
        kinds
            .into_iter()
            .fold(any, |any, kind| any.item(Ref::from_schema_name(kind)))
            .into()
    }
}

impl ToSchema for Record {}

/// A text message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "sms-1", "timestamp": "2026-01-02T03:04:05Z", "sender": "AX-BANK", "body": "INR 120.00 debited"}))]
pub struct SmsRecord {
    /// The client's id of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RecordKey>,
    /// When it happened.
    pub timestamp: Timestamp,
    /// Phone number or sender id.
    pub sender: String,
    /// The text.
    pub body: String,
}

/// An application event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": 42, "timestamp": 1767323045000_i64, "name": "app_open"}))]
pub struct EventRecord {
    /// The client's id of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RecordKey>,
    /// When it happened.
    pub timestamp: Timestamp,
    /// Name of the event.
    pub name: String,
}

/// An installed application or a fact about the device.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"timestamp": "2026-01-02T03:04:05Z", "kind": "app", "name": "com.example", "version": "1.2.3"}))]
pub struct AppOrDeviceRecord {
    /// The client's id of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RecordKey>,
    /// When it was seen.
    pub timestamp: Timestamp,
    /// What it is.
    pub kind: AppOrDevice,
    /// Package name or device model.
    pub name: String,
    /// Version of the application or of the operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Application or device.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppOrDevice {
    /// An installed application.
    App,
    /// A fact about the device.
    Device,
}

/// An address book entry.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"timestamp": "2026-01-02T03:04:05Z", "name": "Aunt", "phones": ["+91 22 5550 0100"]}))]
pub struct ContactRecord {
    /// The client's id of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RecordKey>,
    /// When it was read.
    pub timestamp: Timestamp,
    /// Display name.
    pub name: String,
    /// Phone numbers.
    pub phones: Vec<String>,
}

/// A call.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"timestamp": "2026-01-02T03:04:05Z", "number": "+1 555 0100", "direction": "missed", "durationSeconds": 0}))]
#[serde(rename_all = "camelCase")]
pub struct CallRecord {
    /// The client's id of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RecordKey>,
    /// When it began.
    pub timestamp: Timestamp,
    /// The other side.
    pub number: String,
    /// Who called.
    pub direction: CallDirection,
    /// Length, seconds.
    #[schema(minimum = 0)]
    pub duration_seconds: i64,
}

/// Who called.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallDirection {
    /// The other side did.
    Incoming,
    /// The user did.
    Outgoing,
    /// The other side did, in vain.
    Missed,
}

/// The client's id of a record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum RecordKey {
    /// A non-empty text.
    Text(String),
    /// An integer.
    Number(i64),
}

/// A time from 1970 to 9999.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Timestamp {
    /// RFC 3339.
    Text(DateTime<Utc>),
    /// Milliseconds since 1970.
    Milliseconds(i64),
}

/// What became of each record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncResponse {
    /// The upload.
    pub batch_id: Uuid,
    /// A result for each record, in the order of the request.
    pub results: Vec<RecordResult>,
}

/// What became of a record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum RecordResult {
    /// Kafka has it.
    Stored {
        /// Where.
        receipt: Receipt,
    },
    /// It can never be stored as it is.
    Invalid {
        /// Path of the field in the request, for example `records[3].timestamp`.
        field: String,
        /// What is wrong and what is wanted.
        problem: String,
    },
    /// Not acknowledged: it may or may not be stored. Sent again as it is, it is stored once.
    Retry {
        /// Stable name of the reason, for example `queue_full`.
        reason: String,
    },
}

/// Either a result for each record, all of them invalid, or what is wrong with the upload itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum BadRequest {
    /// Every record is invalid.
    Records(SyncResponse),
    /// The upload is refused as a whole.
    Upload(ErrorResponse),
}

/// Either a result for each record, none of them stored, or why the upload was not taken at all.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Unavailable {
    /// No record is acknowledged.
    Records(SyncResponse),
    /// The upload was not taken.
    Upload(ErrorResponse),
}

/// Where Kafka keeps a stored record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Kafka cluster id.
    pub cluster: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset of the message.
    pub offset: i64,
    /// Place of the record in its message.
    pub index: i32,
    /// Identity of the record in the stores.
    pub record_id: Uuid,
}

/// An upload that is refused as a whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorResponse {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// Stable name of the error, for example `invalid_field`.
    pub code: String,
    /// What is wrong and what to do about it.
    pub message: String,
    /// Path of the field that is wrong, for example `records[3].timestamp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Source, identity};
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    fn schema(name: &str) -> Value {
        let document = serde_json::to_value(document()).unwrap();
        document["components"]["schemas"][name].clone()
    }

    fn properties(name: &str) -> BTreeSet<String> {
        schema(name)["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }

    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn requests_and_answers_are_those_of_the_contract() {
        let request = contract::SyncRequest {
            user: "u".to_owned(),
            device: "d".to_owned(),
            batch_id: Some(Uuid::nil()),
            records: vec![json!({})],
        };
        let mut fields = keys(&serde_json::to_value(request).unwrap());
        fields.insert("record".to_owned());
        assert_eq!(properties("SyncRequest"), fields);
        let receipt = identity::Receipt {
            cluster: String::new(),
            topic: String::new(),
            partition: 0,
            offset: 0,
            index: 0,
            record_id: Uuid::nil(),
        };
        let results = [
            contract::RecordResult::Stored { receipt },
            contract::RecordResult::Invalid {
                field: String::new(),
                problem: String::new(),
            },
            contract::RecordResult::Retry { reason: String::new() },
        ];
        let answer = contract::SyncResponse {
            batch_id: Uuid::nil(),
            results: results.into(),
        };
        let answer = serde_json::to_value(answer).unwrap();
        assert_eq!(properties("SyncResponse"), keys(&answer));
        assert_eq!(properties("Receipt"), keys(&answer["results"][0]["receipt"]));
        let described = schema("RecordResult")["oneOf"].clone();
        for (result, described) in answer["results"]
            .as_array()
            .unwrap()
            .iter()
            .zip(described.as_array().unwrap())
        {
            assert_eq!(keys(&described["properties"]), keys(result));
            assert_eq!(described["properties"]["status"]["enum"], json!([result["status"]]));
        }
        assert_eq!(
            schema("SourceName")["enum"],
            json!(Source::ALL.map(Source::name)),
            "{}",
            schema("SourceName")
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = serde_json::to_string(document()).unwrap();
        let references: Vec<&str> = text.split(r##""#/components/schemas/"##).skip(1).collect();
        assert!(references.len() > 10, "{text}");
        for reference in references {
            let name = reference.split('"').next().unwrap();
            assert!(schema(name).is_object(), "{name} is not described");
        }
    }

    #[test]
    fn every_example_is_a_good_record_and_every_required_field_is_required() {
        let records = [
            (Source::Sms, "SmsRecord"),
            (Source::Events, "EventRecord"),
            (Source::AppsAndDevice, "AppOrDeviceRecord"),
            (Source::Contacts, "ContactRecord"),
            (Source::CallLogs, "CallRecord"),
        ];
        assert_eq!(schema("Record")["anyOf"].as_array().unwrap().len(), records.len());
        for (source, name) in records {
            let schema = schema(name);
            let example = &schema["example"];
            contract::Record::parse(source, example).unwrap_or_else(|error| panic!("{name}: {error}"));
            for field in schema["required"].as_array().unwrap() {
                let mut without = example.clone();
                without.as_object_mut().unwrap().remove(field.as_str().unwrap());
                let error = contract::Record::parse(source, &without).unwrap_err();
                assert_eq!(Value::from(error.field), *field, "{name}");
            }
        }
    }
}
