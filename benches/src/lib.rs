//! Benchmarks that need nothing but this machine, and what all benchmarks show their results with.
//!
//! - [`figures`]: results, for people and for programs

pub mod figures;
