//! What a stand-in for a vendor's image says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Port that it listens on, whatever it is told.
pub const PORT: u16 = 3000;

/// What it found when it started: one line of JSON in its log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Number of its user.
    pub user: u32,
    /// Whether it could write beside its own binary.
    pub writes: bool,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
}
