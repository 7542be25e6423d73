//! The Kafka cluster of a pipeline.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CredentialsSecret;

/// The Kafka cluster.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.minInSyncReplicas) || !has(self.replicationFactor) || self.minInSyncReplicas <= self.replicationFactor")
    .message("spec.kafka.minInSyncReplicas: must not be more than replicationFactor"))]
pub struct Kafka {
    /// `host:port` of one or more brokers.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(min = 3, max = 261), regex(pattern = r"^[^:,\s]+:[0-9]{1,5}$"))
    )]
    pub bootstrap_servers: Vec<String>,

    /// How to talk to it; plain text without a password when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<KafkaSecurity>,

    /// Put before every topic name: two pipelines on one Kafka.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64), regex(pattern = r"^[a-zA-Z0-9._-]*$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.kafka.topicPrefix cannot be changed; make a new SyncPipeline"))]
    pub topic_prefix: String,

    /// Put before every consumer group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64), regex(pattern = r"^[a-zA-Z0-9._-]*$"))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.kafka.groupPrefix cannot be changed; make a new SyncPipeline"))]
    pub group_prefix: String,

    /// Copies of each topic; 3 when left out. In `dev` never more than there are brokers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub replication_factor: Option<i32>,

    /// Copies that must have a message before it is acknowledged; 2 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub min_in_sync_replicas: Option<i32>,
}

/// How to talk to Kafka.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.sasl) == (self.protocol == 'SASL_PLAINTEXT')")
    .message("spec.kafka.security.sasl: needed with protocol SASL_PLAINTEXT, and only then"))]
pub struct KafkaSecurity {
    /// Protocol of the brokers' listener.
    pub protocol: SecurityProtocol,
    /// Mechanism and credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
}

/// Protocol of the brokers' listener.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// No encryption, no password.
    #[serde(rename = "PLAINTEXT")]
    Plaintext,
    /// No encryption, with a password.
    #[serde(rename = "SASL_PLAINTEXT")]
    SaslPlaintext,
}

/// SASL mechanism and credentials.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Sasl {
    /// Mechanism.
    pub mechanism: SaslMechanism,
    /// Secret with user name and password.
    pub credentials_secret_ref: CredentialsSecret,
}

/// SASL mechanism.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password itself.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Challenge and response with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// The name in the API and in Kafka clients' settings.
    pub const fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}
