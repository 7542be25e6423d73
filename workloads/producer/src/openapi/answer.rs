//! What is answered.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

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
