//! tests/host
