//! End-to-end tests: `cargo xtask test e2e chaos chart` brings up what they need and runs them.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its own functions too")]

mod chaos;
mod chart;
mod e2e;
mod look;
mod tools;
mod world;
