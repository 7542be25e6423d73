//! Settings of a Kafka client for the brokers that the environment names.

pub mod security;
pub mod tokens;

pub use security::Security;
pub use tokens::Tokens;

use crate::env::{Env, EnvError};
use contract::env;
use rdkafka::{
    ClientConfig, ClientContext,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};
use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

/// Name of this client in the brokers' logs and quotas where the pod has no host name.
const FALLBACK_CLIENT_ID: &str = "syncpipeline";

/// Bootstrap servers, security, client id and timeouts, for any kind of client. Callers add what their kind needs.
pub fn client_config(env: &Env) -> Result<ClientConfig, EnvError> {
    let brokers = env.required_list(env::KAFKA_BROKER_ENDPOINT)?;
    let client_id = env
        .optional("HOSTNAME")
        .unwrap_or_else(|| FALLBACK_CLIENT_ID.to_owned());
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers.join(","))
        .set("client.id", client_id)
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "5000")
        .set("socket.keepalive.enable", "true")
        // A broker that comes back is used again within about a second.
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "1000")
        .set_log_level(RDKafkaLogLevel::Warning);
    Security::from_env(env)?.set(&mut config);
    Ok(config)
}

/// The last error that a client reported in the background. A failed call often says only that it timed out,
/// while the reason (a refused password, a name that does not resolve) came earlier, through the client's error
/// callback. [`Diagnosis::explain`] joins the two. It is part of a [`Context`]; a context of another kind calls
/// [`Diagnosis::record`].
#[derive(Debug, Clone, Default)]
pub struct Diagnosis {
    last: Arc<Mutex<Option<String>>>,
}

impl Diagnosis {
    /// Keeps what the client's error callback reported.
    pub fn record(&self, error: &KafkaError, reason: &str) {
        // "All brokers are down" follows the error that says why, and would hide it.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }

    /// Forgets the last error, once the client works again.
    pub fn clear(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The failed call's error, with the last reported reason where there is one.
    pub fn explain(&self, error: &KafkaError) -> String {
        match &*self.last.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => format!("{error}; the client last reported: {reason}"),
            None => error.to_string(),
        }
    }
}

/// What a client that is no member of a group needs to be told: a token where it wants one, and where its errors go. A
/// context of another kind answers as this one does.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Keeps the last error.
    pub diagnosis: Diagnosis,
    /// Answers calls for a token.
    pub tokens: Tokens,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka client");
        self.diagnosis.record(&error, reason);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.answer()
    }
}

impl ConsumerContext for Context {}

/// A line of the Kafka client in this process's log.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, message);
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sasl(mechanism: &str) -> Vec<(&'static str, String)> {
        vec![
            (env::KAFKA_BROKER_ENDPOINT, "a:9092, b:9092".to_owned()),
            (env::KAFKA_SECURITY_PROTOCOL, "SASL_PLAINTEXT".to_owned()),
            (env::KAFKA_SASL_MECHANISM, mechanism.to_owned()),
            (env::KAFKA_USERNAME, "user".to_owned()),
            (env::KAFKA_PASSWORD, "secret".to_owned()),
        ]
    }

    #[test]
    fn plaintext_is_the_default() {
        let config = client_config(&Env::from_pairs([(env::KAFKA_BROKER_ENDPOINT, "a:9092")])).unwrap();
        assert_eq!(config.get("bootstrap.servers"), Some("a:9092"));
        assert_eq!(config.get("security.protocol"), Some("plaintext"));
        assert_eq!(config.get("sasl.mechanism"), None);
    }

    #[test]
    fn credentials_reach_the_client() {
        let config = client_config(&Env::from_pairs(sasl("SCRAM-SHA-512"))).unwrap();
        assert_eq!(config.get("bootstrap.servers"), Some("a:9092,b:9092"));
        assert_eq!(config.get("security.protocol"), Some("sasl_plaintext"));
        assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
        assert_eq!(config.get("sasl.password"), Some("secret"));
        // Proves that the linked library was built with SCRAM: creating a client checks the mechanism.
        let _client: rdkafka::producer::BaseProducer = config.create().unwrap();
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let cases = [
            (
                vec![],
                "environment variable DI_KAFKA_BROKER_ENDPOINT is not set; it is required",
            ),
            (
                sasl("OAUTHBEARER"),
                "environment variable DI_KAFKA_SASL_MECHANISM is wrong: must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or AWS_MSK_IAM",
            ),
            (
                sasl("PLAIN")
                    .into_iter()
                    .filter(|(name, _)| *name != env::KAFKA_PASSWORD)
                    .collect(),
                "environment variable DI_KAFKA_PASSWORD is not set; it is required",
            ),
        ];
        for (pairs, expected) in cases {
            assert_eq!(
                client_config(&Env::from_pairs(pairs)).unwrap_err().to_string(),
                expected
            );
        }
    }
}
