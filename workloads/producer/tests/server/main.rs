//! The producer's own process, in a crowd of clients that mean no good, and what it writes down about them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod child;
mod crowd;
mod idle;
mod privacy;
