//! Where records end: PostgreSQL and MongoDB.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AuthoritySecret, CredentialsSecret, SecretKey};

/// The PostgreSQL server that receives the records.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Postgres {
    /// Host name or address.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._:-]+$"))]
    pub host: String,
    /// TCP port.
    #[serde(default = "postgres_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Database of the APIs.
    #[serde(default = "api_database")]
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// Database that receives the records.
    #[serde(default = "sync_database")]
    #[schemars(length(min = 1, max = 63))]
    pub sync_database: String,
    /// Schema of this pipeline in the sync database, made where it is missing.
    #[serde(default = "public_schema")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    pub schema: String,
    /// Secret with user name and password.
    pub credentials_secret_ref: CredentialsSecret,
    /// Encryption; used where the server offers it when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<PostgresTls>,
    /// Connections that the pipeline may hold open in all. The pods' pools are made to fit, and where one connection
    /// each is too many, components may have fewer pods. No limit when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: Option<i32>,
    /// Whole months, beside the present one, for which rows of sms, events and calls are kept, by the time of the event;
    /// older ones are dropped. For ever when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1200))]
    pub retention_months: Option<i32>,
}

/// Encryption of connections to PostgreSQL.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct PostgresTls {
    /// What is asked of the server.
    #[serde(default)]
    pub mode: PostgresTlsMode,
    /// Secret with the certificates of the authorities that may sign the server's; the public ones when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<AuthoritySecret>,
}

/// What is asked of the server, by libpq's names.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "kebab-case")]
pub enum PostgresTlsMode {
    /// No encryption.
    Disable,
    /// Encryption, whoever the server is.
    Require,
    /// A certificate signed by an authority.
    VerifyCa,
    /// A certificate signed by an authority, for the name in `host`.
    #[default]
    VerifyFull,
}

impl PostgresTlsMode {
    /// The name in the API and in the workloads' environment.
    pub const fn name(self) -> &'static str {
        match self {
            PostgresTlsMode::Disable => "disable",
            PostgresTlsMode::Require => "require",
            PostgresTlsMode::VerifyCa => "verify-ca",
            PostgresTlsMode::VerifyFull => "verify-full",
        }
    }
}

fn postgres_port() -> i32 {
    5432
}

fn api_database() -> String {
    "api_insights_db".to_owned()
}

fn sync_database() -> String {
    "sync_db".to_owned()
}

fn public_schema() -> String {
    "public".to_owned()
}

/// The MongoDB server that receives the records: by host and port, or by a connection string.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.host) != has(self.uriSecretRef)")
        .message("spec.mongodb: exactly one of host and uriSecretRef"),
    validation = Rule::new("has(self.credentialsSecretRef) || has(self.uriSecretRef)")
        .message("spec.mongodb.credentialsSecretRef: needed with host"),
)]
pub struct Mongodb {
    /// Host name or address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9._:-]+$"))]
    pub host: Option<String>,
    /// Secret with a connection string, `mongodb://…` or `mongodb+srv://…` as of Atlas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri_secret_ref: Option<SecretKey>,
    /// TCP port.
    #[serde(default = "mongodb_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Database.
    #[serde(default = "mongodb_database")]
    #[schemars(length(min = 1, max = 63))]
    pub database: String,
    /// Authentication mechanism; the driver's choice when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_mechanism: Option<MongodbAuthMechanism>,
    /// Database that holds the user; the driver's default when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub auth_source: Option<String>,
    /// Secret with user name and password; may be left out with a connection string that holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<CredentialsSecret>,
    /// Whether connections are encrypted; the server's certificate must be signed by a public authority. A connection
    /// string says it itself.
    #[serde(default)]
    pub tls: bool,
    /// Connections of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<MongodbPool>,
    /// Connections that the pipeline may hold open in all, see `postgres.maxConnections`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: Option<i32>,
    /// Sources to be stored; `*` for all.
    #[serde(default = "all_sources")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 32)))]
    pub enabled_sources: Vec<String>,
}

impl Mongodb {
    /// Most connections of each pod, where the spec says so.
    pub fn pool_max(&self) -> Option<i32> {
        self.pool.map(|pool| pool.max)
    }
}

/// Connections of each pod to MongoDB.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[x_kube(validation = Rule::new("self.min <= self.max").message("spec.mongodb.pool.min: must not be more than pool.max"))]
pub struct MongodbPool {
    /// Kept open.
    #[serde(default = "pool_min")]
    #[schemars(range(min = 0, max = 10_000))]
    pub min: i32,
    /// Most.
    #[serde(default = "pool_max")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max: i32,
}

fn pool_min() -> i32 {
    10
}

fn pool_max() -> i32 {
    100
}

fn mongodb_port() -> i32 {
    27017
}

fn mongodb_database() -> String {
    "sync_db".to_owned()
}

fn all_sources() -> Vec<String> {
    vec!["*".to_owned()]
}

/// Authentication mechanism of MongoDB.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
pub enum MongodbAuthMechanism {
    /// The password itself.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Challenge and response with SHA-1.
    #[serde(rename = "SCRAM-SHA-1")]
    ScramSha1,
    /// Challenge and response with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
}

impl MongodbAuthMechanism {
    /// The name in the API and in the driver's settings.
    pub const fn name(self) -> &'static str {
        match self {
            MongodbAuthMechanism::Plain => "PLAIN",
            MongodbAuthMechanism::ScramSha1 => "SCRAM-SHA-1",
            MongodbAuthMechanism::ScramSha256 => "SCRAM-SHA-256",
        }
    }
}
