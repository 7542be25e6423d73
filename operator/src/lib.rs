//! The SyncPipeline operator.
//!
//! One pass: `SyncPipeline ─► resolve (Secrets) ─► validate ─► plan (pure) ─► apply ─► observe ─► status`.

pub mod api;
pub mod ladder;
pub mod manifest;
pub mod plan;
pub mod validate;
