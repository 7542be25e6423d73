//! The operator and whole pipelines on a real cluster, with a real Kafka and real stores.

mod failures;
mod hands;
mod lifecycle;
mod modes;
mod preview;
mod records;
mod refusals;
mod rest;
mod scaling;
mod security;
mod topics;
mod vendor;
