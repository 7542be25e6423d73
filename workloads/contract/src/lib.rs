//! Names and messages that the operator and every workload agree on.
//!
//! Each name stands here once: the operator writes it into a pod, the workload reads it from there.
//!
//! - [`env`](mod@env): environment variables of the workload images
//! - [`source`]: the five kinds of synced data, with their topics and consumer groups
//! - [`message`]: the envelope on the topics, and the HTTP request and answer in front of them
//! - [`sender`]: what an envelope says beside its records; [`raw_envelope`]: an envelope with its records as text
//! - [`record`]: what a record of each source must look like; [`reading`]: records as text, checked without a copy;
//!   [`scanned`] and [`scanned_upload`]: envelopes and uploads of such records, in one pass; [`values`]: how many values
//!   one may hold
//! - [`identity`]: record ids, delivery ids and receipts
//! - [`header`]: Kafka headers of dead letters
//! - [`http`]: HTTP headers and the form of API keys
//! - [`metric`]: metric names
//! - [`port`]: ports that the workloads listen on

mod begun_hash;
pub mod env;
pub mod header;
pub mod http;
pub mod identity;
pub mod message;
pub mod metric;
pub mod port;
pub mod raw_envelope;
pub mod reading;
pub mod record;
mod rfc3339;
mod scan;
pub mod scanned;
pub mod scanned_upload;
pub mod sender;
pub mod source;
pub mod values;

pub use identity::{DeliveryId, Receipt, RecordId};
pub use message::{Envelope, RecordResult, SyncRequest, SyncResponse};
pub use raw_envelope::RawEnvelope;
pub use reading::Reading;
pub use record::{FieldError, Record};
pub use scanned::ScannedRecords;
pub use scanned_upload::ScannedUpload;
pub use sender::Sender;
pub use source::Source;
