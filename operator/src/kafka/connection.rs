//! A connection to a Kafka cluster: where it is, who we are there, and what goes wrong.

use std::error::Error;
use std::iter;
use std::time::Duration;

use kafka_identity::krafka::authentication;
use kafka_identity::msk::TokenError;
use kafka_identity::{Login, Tls};
use krafka::Kafka;
use krafka::admin::AdminClient;
use krafka::error::KrafkaError;

use super::login;
use super::offsets::Ends;
use super::tls;

/// How long one call to a cluster may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a cluster is, and who we are there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Bootstrap servers, separated by commas.
    pub bootstrap_servers: String,
    /// Who we are to the brokers; absent where they do not ask.
    pub login: Option<Login>,
    /// Certificates; absent without encryption.
    pub tls: Option<Tls>,
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
    /// The brokers refused who we are.
    #[error("{bootstrap_servers} refused the credentials: {problem}; {advice}")]
    KafkaAuthenticationFailed {
        /// Bootstrap servers.
        bootstrap_servers: String,
        /// What the client says.
        problem: String,
        /// What to check.
        advice: &'static str,
    },
    /// AWS gives this process nothing to make a token of.
    #[error("no token for {bootstrap_servers}: {problem}")]
    AwsCredentialsMissing {
        /// Bootstrap servers.
        bootstrap_servers: String,
        /// Why, and what to do.
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
            KafkaError::AwsCredentialsMissing { .. } => "AwsCredentialsMissing",
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
        // Plain text without a password is what the client does unasked.
        if connection.login.is_some() || connection.tls.is_some() {
            builder = builder.security(authentication(connection.login.as_ref(), connection.tls.as_ref()));
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

pub(super) fn classify(connection: &Connection, error: &KrafkaError) -> KafkaError {
    let bootstrap_servers = connection.bootstrap_servers.clone();
    if let (Some(tls), Some(failure)) = (&connection.tls, tls::failure(error)) {
        return KafkaError::KafkaTlsFailed {
            bootstrap_servers,
            problem: failure.to_string(),
            advice: tls::advice(tls, failure),
        };
    }
    if let Some(missing) = missing_token(error) {
        return KafkaError::AwsCredentialsMissing {
            bootstrap_servers,
            problem: missing.to_string(),
        };
    }
    let problem = error.to_string();
    match (error, &connection.login) {
        (KrafkaError::Auth { .. }, login) => KafkaError::KafkaAuthenticationFailed {
            bootstrap_servers,
            problem,
            advice: login.as_ref().map_or("check spec.kafka.security", login::advice),
        },
        _ => KafkaError::KafkaUnreachable {
            bootstrap_servers,
            problem,
        },
    }
}

/// Why there was no token to show to the brokers, where that is among the causes of `error`.
fn missing_token(error: &KrafkaError) -> Option<&TokenError> {
    let first: &(dyn Error + 'static) = error;
    iter::successors(Some(first), |error| (*error).source()).find_map(|cause| cause.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_identity::Mechanism;

    fn connection(mechanism: Option<Mechanism>, tls: Option<Tls>) -> Connection {
        Connection {
            bootstrap_servers: "kafka:9092".to_owned(),
            login: mechanism.map(|mechanism| Login::Password {
                mechanism,
                username: "user".to_owned(),
                password: "hidden".to_owned(),
            }),
            tls,
        }
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
    fn a_refused_role_and_a_missing_one_are_told_apart() {
        let region = "eu-central-1".to_owned();
        let by_role = Connection {
            login: Some(Login::AwsMskIam { region }),
            ..connection(None, Some(Tls::default()))
        };
        let refused = classify(&by_role, &KrafkaError::auth("Access denied"));
        assert_eq!(refused.reason(), "KafkaAuthenticationFailed");
        assert!(
            refused.to_string().contains("permissions of kafka-cluster"),
            "{refused}"
        );

        let problem = "nobody answers".to_owned();
        let missing = KrafkaError::auth_with_source("no token for MSK", TokenError::NoCredentials { problem });
        let missing = classify(&by_role, &missing);
        assert_eq!(missing.reason(), "AwsCredentialsMissing");
        assert!(missing.to_string().contains("nobody answers"), "{missing}");
    }
}
