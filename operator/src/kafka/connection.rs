//! Connections to Kafka clusters, shared by all pipelines that use the same one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use krafka::Kafka;
use krafka::admin::AdminClient;
use krafka::auth::AuthConfig;
use krafka::error::KrafkaError;
use tokio::sync::Mutex;

use crate::api::spec::SaslMechanism;

/// How long one call to a cluster may take.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a cluster is, and who we are there.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Bootstrap servers, separated by commas.
    pub bootstrap_servers: String,
    /// Mechanism, user name and password; absent for plain text.
    pub sasl: Option<(Mechanism, String, String)>,
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
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.sasl.as_ref().map(|(mechanism, user, _)| (mechanism, user));
        f.debug_struct("Connection")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("sasl", &user)
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
            KafkaError::NotEnoughBrokers { .. } => "NotEnoughBrokers",
            KafkaError::TopicRefused { .. } => "TopicRefused",
        }
    }
}

/// One Kafka cluster.
#[derive(Debug)]
pub struct Cluster {
    pub(super) admin: AdminClient,
    bootstrap_servers: String,
}

impl Cluster {
    async fn connect(connection: &Connection) -> Result<Cluster, KafkaError> {
        let mut builder = Kafka::builder(connection.bootstrap_servers.clone())
            .client_id("syncpipeline-operator")
            .request_timeout(CALL_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .metadata_max_age(Duration::from_secs(30));
        if let Some((mechanism, user, password)) = &connection.sasl {
            let make = match mechanism {
                Mechanism::Plain => AuthConfig::sasl_plain,
                Mechanism::ScramSha256 => AuthConfig::sasl_scram_sha256,
                Mechanism::ScramSha512 => AuthConfig::sasl_scram_sha512,
            };
            builder = builder.security(make(user.clone(), password.clone()));
        }
        let bootstrap_servers = connection.bootstrap_servers.clone();
        let connecting = tokio::time::timeout(2 * CALL_TIMEOUT, builder.connect());
        match connecting.await {
            Ok(Ok(kafka)) => Ok(Cluster {
                admin: kafka.admin(),
                bootstrap_servers,
            }),
            Ok(Err(error)) => Err(classify(&bootstrap_servers, error)),
            Err(_) => Err(KafkaError::KafkaUnreachable {
                bootstrap_servers,
                problem: format!("no answer within {} s", 2 * CALL_TIMEOUT.as_secs()),
            }),
        }
    }

    pub(super) fn error(&self, error: KrafkaError) -> KafkaError {
        classify(&self.bootstrap_servers, error)
    }
}

fn classify(bootstrap_servers: &str, error: KrafkaError) -> KafkaError {
    let bootstrap_servers = bootstrap_servers.to_owned();
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

/// The clusters in use.
#[derive(Debug, Default)]
pub struct Clusters {
    open: Mutex<HashMap<Connection, Arc<Cluster>>>,
}

impl Clusters {
    /// The cluster of `connection`, connected on first use.
    pub async fn get(&self, connection: &Connection) -> Result<Arc<Cluster>, KafkaError> {
        if let Some(cluster) = self.open.lock().await.get(connection) {
            return Ok(cluster.clone());
        }
        // Not under the lock: an unreachable cluster must not hold up the pipelines of another.
        let cluster = Arc::new(Cluster::connect(connection).await?);
        Ok(self
            .open
            .lock()
            .await
            .entry(connection.clone())
            .or_insert(cluster)
            .clone())
    }

    /// Forgets a cluster, so that the next use connects anew.
    pub async fn forget(&self, connection: &Connection) {
        self.open.lock().await.remove(connection);
    }
}
