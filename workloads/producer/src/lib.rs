//! HTTP ingestion into Kafka: `POST /v1/sync/{source}` takes an upload, writes it to the source's topic and answers
//! with a receipt for each record once Kafka has acknowledged all of them.
//!
//! An upload passes through these modules, in this order:
//!
//! - [`api`]: the route, and what becomes of an upload from request to answer
//! - [`topics`]: which sources this pod takes, and where they go
//! - [`intake`]: media type, size and memory are checked before a body is read
//! - [`upload`]: a body becomes validated messages, or an error that names the field
//! - [`kafka`]: messages are written and acknowledged, or the caller is told that nobody knows
//! - [`refusal`]: every other answer than 200
//!
//! Around them: [`settings`] (the environment), [`serve`] (start, readiness and graceful shutdown), [`metrics`]
//! and [`openapi`].

pub mod api;
pub mod intake;
pub mod kafka;
pub mod metrics;
pub mod openapi;
pub mod refusal;
pub mod serve;
pub mod settings;
pub mod topics;
pub mod upload;

pub use serve::run;
pub use settings::Settings;
