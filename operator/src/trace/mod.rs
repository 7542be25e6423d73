//! What a scaler saw and decided, kept for a while, and decided once more from it.
//!
//! - [`line`]: one look, or the policy from then on                                    (pure)
//! - [`segments`]: lines → pieces that fit a ConfigMap                                  (pure)
//! - [`keeper`]: writes them, one task a reader
//! - [`file`]: what somebody saved of it → lines
//! - [`replay`]: lines → decisions; [`arrivals`]: lines → a load for the model           (pure)

pub mod arrivals;
pub mod file;
pub mod keeper;
pub mod line;
pub mod replay;
pub mod segments;
