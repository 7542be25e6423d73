//! From credentials and time to a token. Pure.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign as sign_request,
};
use aws_sigv4::sign::v4;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// What a token allows.
const ACTION: &str = "kafka-cluster%3AConnect";
/// The service's name in the signature.
const SERVICE: &str = "kafka-cluster";
/// How long the brokers take a token.
const LIFETIME: Duration = Duration::from_secs(900);
/// Who made it, in the brokers' logs; no part of what is signed.
const USER_AGENT: &str = concat!("&User-Agent=syncpipeline%2F", env!("CARGO_PKG_VERSION"));

/// A token for the brokers of one region.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What is shown to the brokers.
    pub value: String,
    /// When it ends: after a quarter of an hour, or with the credentials.
    pub ends: SystemTime,
}

/// The token cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token for region {region:?} cannot be signed: {problem}")]
pub struct SigningError {
    /// The region.
    pub region: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Debug for Token {
    /// Without the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// When it ends, in milliseconds since 1970, as Kafka clients count.
    pub fn ends_millis(&self) -> i64 {
        let since = self.ends.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// Signs a token at the time `now`.
pub fn sign(credentials: &Credentials, region: &str, now: SystemTime) -> Result<Token, SigningError> {
    let url = signed_url(credentials, region, now).map_err(|problem| SigningError {
        region: region.to_owned(),
        problem,
    })?;
    let ends = whole_seconds(now) + LIFETIME;
    Ok(Token {
        value: BASE64_URL_SAFE_NO_PAD.encode(url + USER_AGENT),
        ends: credentials.expiry().map_or(ends, |expiry| expiry.min(ends)),
    })
}

fn signed_url(credentials: &Credentials, region: &str, now: SystemTime) -> Result<String, String> {
    let url = format!("https://kafka.{region}.amazonaws.com/?Action={ACTION}");
    let mut request = http::Request::get(&url).body(()).map_err(|error| error.to_string())?;
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(LIFETIME);
    let identity = credentials.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(now)
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let signable = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::Bytes(&[]))
        .map_err(|error| error.to_string())?;
    let (instructions, _) = sign_request(signable, &parameters)
        .map_err(|error| error.to_string())?
        .into_parts();
    instructions.apply_to_request_http1x(&mut request);
    Ok(request.uri().to_string())
}

/// The signature's time has no fractions, so its lifetime begins with the whole second.
fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::{Digest, Sha256};

    const KEY_ID: &str = "AKIDEXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    const SESSION: &str = "session+token/with=signs";
    const REGION: &str = "eu-central-1";
    /// 2026-01-02T03:04:05.678Z.
    const NOW: Duration = Duration::from_millis(1_767_323_045_678);

    fn credentials(ends: Option<Duration>) -> Credentials {
        let ends = ends.map(|ends| UNIX_EPOCH + ends);
        Credentials::new(KEY_ID, SECRET, Some(SESSION.to_owned()), ends, "test")
    }

    fn signed() -> Token {
        sign(&credentials(None), REGION, UNIX_EPOCH + NOW).unwrap()
    }

    /// The URL, and its query in the order in which it is written, still encoded.
    fn opened(token: &Token) -> (String, Vec<(String, String)>) {
        let url = BASE64_URL_SAFE_NO_PAD.decode(&token.value).unwrap();
        let url = String::from_utf8(url).unwrap();
        let (base, query) = url.split_once('?').unwrap();
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        (base.to_owned(), pairs.collect())
    }

    fn hmac(key: &[u8], text: &str) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    /// AWS Signature Version 4 of a presigned GET without a body, as its description says.
    fn signature(host: &str, query: &[(String, String)]) -> String {
        let mut query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        query.sort();
        let nothing = hex::encode(Sha256::digest(b""));
        let canonical = format!("GET\n/\n{}\nhost:{host}\n\nhost\n{nothing}", query.join("&"));
        let scope = format!("20260102/{REGION}/kafka-cluster/aws4_request");
        let digest = hex::encode(Sha256::digest(canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n20260102T030405Z\n{scope}\n{digest}");
        let key = ["20260102", REGION, "kafka-cluster", "aws4_request"]
            .iter()
            .fold(format!("AWS4{SECRET}").into_bytes(), |key, part| hmac(&key, part));
        hex::encode(hmac(&key, &text))
    }

    #[test]
    fn the_token_is_a_signed_url_that_the_brokers_can_check() {
        let (base, mut query) = opened(&signed());
        assert_eq!(base, "https://kafka.eu-central-1.amazonaws.com/");
        let maker = query.pop().unwrap();
        assert_eq!(maker.0, "User-Agent", "appended, not signed");
        assert!(maker.1.starts_with("syncpipeline%2F"), "{}", maker.1);
        let shown = query.iter().position(|(name, _)| name == "X-Amz-Signature").unwrap();
        let (_, shown) = query.remove(shown);
        for (name, value) in [
            ("Action", "kafka-cluster%3AConnect"),
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            (
                "X-Amz-Credential",
                "AKIDEXAMPLE%2F20260102%2Feu-central-1%2Fkafka-cluster%2Faws4_request",
            ),
            ("X-Amz-Date", "20260102T030405Z"),
            ("X-Amz-Expires", "900"),
            ("X-Amz-Security-Token", "session%2Btoken%2Fwith%3Dsigns"),
            ("X-Amz-SignedHeaders", "host"),
        ] {
            let found = query.iter().find(|(found, _)| found == name);
            assert_eq!(found.map(|(_, value)| value.as_str()), Some(value), "{name}");
        }
        assert_eq!(query.len(), 7, "{query:?}");
        assert_eq!(shown, signature("kafka.eu-central-1.amazonaws.com", &query));
    }

    #[test]
    fn it_ends_after_a_quarter_of_an_hour_or_with_the_credentials() {
        let second = Duration::from_secs(NOW.as_secs());
        assert_eq!(signed().ends_millis(), 1_767_323_045_000 + 900_000);
        let ends = |credentials_end| {
            let token = sign(&credentials(Some(credentials_end)), REGION, UNIX_EPOCH + NOW).unwrap();
            token.ends.duration_since(UNIX_EPOCH).unwrap()
        };
        assert_eq!(ends(second + Duration::from_secs(3600)), second + LIFETIME);
        assert_eq!(ends(second + Duration::from_secs(60)), second + Duration::from_secs(60));
    }

    #[test]
    fn the_value_is_url_safe_and_never_shown() {
        let token = signed();
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        assert!(token.value.bytes().all(safe), "{}", token.value);
        let shown = format!("{token:?}");
        assert!(!shown.contains(&token.value), "{shown}");
    }

    #[test]
    fn a_region_that_is_none_is_an_error_that_names_it() {
        let error = sign(&credentials(None), "eu central", UNIX_EPOCH + NOW).unwrap_err();
        assert!(error.to_string().contains("eu central"), "{error}");
    }
}
