//! The only place that talks to Kafka.
//!
//! - [`connection`]: where a cluster is and who we are there; [`clusters`]: one client for each, shared
//! - `login`, `tls`: what a refused login and a failed handshake mean
//! - [`topics`]: topics as planned → topics as they are; [`drift`]: what to change, decided without I/O
//! - [`offsets`]: what the groups have read and what there is to read; `quiet`: which groups need not be asked;
//!   `gather`: many pipelines' questions as one
//!
//! The client is `krafka`: it has the calls for other groups' offsets, and rotates identities. It is used
//! nowhere else in the operator.

pub mod clusters;
pub mod connection;
pub mod drift;
mod gather;
mod login;
pub mod offsets;
mod quiet;
mod tls;
pub mod topics;

pub use clusters::Clusters;
pub use connection::{Cluster, Connection, KafkaError};
