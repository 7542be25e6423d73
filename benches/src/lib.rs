//! Benchmarks that need nothing but this machine, and what all benchmarks show their results with.
//!
//! - [`figures`]: results, for people and for programs
//! - [`own_services`]: Kafka and the stores, for one run
//! - [`kafka`]: topics, and settings of both sides' clients; [`tools`]: Kafka's own measurements
//! - [`uploads`]: what phones would send; [`load`]: sends it, and measures; [`fill`]: puts it into a topic
//! - [`workload`]: producer and consumer as processes

pub mod figures;
pub mod fill;
pub mod kafka;
pub mod load;
pub mod own_services;
pub mod tools;
pub mod uploads;
pub mod workload;
