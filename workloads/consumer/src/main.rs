//! workloads/consumer
fn main() {}
