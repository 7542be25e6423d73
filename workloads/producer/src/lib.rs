//! HTTP ingestion into Kafka: `POST /v1/sync/{source}` takes an upload, writes its good records to the source's topic
//! and answers for each record: with a receipt once Kafka has acknowledged it, or with what is wrong.
//!
//! An upload passes through these modules, in this order:
//!
//! - [`api`]: the route, and what becomes of an upload from request to answer
//! - [`topics`]: which sources this pod takes, and where they go
//! - [`keys`]: whose request it is, where that is asked
//! - [`intake`]: media type, size and memory are checked before a body is read; [`encoding`]: it is unpacked
//! - [`upload`]: a body becomes validated messages, and errors that name the field
//! - [`ingest`]: what follows, to its end: [`idempotency`] (it may be a repeat), [`quota`], and
//! - [`kafka`]: messages are written and acknowledged, or the caller is told that nobody knows
//! - [`answer`]: a result for each record, and the status that follows; [`outbox`]: it is sent; [`refusal`]: the
//!   answer to an upload that is refused as a whole
//!
//! What became of uploads is asked at two other routes: [`receipts`] (of one message) and [`reconciliation`] (of all of
//! them), by what the consumers note in their [`ledger`].
//!
//! Around them: [`settings`] (the environment), [`database`] (PostgreSQL, for what replicas have to agree on), [`serve`]
//! (start, readiness and graceful shutdown), [`connections`] (slow clients), [`metrics`] and [`openapi`].

pub mod answer;
pub mod api;
pub mod connections;
pub mod database;
pub mod encoding;
pub mod idempotency;
pub mod ingest;
pub mod intake;
pub mod kafka;
pub mod keys;
pub mod ledger;
pub mod metrics;
pub mod openapi;
pub mod outbox;
pub mod quota;
pub mod receipts;
pub mod reconciliation;
pub mod refusal;
pub mod serve;
pub mod settings;
pub mod topics;
pub mod upload;

pub use serve::run;
pub use settings::Settings;
