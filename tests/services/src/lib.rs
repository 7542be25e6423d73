//! tests/services
