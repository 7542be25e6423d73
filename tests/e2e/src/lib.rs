//! The whole pipeline on a real cluster, seen from outside: what the demo, the benchmarks and the end-to-end tests share.
//!
//! Looking and doing:
//! - [`cluster`]: objects, Events and pods of the Kubernetes cluster
//! - [`api_server`]: what it was asked to write
//! - [`environment`]: a namespace with the Services and Secrets that an example names
//! - [`pipeline`]: a `SyncPipeline`, and the names of everything that belongs to it
//! - [`kafka`]: topics, lag, messages and dead letters
//! - [`stores`]: rows and documents
//! - [`traffic`]: the generator, in a pod
//! - [`recorder`]: how lag and replicas went over time
//! - [`program`]: how a program ends that does some of this
//!
//! Judging, without touching anything:
//! - [`ladder`]: the design's rungs, and whether a history climbed them
//! - [`reaction`]: how long a decision took after its cause
//! - [`verdict`]: lost and twice

pub mod api_server;
pub mod cluster;
pub mod environment;
pub mod eventually;
pub mod kafka;
pub mod ladder;
pub mod pipeline;
pub mod program;
pub mod reaction;
pub mod recorder;
pub mod stores;
pub mod traffic;
pub mod verdict;
