//! What is sent.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Ref, RefOr, Schema, schema::AnyOfBuilder},
};
use uuid::Uuid;

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
