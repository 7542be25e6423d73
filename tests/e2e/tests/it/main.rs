//! End-to-end tests: `cargo xtask test e2e chaos chart` brings up what they need and runs them.

mod chaos;
mod chart;
mod e2e;
mod tools;
mod world;
