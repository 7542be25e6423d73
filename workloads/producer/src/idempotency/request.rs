//! What a client calls its request, and what tells two requests apart.

use actix_web::http::header::HeaderMap;
use contract::{
    Source,
    http::{IDEMPOTENCY_KEY, MAX_IDEMPOTENCY_KEY},
};
use sha2::{Digest, Sha256};
use std::fmt;

/// A request that may be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepeatableRequest {
    /// Whose it is. Senders do not share their keys.
    pub sender: Sender,
    /// What the client calls it.
    pub key: String,
    /// What was asked.
    pub fingerprint: Fingerprint,
}

/// SHA-256 of who sends an upload. All devices of an app may have one API key, or none, and count their uploads alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sender(String);

impl Sender {
    /// Who uploads for `user` and `device` of `tenant`, with an API key of `client`, which is empty where no key is asked
    /// for.
    pub fn new(client: &str, tenant: &str, user: &str, device: &str) -> Sender {
        Sender(hex::encode(digest(&[client, tenant, user, device].map(str::as_bytes))))
    }

    /// To be kept by PostgreSQL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// The header is there, and is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{IDEMPOTENCY_KEY} must be given once, as 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters")]
pub struct NotAKey;

/// The key of a request with these headers, where it has one.
pub fn key(headers: &HeaderMap) -> Result<Option<String>, NotAKey> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY);
    let Some(value) = values.next() else { return Ok(None) };
    let visible = |byte: &u8| byte.is_ascii_graphic();
    match value.to_str() {
        Ok(key)
            if (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len())
                && key.as_bytes().iter().all(visible)
                && values.next().is_none() =>
        {
            Ok(Some(key.to_owned()))
        }
        _ => Err(NotAKey),
    }
}

/// SHA-256 of everything that the answer depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of an upload to `topic` for `tenant`. The body counts as it was before it was packed.
    pub fn of(source: Source, topic: &str, tenant: &str, body: &[u8]) -> Fingerprint {
        Fingerprint(digest(&[
            source.name().as_bytes(),
            topic.as_bytes(),
            tenant.as_bytes(),
            body,
        ]))
    }

    /// To be kept by PostgreSQL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn of(values: &[&[u8]]) -> Result<Option<String>, NotAKey> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value).unwrap();
            headers.append(HeaderName::from_static(IDEMPOTENCY_KEY), value);
        }
        key(&headers)
    }

    #[test]
    fn a_key_is_visible_ascii_once() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[b"\"a-1\""]), Ok(Some("\"a-1\"".to_owned())));
        let longest = "x".repeat(MAX_IDEMPOTENCY_KEY);
        assert_eq!(of(&[longest.as_bytes()]), Ok(Some(longest.clone())));
        let longer = format!("{longest}x");
        for wrong in [
            &[&b""[..]][..],
            &[b"a b"],
            &[b"\xc3\xa4"],
            &[longer.as_bytes()],
            &[b"a", b"a"],
        ] {
            assert_eq!(of(wrong), Err(NotAKey), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_header_of_any_bytes_is_a_key_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes)
                && let Ok(Some(key)) = of(&[value.as_bytes()])
            {
                prop_assert_eq!(key.as_bytes(), bytes);
            }
        }

        #[test]
        fn another_part_is_another_request(one in "[a-b]{0,4}", two in "[a-b]{0,4}", body in "[a-b]{0,4}") {
            let first = Fingerprint::of(Source::Sms, &one, &two, body.as_bytes());
            prop_assert!(first != Fingerprint::of(Source::Events, &one, &two, body.as_bytes()));
            let longer = |text: &str| format!("{text}a");
            prop_assert!(first != Fingerprint::of(Source::Sms, &longer(&one), &two, body.as_bytes()));
            prop_assert!(first != Fingerprint::of(Source::Sms, &one, &two, longer(&body).as_bytes()));
        }
    }
}
