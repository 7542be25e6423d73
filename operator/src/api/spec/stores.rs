//! Where records end: PostgreSQL and MongoDB.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CredentialsSecret;

/// The PostgreSQL server that receives the records.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Postgres {
    /// Host name or address.
    #[schemars(length(min = 1, max = 253))]
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

/// The MongoDB server that receives the records.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Mongodb {
    /// Host name or address.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
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
    /// Secret with user name and password.
    pub credentials_secret_ref: CredentialsSecret,
    /// Sources to be stored; `*` for all.
    #[serde(default = "all_sources")]
    #[schemars(length(min = 1, max = 8), inner(length(min = 1, max = 32)))]
    pub enabled_sources: Vec<String>,
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
