//! workloads/runtime
