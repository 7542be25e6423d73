//! The two stores, and what their errors mean for a batch.

pub mod health;
pub mod mongodb;
pub mod postgres;

/// What an error of a store asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The store is away, overloaded or in a conflict that passes: try again, soon.
    Passing,
    /// Something is missing or not allowed: a person has to act, keep trying meanwhile.
    Setup,
    /// A record cannot be stored, now or ever: find it and give it up.
    Data,
}

/// Why a store did not take a batch. Data errors never get here: they end as rejections.
#[derive(Debug, thiserror::Error)]
#[error("{store}: {reason}")]
pub struct StoreError {
    /// Name of the store, also the part of `/ready` and the metric label.
    pub store: &'static str,
    /// Whether it passes by itself.
    pub fault: Fault,
    /// What was reported, and what to do about it.
    pub reason: String,
}

/// Name of PostgreSQL in `/ready` and metrics.
pub const POSTGRES: &str = "postgres";
/// Name of MongoDB in `/ready` and metrics.
pub const MONGODB: &str = "mongodb";
