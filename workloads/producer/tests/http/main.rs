//! Every answer of the API, over a Kafka that answers as the test says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api;
mod bodies;
mod hostile;
mod keys;
mod receipts;
mod reconciliation;
mod records;
mod repeats;
mod rooms;
mod routes;
