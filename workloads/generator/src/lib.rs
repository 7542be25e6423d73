//! Believable mobile traffic from a seed, sent to a producer at given rates.
//!
//! - [`phase`]: how long, how fast and how much
//! - [`people`]: who uploads, from which country and device
//! - [`records`]: what they upload, a file for each source
//! - [`traffic`]: the n-th upload of a seed, always the same
//! - [`delivery`]: sends uploads until each has its answer
//! - [`tally`]: what became of them: progress and receipts
//! - [`http`]: `/progress` and `/receipts`

pub mod delivery;
pub mod http;
pub mod people;
pub mod phase;
pub mod records;
pub mod tally;
pub mod traffic;
