//! Benchmarks that need nothing but this machine, and what all benchmarks show their results with.
//!
//! - [`figures`]: results, for people and for programs
//! - [`own_services`]: Kafka and the stores, for one run

pub mod figures;
pub mod own_services;
