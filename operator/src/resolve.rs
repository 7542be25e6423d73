//! What a SyncPipeline refers to: Secrets, read from the API server.

mod environment;
mod pem;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kafka_identity::{ClientCertificate, Login, Mechanism, Tls};
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};

use crate::api::spec::{
    AuthoritySecret, ClientCertificateSecret, CredentialsSecret, Kafka, KafkaSecurity, Sasl, SaslMechanism, SecretKey,
};
use crate::api::{SyncPipeline, SyncPipelineSpec};
use crate::kafka::Connection;
use crate::plan::SecretDigests;
use crate::validate::{InvalidSpec, aws_region};

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
    /// A key of the Secret holds something else than what is wanted.
    #[error("{field}: key {key} of Secret {name} in namespace {namespace} {problem}")]
    SecretInvalid {
        /// Field with the reference.
        field: &'static str,
        /// Name of the Secret.
        name: String,
        /// Namespace.
        namespace: String,
        /// The key.
        key: String,
        /// What is wrong with its value; never the value.
        problem: String,
    },
    /// A field that says who we are to Kafka is missing.
    #[error(transparent)]
    Spec(#[from] InvalidSpec),
    /// The API server did not answer.
    #[error("env: cannot read {name}: {source}")]
    EnvironmentUnreadable {
        /// Kind and name.
        name: String,
        /// What the API server says.
        source: Box<kube::Error>,
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
            ResolveError::SecretInvalid { .. } => "SecretInvalid",
            ResolveError::Spec(_) => "InvalidSpec",
            ResolveError::SecretUnreadable { .. } => "SecretUnreadable",
            ResolveError::EnvironmentUnreadable { .. } => "EnvironmentUnreadable",
        }
    }
}

/// Names of the Secrets that a spec refers to.
pub fn secrets_of(spec: &SyncPipelineSpec) -> Vec<&str> {
    let security = spec.kafka.security.as_ref();
    let sasl = security.and_then(|security| security.sasl.as_ref());
    let tls = security.and_then(|security| security.tls.as_ref());
    let credentials = [
        sasl.and_then(|sasl| sasl.credentials_secret_ref.as_ref()),
        spec.postgres.as_ref().map(|postgres| &postgres.credentials_secret_ref),
        spec.mongodb
            .as_ref()
            .and_then(|mongodb| mongodb.credentials_secret_ref.as_ref()),
    ];
    let postgres_tls = spec.postgres.as_ref().and_then(|postgres| postgres.tls.as_ref());
    let postgres_authorities = postgres_tls.and_then(|tls| tls.ca_secret_ref.as_ref());
    let uri = spec
        .mongodb
        .as_ref()
        .and_then(|mongodb| mongodb.uri_secret_ref.as_ref());
    let authorities = tls.and_then(|tls| tls.ca_secret_ref.as_ref());
    let client = tls.and_then(|tls| tls.client_cert_secret_ref.as_ref());
    credentials
        .into_iter()
        .flatten()
        .map(|reference| reference.name.as_str())
        .chain(authorities.map(|reference| reference.name.as_str()))
        .chain(postgres_authorities.map(|reference| reference.name.as_str()))
        .chain(uri.map(|reference| reference.name.as_str()))
        .chain(environment::names_of(spec, environment::Kind::Secret))
        .chain(client.map(|reference| reference.name.as_str()))
        .collect()
}

/// Reads every Secret that `object` refers to.
pub async fn resolve(client: &Client, object: &SyncPipeline) -> Result<Resolved, ResolveError> {
    let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
    let secrets = Secrets {
        api: Api::namespaced(client.clone(), &namespace),
        namespace,
    };
    let spec = &object.spec;
    let mut digests = SecretDigests::default();
    let mut kafka = Connection {
        bootstrap_servers: spec.kafka.bootstrap_servers.join(","),
        login: None,
        tls: None,
    };
    if let Some(security) = &spec.kafka.security {
        if let Some(sasl) = &security.sasl {
            let (login, digest) = secrets.login(sasl, &spec.kafka).await?;
            kafka.login = Some(login);
            digests.kafka = digest;
        }
        kafka.tls = secrets.tls(security).await?;
        digests.kafka += &kafka.tls.as_ref().map(digest_of_material).unwrap_or_default();
    }
    if let Some(postgres) = &spec.postgres {
        let field = "spec.postgres.credentialsSecretRef";
        let credentials = secrets.credentials(field, &postgres.credentials_secret_ref).await?;
        digests.postgres = credentials.digest;
        if let Some(reference) = postgres.tls.as_ref().and_then(|tls| tls.ca_secret_ref.as_ref()) {
            let field = "spec.postgres.tls.caSecretRef";
            digests.postgres += &digest([&*secrets.authorities(field, reference).await?]);
        }
    }
    if let Some(mongodb) = &spec.mongodb {
        if let Some(reference) = &mongodb.credentials_secret_ref {
            let field = "spec.mongodb.credentialsSecretRef";
            digests.mongodb = secrets.credentials(field, reference).await?.digest;
        }
        if let Some(reference) = &mongodb.uri_secret_ref {
            digests.mongodb += &secrets.uri("spec.mongodb.uriSecretRef", reference).await?;
        }
    }
    digests.environment = environment::digests(client, &secrets.namespace, spec)
        .await
        .map_err(|(name, source)| ResolveError::EnvironmentUnreadable {
            name,
            source: Box::new(source),
        })?;
    Ok(Resolved { kafka, digests })
}

/// Names of the ConfigMaps that a spec refers to.
pub fn config_maps_of(spec: &SyncPipelineSpec) -> Vec<&str> {
    environment::names_of(spec, environment::Kind::ConfigMap).collect()
}

struct Credentials {
    username: String,
    password: String,
    digest: String,
}

/// The Secrets of one namespace.
struct Secrets {
    api: Api<Secret>,
    namespace: String,
}

impl Secrets {
    async fn credentials(
        &self,
        field: &'static str,
        reference: &CredentialsSecret,
    ) -> Result<Credentials, ResolveError> {
        let keys = [&reference.username_key, &reference.password_key];
        let found = self.find(field, &reference.name, &keys).await?;
        Ok(Credentials {
            username: found.text(keys[0])?,
            password: found.text(keys[1])?,
            digest: digest_of_version(&found.secret),
        })
    }

    /// Who we are to Kafka, with the digest of the credentials; no digest where a role stands for them.
    async fn login(&self, sasl: &Sasl, kafka: &Kafka) -> Result<(Login, String), ResolveError> {
        let field = "spec.kafka.security.sasl.credentialsSecretRef";
        let mechanism = match sasl.mechanism {
            SaslMechanism::Plain => Mechanism::Plain,
            SaslMechanism::ScramSha256 => Mechanism::ScramSha256,
            SaslMechanism::ScramSha512 => Mechanism::ScramSha512,
            SaslMechanism::AwsMskIam => {
                let region = aws_region(kafka)?.unwrap_or_default();
                return Ok((Login::AwsMskIam { region }, String::new()));
            }
        };
        // The API server refuses such an object; `operator plan` has none to ask.
        let reference = sasl.credentials_secret_ref.as_ref().ok_or_else(|| InvalidSpec {
            field: field.to_owned(),
            problem: format!("is needed with the mechanism {}", sasl.mechanism.name()),
        })?;
        let credentials = self.credentials(field, reference).await?;
        let login = Login::Password {
            mechanism,
            username: credentials.username,
            password: credentials.password,
        };
        Ok((login, credentials.digest))
    }

    async fn tls(&self, security: &KafkaSecurity) -> Result<Option<Tls>, ResolveError> {
        if !security.protocol.uses_tls() {
            return Ok(None);
        }
        let mut tls = Tls::default();
        if let Some(settings) = &security.tls {
            if let Some(reference) = &settings.ca_secret_ref {
                let field = "spec.kafka.security.tls.caSecretRef";
                tls.authorities = Some(self.authorities(field, reference).await?);
            }
            if let Some(reference) = &settings.client_cert_secret_ref {
                tls.client = Some(self.client_certificate(reference).await?);
            }
        }
        Ok(Some(tls))
    }

    /// Digest of a Secret with a connection string.
    async fn uri(&self, field: &'static str, reference: &SecretKey) -> Result<String, ResolveError> {
        let found = self.find(field, &reference.name, &[&reference.key]).await?;
        let uri = found.text(&reference.key)?;
        if !uri.starts_with("mongodb://") && !uri.starts_with("mongodb+srv://") {
            let problem = "holds no connection string that begins with mongodb:// or mongodb+srv://";
            return Err(found.invalid(&reference.key, problem));
        }
        Ok(digest_of_version(&found.secret))
    }

    async fn authorities(&self, field: &'static str, reference: &AuthoritySecret) -> Result<Arc<str>, ResolveError> {
        let found = self.find(field, &reference.name, &[&reference.key]).await?;
        let authorities = found.text(&reference.key)?;
        pem::check_authorities(&authorities).map_err(|problem| found.invalid(&reference.key, problem))?;
        Ok(authorities.into())
    }

    async fn client_certificate(&self, reference: &ClientCertificateSecret) -> Result<ClientCertificate, ResolveError> {
        let field = "spec.kafka.security.tls.clientCertSecretRef";
        let keys = [&reference.certificate_key, &reference.private_key_key];
        let found = self.find(field, &reference.name, &keys).await?;
        let (certificate, key) = (found.text(keys[0])?, found.text(keys[1])?);
        pem::check_client(&certificate, &key).map_err(|problem| match problem {
            pem::ClientProblem::Certificate(problem) => found.invalid(keys[0], problem),
            pem::ClientProblem::Key(problem) => found.invalid(keys[1], problem),
        })?;
        Ok(ClientCertificate {
            certificate: certificate.into(),
            key: key.into(),
        })
    }

    async fn find(&self, field: &'static str, name: &str, keys: &[&String]) -> Result<Found, ResolveError> {
        let secret = match self.api.get_opt(name).await {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                let keys: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
                return Err(ResolveError::SecretMissing {
                    field,
                    name: name.to_owned(),
                    namespace: self.namespace.clone(),
                    keys: keys.join(" and "),
                });
            }
            Err(source) => {
                return Err(ResolveError::SecretUnreadable {
                    field,
                    name: name.to_owned(),
                    source: Box::new(source),
                });
            }
        };
        Ok(Found {
            field,
            name: name.to_owned(),
            namespace: self.namespace.clone(),
            secret,
        })
    }
}

/// A Secret, and the field that refers to it.
struct Found {
    field: &'static str,
    name: String,
    namespace: String,
    secret: Secret,
}

impl Found {
    fn text(&self, key: &str) -> Result<String, ResolveError> {
        let found = self.secret.data.as_ref().and_then(|data| data.get(key));
        found
            .and_then(|value| String::from_utf8(value.0.clone()).ok())
            .ok_or_else(|| ResolveError::SecretKeyMissing {
                field: self.field,
                name: self.name.clone(),
                namespace: self.namespace.clone(),
                key: key.to_owned(),
            })
    }

    fn invalid(&self, key: &str, problem: impl Into<String>) -> ResolveError {
        ResolveError::SecretInvalid {
            field: self.field,
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Of the Secret's version and not of its content: a digest of a weak password would give it away.
fn digest_of_version(secret: &Secret) -> String {
    let version = format!(
        "{}/{}",
        secret.uid().unwrap_or_default(),
        secret.resource_version().unwrap_or_default()
    );
    digest([version.as_str()])
}

/// Of the content, which nobody can guess: tools that issue certificates touch their Secrets without changing them,
/// and that must not roll pods. Empty where there is none.
fn digest_of_material(tls: &Tls) -> String {
    let client = tls
        .client
        .iter()
        .flat_map(|client| [&*client.certificate, &*client.key]);
    let mut material = tls.authorities.as_deref().into_iter().chain(client).peekable();
    if material.peek().is_none() {
        return String::new();
    }
    digest(material)
}

fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    hex::encode(&digest.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(authorities: &str, client: Option<(&str, &str)>) -> Tls {
        Tls {
            authorities: Some(authorities.into()),
            client: client.map(|(certificate, key)| ClientCertificate {
                certificate: certificate.into(),
                key: key.into(),
            }),
        }
    }

    #[test]
    fn any_change_of_the_material_changes_the_digest_and_nothing_else_does() {
        let digests = [
            Tls::default(),
            tls("a", None),
            tls("b", None),
            tls("a", Some(("c", "k"))),
            tls("a", Some(("c", "l"))),
            tls("a", Some(("d", "k"))),
        ]
        .map(|tls| digest_of_material(&tls));
        assert_eq!(digests[0], "", "public authorities alone are no material");
        let different: std::collections::BTreeSet<&String> = digests.iter().collect();
        assert_eq!(different.len(), digests.len(), "{digests:?}");
        assert_eq!(digest_of_material(&tls("a", None)), digests[1]);
    }

    #[test]
    fn an_error_names_field_secret_and_key_and_not_the_value() {
        let found = Found {
            field: "spec.kafka.security.tls.caSecretRef",
            name: "kafka-ca".to_owned(),
            namespace: "demo".to_owned(),
            secret: Secret::default(),
        };
        let missing = found.text("ca.crt").unwrap_err();
        assert_eq!(
            missing.to_string(),
            "spec.kafka.security.tls.caSecretRef: Secret kafka-ca in namespace demo has no key ca.crt"
        );
        let invalid = found.invalid("ca.crt", "holds no certificate in PEM");
        assert_eq!(invalid.reason(), "SecretInvalid");
        assert_eq!(
            invalid.to_string(),
            "spec.kafka.security.tls.caSecretRef: key ca.crt of Secret kafka-ca in namespace demo holds no certificate in PEM"
        );
    }
}
