//! What a SyncPipeline refers to: Secrets, read from the API server.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};

use crate::api::spec::CredentialsSecret;
use crate::api::{SyncPipeline, SyncPipelineSpec};
use crate::kafka::Connection;
use crate::plan::SecretDigests;

/// What the references stand for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// How to reach Kafka.
    pub kafka: Connection,
    /// Digests of the credentials that pods use.
    pub digests: SecretDigests,
}

/// A reference that leads nowhere. The name of the variant is the reason of the condition.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No such Secret.
    #[error("{field}: there is no Secret {name} in namespace {namespace}; create it with keys {keys}")]
    SecretMissing {
        /// Field with the reference.
        field: &'static str,
        /// Name of the Secret.
        name: String,
        /// Namespace.
        namespace: String,
        /// Keys it must have.
        keys: String,
    },
    /// The Secret lacks a key.
    #[error("{field}: Secret {name} in namespace {namespace} has no key {key}")]
    SecretKeyMissing {
        /// Field with the reference.
        field: &'static str,
        /// Name of the Secret.
        name: String,
        /// Namespace.
        namespace: String,
        /// The missing key.
        key: String,
    },
    /// The API server did not answer.
    #[error("{field}: cannot read Secret {name}: {source}")]
    SecretUnreadable {
        /// Field with the reference.
        field: &'static str,
        /// Name of the Secret.
        name: String,
        /// What the API server says.
        source: Box<kube::Error>,
    },
}

impl ResolveError {
    /// Reason of the condition and of the Event.
    pub fn reason(&self) -> &'static str {
        match self {
            ResolveError::SecretMissing { .. } => "SecretMissing",
            ResolveError::SecretKeyMissing { .. } => "SecretKeyMissing",
            ResolveError::SecretUnreadable { .. } => "SecretUnreadable",
        }
    }
}

/// Names of the Secrets that a spec refers to.
pub fn secrets_of(spec: &SyncPipelineSpec) -> Vec<&str> {
    let sasl = spec.kafka.security.as_ref().and_then(|security| security.sasl.as_ref());
    let references = [
        sasl.map(|sasl| &sasl.credentials_secret_ref),
        spec.postgres.as_ref().map(|postgres| &postgres.credentials_secret_ref),
        spec.mongodb.as_ref().map(|mongodb| &mongodb.credentials_secret_ref),
    ];
    references
        .into_iter()
        .flatten()
        .map(|reference| reference.name.as_str())
        .collect()
}

struct Credentials {
    username: String,
    password: String,
    digest: String,
}

/// Reads every Secret that `object` refers to.
pub async fn resolve(client: &Client, object: &SyncPipeline) -> Result<Resolved, ResolveError> {
    let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let spec = &object.spec;
    let mut digests = SecretDigests::default();
    let mut kafka = Connection {
        bootstrap_servers: spec.kafka.bootstrap_servers.join(","),
        sasl: None,
    };
    if let Some(sasl) = spec.kafka.security.as_ref().and_then(|security| security.sasl.as_ref()) {
        let field = "spec.kafka.security.sasl.credentialsSecretRef";
        let credentials = read(&secrets, &namespace, field, &sasl.credentials_secret_ref).await?;
        kafka.sasl = Some((sasl.mechanism.into(), credentials.username, credentials.password));
        digests.kafka = credentials.digest;
    }
    if let Some(postgres) = &spec.postgres {
        let field = "spec.postgres.credentialsSecretRef";
        digests.postgres = read(&secrets, &namespace, field, &postgres.credentials_secret_ref)
            .await?
            .digest;
    }
    if let Some(mongodb) = &spec.mongodb {
        let field = "spec.mongodb.credentialsSecretRef";
        digests.mongodb = read(&secrets, &namespace, field, &mongodb.credentials_secret_ref)
            .await?
            .digest;
    }
    Ok(Resolved { kafka, digests })
}

async fn read(
    secrets: &Api<Secret>,
    namespace: &str,
    field: &'static str,
    reference: &CredentialsSecret,
) -> Result<Credentials, ResolveError> {
    let (name, namespace) = (reference.name.clone(), namespace.to_owned());
    let secret = match secrets.get_opt(&name).await {
        Ok(Some(secret)) => secret,
        Ok(None) => {
            let keys = format!("{} and {}", reference.username_key, reference.password_key);
            return Err(ResolveError::SecretMissing {
                field,
                name,
                namespace,
                keys,
            });
        }
        Err(source) => {
            return Err(ResolveError::SecretUnreadable {
                field,
                name,
                source: Box::new(source),
            });
        }
    };
    let value = |key: &String| {
        let found = secret.data.as_ref().and_then(|data| data.get(key));
        found
            .and_then(|value| String::from_utf8(value.0.clone()).ok())
            .ok_or_else(|| ResolveError::SecretKeyMissing {
                field,
                name: name.clone(),
                namespace: namespace.clone(),
                key: key.clone(),
            })
    };
    // Of the Secret's version and not of its content: a digest of a weak password would give it away.
    let version = format!(
        "{}/{}",
        secret.uid().unwrap_or_default(),
        secret.resource_version().unwrap_or_default()
    );
    Ok(Credentials {
        username: value(&reference.username_key)?,
        password: value(&reference.password_key)?,
        digest: hex::encode(&Sha256::digest(version.as_bytes())[..8]),
    })
}
