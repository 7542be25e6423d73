//! The SyncPipeline operator.
//!
//! One pass: `SyncPipeline ─► validate ─► resolve (Secrets) ─► plan (pure) ─► topics ─► apply ─► observe ─► status`.
//!
//! - [`api`]: what users write and what the operator answers
//! - [`reconcile`]: the pass, on one page
//! - [`validate`], [`ladder`], [`plan`], [`claims`], [`defaults`], [`scale::decide`], [`starter`], [`handover`],
//!   [`succession`], [`status`]: pure decisions
//! - [`objects`], [`deployments`]: what the watches see, so that a pass at rest asks the API server for no object
//! - [`resolve`], [`kafka`], [`topics`], [`ownership`], [`apply`], [`deletion`], [`report`], [`scale::follow`]: the
//!   edges, where I/O is
//! - [`run`], [`scope`], [`watching`], [`leader`], [`http`], [`api_client`], [`metrics`]: the running program
//! - [`preview`]: what it would change; [`simulate`]: what its policy would do; [`trace`]: what it saw and decided;
//!   [`fault`]: where tests cut it off

pub mod api;
pub mod api_client;
pub mod apply;
pub mod claims;
pub mod defaults;
pub mod deletion;
pub mod deployments;
pub mod fault;
pub mod handover;
pub mod http;
pub mod kafka;
pub mod ladder;
pub mod leader;
pub mod manifest;
pub mod metrics;
pub mod objects;
pub mod ownership;
pub mod plan;
pub mod preview;
pub mod reconcile;
pub mod report;
pub mod resolve;
pub mod run;
pub mod scale;
pub mod scope;
pub mod simulate;
pub mod starter;
pub mod status;
pub mod succession;
pub mod topics;
pub mod trace;
pub mod validate;
pub mod watching;
