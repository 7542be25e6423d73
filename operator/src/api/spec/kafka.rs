//! The Kafka cluster of a pipeline.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuthoritySecret, ClientCertificateSecret, CredentialsSecret};

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
#[x_kube(
    validation = Rule::new("has(self.sasl) == (self.protocol in ['SASL_PLAINTEXT', 'SASL_SSL'])")
        .message("spec.kafka.security.sasl: needed with the protocols SASL_PLAINTEXT and SASL_SSL, and only then"),
    validation = Rule::new("!has(self.tls) || self.protocol in ['SSL', 'SASL_SSL']")
        .message("spec.kafka.security.tls: only with the protocols SSL and SASL_SSL"),
    validation = Rule::new("!has(self.sasl) || self.sasl.mechanism != 'AWS_MSK_IAM' || self.protocol == 'SASL_SSL'")
        .message("spec.kafka.security.protocol: must be SASL_SSL with the mechanism AWS_MSK_IAM"),
)]
pub struct KafkaSecurity {
    /// Protocol of the brokers' listener.
    pub protocol: SecurityProtocol,
    /// Mechanism and credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// Certificates; the brokers' must be signed by a public authority when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<KafkaTls>,
}

/// Protocol of the brokers' listener.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// No encryption, no password.
    #[serde(rename = "PLAINTEXT")]
    Plaintext,
    /// TLS, no password.
    #[serde(rename = "SSL")]
    Ssl,
    /// No encryption, with a password.
    #[serde(rename = "SASL_PLAINTEXT")]
    SaslPlaintext,
    /// TLS, with a password.
    #[serde(rename = "SASL_SSL")]
    SaslSsl,
}

impl SecurityProtocol {
    /// The name in the API and in Kafka clients' settings.
    pub const fn name(self) -> &'static str {
        match self {
            SecurityProtocol::Plaintext => "PLAINTEXT",
            SecurityProtocol::Ssl => "SSL",
            SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
            SecurityProtocol::SaslSsl => "SASL_SSL",
        }
    }

    /// Whether connections are encrypted.
    pub const fn uses_tls(self) -> bool {
        matches!(self, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
    }
}

/// The certificates of TLS. Host names are always checked.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct KafkaTls {
    /// Secret with the certificates of the authorities that may sign the brokers'; the public ones when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<AuthoritySecret>,
    /// Secret with the certificate and the private key that are shown to the brokers; none when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<ClientCertificateSecret>,
}

/// SASL mechanism and credentials.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.credentialsSecretRef) == (self.mechanism != 'AWS_MSK_IAM')")
        .message("spec.kafka.security.sasl.credentialsSecretRef: needed with the mechanisms PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512, and only then"),
    validation = Rule::new("!has(self.awsRegion) || self.mechanism == 'AWS_MSK_IAM'")
        .message("spec.kafka.security.sasl.awsRegion: only with the mechanism AWS_MSK_IAM"),
)]
pub struct Sasl {
    /// Mechanism. With `AWS_MSK_IAM` the roles that AWS gives the ServiceAccounts of the operator and of the pods
    /// stand for user name and password.
    pub mechanism: SaslMechanism,
    /// Secret with user name and password; not with `AWS_MSK_IAM`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<CredentialsSecret>,
    /// AWS region of an MSK cluster, for `AWS_MSK_IAM`; the one in the names of `bootstrapServers` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z]+(-[a-z]+)+-[0-9]+$"))]
    pub aws_region: Option<String>,
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
    /// A token of Amazon MSK, signed by an IAM role.
    #[serde(rename = "AWS_MSK_IAM")]
    AwsMskIam,
}

impl SaslMechanism {
    /// The name in the API and in the workloads' environment.
    pub const fn name(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
            SaslMechanism::AwsMskIam => "AWS_MSK_IAM",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// What the rules of one object say, in the API server's own language.
    fn refusals(security: &Value) -> Vec<String> {
        let outcome = kube::core::cel::validate_cel_schema::<KafkaSecurity>(security, None);
        let errors = outcome.err().map(|errors| errors.into_vec()).unwrap_or_default();
        errors.into_iter().map(|error| error.message).collect()
    }

    #[test]
    fn password_and_certificates_belong_to_their_protocols() {
        let sasl = json!({"mechanism": "SCRAM-SHA-512", "credentialsSecretRef": {"name": "a"}});
        let tls = json!({"caSecretRef": {"name": "b"}});
        let needs_password =
            "spec.kafka.security.sasl: needed with the protocols SASL_PLAINTEXT and SASL_SSL, and only then";
        let no_certificates = "spec.kafka.security.tls: only with the protocols SSL and SASL_SSL";
        let cases = [
            (json!({"protocol": "PLAINTEXT"}), vec![]),
            (json!({"protocol": "SSL"}), vec![]),
            (json!({"protocol": "SSL", "tls": tls}), vec![]),
            (json!({"protocol": "SASL_PLAINTEXT", "sasl": sasl}), vec![]),
            (json!({"protocol": "SASL_SSL", "sasl": sasl}), vec![]),
            (json!({"protocol": "SASL_SSL", "sasl": sasl, "tls": tls}), vec![]),
            (json!({"protocol": "SASL_PLAINTEXT"}), vec![needs_password]),
            (json!({"protocol": "SASL_SSL", "tls": tls}), vec![needs_password]),
            (json!({"protocol": "SSL", "sasl": sasl}), vec![needs_password]),
            (json!({"protocol": "PLAINTEXT", "tls": tls}), vec![no_certificates]),
            (
                json!({"protocol": "SASL_PLAINTEXT", "sasl": sasl, "tls": tls}),
                vec![no_certificates],
            ),
            (
                json!({"protocol": "PLAINTEXT", "sasl": sasl, "tls": tls}),
                vec![needs_password, no_certificates],
            ),
        ];
        for (security, expected) in cases {
            assert_eq!(refusals(&security), expected, "{security}");
        }
    }

    #[test]
    fn a_role_stands_for_the_password_and_needs_encryption() {
        let needs_encryption = "spec.kafka.security.protocol: must be SASL_SSL with the mechanism AWS_MSK_IAM";
        let no_region = "spec.kafka.security.sasl.awsRegion: only with the mechanism AWS_MSK_IAM";
        let credentials = "spec.kafka.security.sasl.credentialsSecretRef: needed with the mechanisms PLAIN, \
                           SCRAM-SHA-256 and SCRAM-SHA-512, and only then";
        let security = |protocol: &str, sasl: &Value| json!({"protocol": protocol, "sasl": sasl});
        let role = json!({"mechanism": "AWS_MSK_IAM"});
        let in_region = json!({"mechanism": "AWS_MSK_IAM", "awsRegion": "eu-central-1"});
        let with_password = json!({"mechanism": "AWS_MSK_IAM", "credentialsSecretRef": {"name": "a"}});
        let without_password = json!({"mechanism": "SCRAM-SHA-512"});
        let region_alone =
            json!({"mechanism": "PLAIN", "credentialsSecretRef": {"name": "a"}, "awsRegion": "eu-central-1"});
        let cases = [
            (security("SASL_SSL", &role), vec![]),
            (security("SASL_SSL", &in_region), vec![]),
            (security("SASL_PLAINTEXT", &role), vec![needs_encryption]),
            (security("SASL_SSL", &with_password), vec![credentials]),
            (security("SASL_SSL", &without_password), vec![credentials]),
            (security("SASL_SSL", &region_alone), vec![no_region]),
        ];
        for (security, expected) in cases {
            assert_eq!(refusals(&security), expected, "{security}");
        }
    }

    #[test]
    fn keys_have_the_names_that_tools_give_them() {
        let tls: KafkaTls =
            serde_json::from_value(json!({"caSecretRef": {"name": "a"}, "clientCertSecretRef": {"name": "b"}}))
                .unwrap();
        assert_eq!(tls.ca_secret_ref.unwrap().key, "ca.crt");
        let client = tls.client_cert_secret_ref.unwrap();
        assert_eq!(
            (client.certificate_key.as_str(), client.private_key_key.as_str()),
            ("tls.crt", "tls.key")
        );
    }
}
