//! workloads/producer
fn main() {}
