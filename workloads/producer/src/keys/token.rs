//! What a client sends as its API key, and what is kept of it.

use contract::http::API_KEY_PREFIX;
use rand::RngExt;
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};
use subtle::ConstantTimeEq;

/// Bytes of the public part.
const ID_BYTES: usize = 8;
/// Bytes of the secret.
const SECRET_BYTES: usize = 32;

/// SHA-256 of a secret. A slow hash is for secrets that can be guessed: these are 256 random bits, which nobody tries
/// one by one however fast the hash is, and every request would pay for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// As kept by PostgreSQL; nothing for another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Hash> {
        bytes.try_into().ok().map(Hash)
    }

    /// To be kept by PostgreSQL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

/// `spk_<id>_<secret>`, both in lower-case hexadecimal digits.
#[derive(Clone)]
pub struct Token {
    id: String,
    secret: [u8; SECRET_BYTES],
}

/// Not an API key. What it was instead is not said: it may be somebody's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an API key")]
pub struct NotAToken;

impl Token {
    /// A new one.
    pub fn random() -> Token {
        // Cryptographically secure, seeded by the operating system.
        let mut random = rand::rng();
        Token {
            id: hex::encode(random.random::<[u8; ID_BYTES]>()),
            secret: random.random(),
        }
    }

    /// Public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What is kept of the secret.
    pub fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.secret).into())
    }

    /// Whether this is the secret that `kept` is of. Takes the same time for every wrong one.
    pub fn matches(&self, kept: &Hash) -> bool {
        self.hash().0.ct_eq(&kept.0).into()
    }

    /// The whole, to be shown to whoever asked for it, once.
    pub fn reveal(&self) -> String {
        format!("{API_KEY_PREFIX}_{}_{}", self.id, hex::encode(self.secret))
    }
}

impl FromStr for Token {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Token, NotAToken> {
        let rest = text
            .strip_prefix(API_KEY_PREFIX)
            .and_then(|rest| rest.strip_prefix('_'));
        let (id, secret) = rest.and_then(|rest| rest.split_once('_')).ok_or(NotAToken)?;
        let lower = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if id.len() != 2 * ID_BYTES || !lower(id) || !lower(secret) {
            return Err(NotAToken);
        }
        let mut bytes = [0; SECRET_BYTES];
        hex::decode_to_slice(secret, &mut bytes).map_err(|_| NotAToken)?;
        Ok(Token {
            id: id.to_owned(),
            secret: bytes,
        })
    }
}

/// The public part only.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({API_KEY_PREFIX}_{}_…)", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_survives_being_sent_and_matches_its_own_hash_only() {
        let (one, two) = (Token::random(), Token::random());
        let sent: Token = one.reveal().parse().unwrap();
        assert_eq!(sent.id(), one.id());
        assert!(sent.matches(&one.hash()));
        assert!(!sent.matches(&two.hash()));
        assert_eq!(one.reveal().len(), "spk_".len() + 16 + 1 + 64);
    }

    #[test]
    fn the_hash_is_that_of_the_standard() {
        let token: Token = format!("spk_0123456789abcdef_{}", "00".repeat(32)).parse().unwrap();
        assert_eq!(
            hex::encode(token.hash().as_bytes()),
            "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
        );
    }

    #[test]
    fn the_secret_is_not_shown() {
        let token = Token::random();
        let secret = hex::encode(token.secret);
        assert!(!format!("{token:?} {:?}", token.hash()).contains(&secret));
        assert!(!format!("{:?}", token.hash()).contains(&hex::encode(token.hash().as_bytes())));
    }

    #[test]
    fn what_is_not_quite_a_key_is_none() {
        let secret = "ab".repeat(32);
        for wrong in [
            String::new(),
            "spk".to_owned(),
            "spk__".to_owned(),
            format!("spk_0123456789abcdef_{secret}a"),
            format!("spk_0123456789abcdef_{}", &secret[2..]),
            format!("spk_0123456789ABCDEF_{secret}"),
            format!("spk_0123456789abcde_{secret}"),
            format!("sk_0123456789abcdef_{secret}"),
            format!("spk_0123456789abcdef_{}", secret.to_uppercase()),
        ] {
            assert!(wrong.parse::<Token>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_panic(text in ".{0,120}", tail in "[a-f0-9_]{0,100}") {
            let _ = text.parse::<Token>();
            let _ = format!("spk_{tail}").parse::<Token>();
        }
    }
}
