//! References to Secrets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Secret of the same namespace that holds a user name and a password.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsSecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the user name.
    #[serde(default = "username_key")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: String,
    /// Key of the password.
    #[serde(default = "password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: String,
}

fn username_key() -> String {
    "username".to_owned()
}

fn password_key() -> String {
    "password".to_owned()
}

/// One key of a Secret of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
pub struct SecretKey {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A Secret of the same namespace that holds certificates of authorities.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AuthoritySecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the certificates in PEM, one after the other.
    #[serde(default = "authority_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn authority_key() -> String {
    "ca.crt".to_owned()
}

/// A Secret of the same namespace that holds a certificate and its private key, as of type `kubernetes.io/tls`.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClientCertificateSecret {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the certificate in PEM, followed by those between it and the authority.
    #[serde(default = "certificate_key")]
    #[schemars(length(min = 1, max = 253))]
    pub certificate_key: String,
    /// Key of the private key in PEM, not encrypted.
    #[serde(default = "private_key_key")]
    #[schemars(length(min = 1, max = 253))]
    pub private_key_key: String,
}

fn certificate_key() -> String {
    "tls.crt".to_owned()
}

fn private_key_key() -> String {
    "tls.key".to_owned()
}
