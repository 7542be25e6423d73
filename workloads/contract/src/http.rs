//! HTTP headers of the producer beside those of HTTP itself, and the form of its API keys.

/// Request: 1 to [`MAX_IDEMPOTENCY_KEY`] visible ASCII characters that name this upload. Sent again, it is answered as
/// the first time.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest [`IDEMPOTENCY_KEY`].
pub const MAX_IDEMPOTENCY_KEY: usize = 255;
/// Answer: `true` where it is the kept one of an earlier request.
pub const IDEMPOTENT_REPLAY: &str = "idempotent-replay";

/// First part of an API key, `spk_<id>_<secret>`, by which scanners find one that has leaked.
pub const API_KEY_PREFIX: &str = "spk";
/// Longest name of an API key's client and longest tenant of one, bytes.
pub const MAX_CLIENT: usize = 128;
