//! A connection to a Kafka cluster: where it is, who we are there, and what goes wrong.

use std::fmt;
use std::time::Duration;

use krafka::Kafka;
use krafka::admin::AdminClient;
use krafka::auth::AuthConfig;
use krafka::error::KrafkaError;

use super::offsets::Ends;
use super::tls::{self, Tls};
use crate::api::spec::SaslMechanism;

/// How long one call to a cluster may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a cluster is, and who we are there.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Bootstrap servers, separated by commas.
    pub bootstrap_servers: String,
    /// Mechanism, user name and password; absent without a password.
    pub sasl: Option<(Mechanism, String, String)>,
    /// Certificates; absent without encryption.
    pub tls: Option<Tls>,
}

/// [`SaslMechanism`] as part of a map's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl From<SaslMechanism> for Mechanism {
    fn from(mechanism: SaslMechanism) -> Mechanism {
        match mechanism {
            SaslMechanism::Plain => Mechanism::Plain,
            SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
            SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
        }
    }
}

impl fmt::Debug for Connection {
    /// Without password and private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.sasl.as_ref().map(|(mechanism, user, _)| (mechanism, user));
        f.debug_struct("Connection")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("sasl", &user)
            .field("tls", &self.tls)
            .finish()
    }
}

/// What goes wrong with Kafka. The name of the variant is the reason of the condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// No broker answered.
    #[error(
        "no broker of {bootstrap_servers} answered: {problem}; check spec.kafka.bootstrapServers, the network, and that spec.kafka.security is what the listener wants"
    )]
    KafkaUnreachable {
        /// Bootstrap servers.
        bootstrap_servers: String,
        /// What the client says.
        problem: String,
    },
    /// The brokers refused user name or password.
    #[error("{bootstrap_servers} refused the credentials: {problem}; check the Secret of spec.kafka.security.sasl")]
    KafkaAuthenticationFailed {
        /// Bootstrap servers.
        bootstrap_servers: String,
        /// What the client says.
        problem: String,
    },
    /// One side did not accept the other's certificate, or the other side does not speak TLS.
    #[error("TLS with {bootstrap_servers} failed: {problem}; {advice}")]
    KafkaTlsFailed {
        /// Bootstrap servers.
        bootstrap_servers: String,
        /// What the client says.
        problem: String,
        /// What to check.
        advice: &'static str,
    },
    /// Fewer brokers than copies, outside `dev`.
    #[error(
        "topic {topic} wants {replication_factor} copies and the cluster has {brokers} brokers; add brokers or lower \
         spec.kafka.replicationFactor"
    )]
    NotEnoughBrokers {
        /// Topic.
        topic: String,
        /// Copies wanted.
        replication_factor: i32,
        /// Brokers there are.
        brokers: usize,
    },
    /// Kafka refused an operation on a topic.
    #[error("topic {topic}: {problem}")]
    TopicRefused {
        /// Topic.
        topic: String,
        /// What Kafka says.
        problem: String,
    },
}

impl KafkaError {
    /// Reason of the condition and of the Event.
    pub fn reason(&self) -> &'static str {
        match self {
            KafkaError::KafkaUnreachable { .. } => "KafkaUnreachable",
            KafkaError::KafkaAuthenticationFailed { .. } => "KafkaAuthenticationFailed",
            KafkaError::KafkaTlsFailed { .. } => "KafkaTlsFailed",
            KafkaError::NotEnoughBrokers { .. } => "NotEnoughBrokers",
            KafkaError::TopicRefused { .. } => "TopicRefused",
        }
    }
}

/// One Kafka cluster.
#[derive(Debug)]
pub struct Cluster {
    pub(super) admin: AdminClient,
    /// Where those who ask for the ends of topics meet.
    pub(super) ends: Ends,
    connection: Connection,
}

impl Cluster {
    pub(super) async fn connect(connection: &Connection) -> Result<Cluster, KafkaError> {
        let mut builder = Kafka::builder(connection.bootstrap_servers.clone())
            .client_id("syncpipeline-operator")
            .request_timeout(CALL_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .metadata_max_age(Duration::from_secs(30));
        if let Some(security) = connection.security() {
            builder = builder.security(security);
        }
        let connecting = tokio::time::timeout(2 * CALL_TIMEOUT, builder.connect());
        match connecting.await {
            Ok(Ok(kafka)) => Ok(Cluster {
                admin: kafka.admin(),
                ends: Ends::default(),
                connection: connection.clone(),
            }),
            Ok(Err(error)) => Err(classify(connection, &error)),
            Err(_) => Err(KafkaError::KafkaUnreachable {
                bootstrap_servers: connection.bootstrap_servers.clone(),
                problem: format!("no answer within {} s", 2 * CALL_TIMEOUT.as_secs()),
            }),
        }
    }

    pub(super) fn error(&self, error: KrafkaError) -> KafkaError {
        classify(&self.connection, &error)
    }
}

impl Connection {
    /// As the client takes it; nothing for plain text without a password.
    fn security(&self) -> Option<AuthConfig> {
        let tls = self.tls.as_ref().map(Tls::config);
        let Some((mechanism, user, password)) = &self.sasl else {
            return tls.map(AuthConfig::ssl);
        };
        let make = match mechanism {
            Mechanism::Plain => AuthConfig::sasl_plain,
            Mechanism::ScramSha256 => AuthConfig::sasl_scram_sha256,
            Mechanism::ScramSha512 => AuthConfig::sasl_scram_sha512,
        };
        let sasl = make(user.clone(), password.clone());
        Some(match tls {
            Some(tls) => sasl.with_tls(tls),
            None => sasl,
        })
    }
}

fn classify(connection: &Connection, error: &KrafkaError) -> KafkaError {
    let bootstrap_servers = connection.bootstrap_servers.clone();
    if let (Some(tls), Some(failure)) = (&connection.tls, tls::failure(error)) {
        return KafkaError::KafkaTlsFailed {
            bootstrap_servers,
            problem: failure.to_string(),
            advice: tls.advice(failure),
        };
    }
    let problem = error.to_string();
    match error {
        KrafkaError::Auth { .. } => KafkaError::KafkaAuthenticationFailed {
            bootstrap_servers,
            problem,
        },
        _ => KafkaError::KafkaUnreachable {
            bootstrap_servers,
            problem,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use krafka::auth::SecurityProtocol;

    fn connection(sasl: Option<Mechanism>, tls: Option<Tls>) -> Connection {
        Connection {
            bootstrap_servers: "kafka:9092".to_owned(),
            sasl: sasl.map(|mechanism| (mechanism, "user".to_owned(), "hidden".to_owned())),
            tls,
        }
    }

    #[test]
    fn password_and_encryption_make_the_protocol() {
        let protocol = |sasl, tls| {
            let security = connection(sasl, tls).security();
            security.map(|security| security.security_protocol().clone())
        };
        let (scram, tls) = (Some(Mechanism::ScramSha512), Some(Tls::default()));
        assert_eq!(protocol(None, None), None);
        assert_eq!(protocol(scram, None), Some(SecurityProtocol::SaslPlaintext));
        assert_eq!(protocol(None, tls.clone()), Some(SecurityProtocol::Ssl));
        assert_eq!(protocol(scram, tls), Some(SecurityProtocol::SaslSsl));
    }

    #[test]
    fn a_refused_password_and_a_refused_certificate_are_told_apart() {
        let over_tls = connection(Some(Mechanism::Plain), Some(Tls::default()));
        let handshake = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let handshake = std::io::Error::new(std::io::ErrorKind::InvalidData, handshake);
        let cases = [
            (
                KrafkaError::auth("SASL authentication failed"),
                "KafkaAuthenticationFailed",
            ),
            (
                KrafkaError::auth_with_source("TLS handshake failed", handshake),
                "KafkaTlsFailed",
            ),
            (KrafkaError::timeout("connect"), "KafkaUnreachable"),
        ];
        for (error, reason) in cases {
            assert_eq!(classify(&over_tls, &error).reason(), reason, "{error:?}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let shown = format!("{:?}", connection(Some(Mechanism::Plain), None));
        assert!(shown.contains("user") && !shown.contains("hidden"), "{shown}");
    }
}
