//! Tokens for Amazon MSK with IAM. What a Kafka client shows there as its OAUTHBEARER token is a signed URL.
//!
//! - [`region`]: the region that a broker's name tells
//! - [`token`]: from credentials and time to a token, without I/O
//! - [`signer`]: the credentials that AWS gives this process, and tokens made of them
//! - `chain`: where those credentials are looked for

mod chain;
pub mod region;
pub mod signer;
pub mod token;

pub use signer::{Signer, TokenError};
pub use token::Token;
