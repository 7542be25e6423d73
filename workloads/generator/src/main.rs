//! workloads/generator
fn main() {}
