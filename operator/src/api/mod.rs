//! The `SyncPipeline` API: group `syncpipeline.dev`, version `v1alpha1`.
//!
//! - [`spec`]: what a user writes, with the rules that the API server itself checks
//! - [`status`]: what the operator answers
//! - [`duration`]: durations as Go strings

pub mod duration;
pub mod spec;
pub mod status;

pub use spec::{SyncPipeline, SyncPipelineSpec};
pub use status::SyncPipelineStatus;
