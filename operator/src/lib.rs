//! The SyncPipeline operator.
//!
//! One pass: `SyncPipeline ─► validate ─► resolve (Secrets) ─► plan (pure) ─► topics ─► apply ─► observe ─► status`.
//!
//! - [`api`]: what users write and what the operator answers
//! - [`reconcile`]: the pass, on one page
//! - [`validate`], [`ladder`], [`plan`], [`claims`], [`defaults`], [`scale::decide`], [`status`]: pure decisions
//! - [`resolve`], [`kafka`], [`topics`], [`ownership`], [`apply`], [`deletion`], [`report`], [`scale::follow`]: the
//!   edges, where I/O is
//! - [`run`], [`leader`], [`http`], [`metrics`]: the running program; [`preview`]: what it would change; [`fault`]: where tests cut it off

pub mod api;
pub mod apply;
pub mod claims;
pub mod defaults;
pub mod deletion;
pub mod fault;
pub mod http;
pub mod kafka;
pub mod ladder;
pub mod leader;
pub mod manifest;
pub mod metrics;
pub mod ownership;
pub mod plan;
pub mod preview;
pub mod reconcile;
pub mod report;
pub mod resolve;
pub mod run;
pub mod scale;
pub mod status;
pub mod topics;
pub mod validate;
