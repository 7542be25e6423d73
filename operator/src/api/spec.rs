//! What a user writes. Defaults that depend on nothing else stand here and become defaults of the CRD; those
//! that depend on profile, environment or ladder are filled in by [`crate::validate`].

// The derive of `KubeSchema` repeats each struct in a private place.
#![allow(unreachable_pub)]

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::status::SyncPipelineStatus;

/// A data-sync pipeline: topics, and the stages between them.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "syncpipeline.dev",
    version = "v1alpha1",
    kind = "SyncPipeline",
    plural = "syncpipelines",
    shortname = "sp",
    category = "all",
    namespaced,
    derive = "PartialEq",
    status = "SyncPipelineStatus",
    validation = Rule::new("size(self.metadata.name) <= 40")
        .message("metadata.name: at most 40 characters, because component names are added to it"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Users", type_ = "integer", json_path = ".spec.dailyActiveUsers"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.lag", description = "Messages not yet read, over all readers"),
    printcolumn(name = "Pods", type_ = "string", json_path = ".status.pods", description = "Ready and wanted pods"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.summary"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.consumers) || self.consumers.all(a, !has(a.group) || !has(a.topics) || self.consumers.all(b, a.name == b.name || !has(b.group) || a.group != b.group || !has(b.topics) || !a.topics.exists(t, t in b.topics)))")
    .message("spec.consumers: two consumers of one group read the same topic; give each its own group or its own topics"))]
pub struct SyncPipelineSpec {
    /// `MobileForge` fills in the topics, the producer and the consumers of the mobile data-sync pipeline;
    /// what is written here changes them by name. `Custom` has only what is written. Cannot be changed.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.profile cannot be changed; make a new SyncPipeline"))]
    pub profile: Profile,

    /// Sizes of the pods, and the rules for small clusters: `dev` may have fewer brokers than copies.
    #[serde(default)]
    pub environment: Environment,

    /// Daily active users: chooses the row of the scaling ladder.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub daily_active_users: i64,

    /// Region of the users. Some topics are left out of some regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,

    /// The Kafka cluster.
    pub kafka: Kafka,

    /// The PostgreSQL server that receives the records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,

    /// The MongoDB server that receives the records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mongodb: Option<Mongodb>,

    /// Topics. Their names do not carry `kafka.topicPrefix`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub topics: Vec<Topic>,

    /// HTTP APIs that write to topics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub producers: Vec<Producer>,

    /// Readers of topics that write to the stores.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub consumers: Vec<Consumer>,

    /// Secrets with credentials of the image registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<LocalObject>,

    /// When to pull images; Kubernetes' own rule when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,
}

/// What is filled in.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// The mobile data-sync pipeline.
    #[default]
    MobileForge,
    /// Nothing.
    Custom,
}

/// Where the pipeline runs.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// A laptop or a shared test cluster.
    Dev,
    /// As production, with smaller pods.
    Staging,
    /// Production.
    #[default]
    Prod,
}

impl Environment {
    /// The name in the API and in `LAUNCH_ENVIRONMENT`.
    pub const fn name(self) -> &'static str {
        match self {
            Environment::Dev => "dev",
            Environment::Staging => "staging",
            Environment::Prod => "prod",
        }
    }
}

/// Region of the users.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Region {
    Africa,
    Europe,
    India,
    LatinAmerica,
    MiddleEast,
    NorthAmerica,
    SoutheastAsia,
}

impl Region {
    /// The name in the API and in the workloads' environment.
    pub const fn name(self) -> &'static str {
        match self {
            Region::Africa => "Africa",
            Region::Europe => "Europe",
            Region::India => "India",
            Region::LatinAmerica => "LatinAmerica",
            Region::MiddleEast => "MiddleEast",
            Region::NorthAmerica => "NorthAmerica",
            Region::SoutheastAsia => "SoutheastAsia",
        }
    }
}

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

/// A topic.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Topic {
    /// Name, without prefix.
    #[schemars(length(min = 1, max = 180), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub name: String,
    /// Partitions: also the most readers that can share the topic. Never lowered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub partitions: Option<i32>,
    /// Copies; `kafka.replicationFactor` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9))]
    pub replication_factor: Option<i32>,
    /// How long messages are kept, a Go duration; `168h` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub retention: Option<String>,
    /// Most bytes kept of a partition; unlimited when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub retention_bytes: Option<i64>,
    /// Further settings, by Kafka's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub config: BTreeMap<String, String>,
    /// Regions in which the topic does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub except_regions: Option<Vec<Region>>,
}

/// An HTTP API that writes to topics.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Producer {
    /// Name of the component.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[a-z]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Topics it may write to, without prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 180)))]
    pub topics: Option<Vec<String>>,
    /// Its Service.
    #[serde(default)]
    pub service: ServiceSettings,
    /// What every component has.
    #[serde(flatten)]
    pub component: Component,
}

/// The Service of an API.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSettings {
    /// `LoadBalancer` in `prod`, else `ClusterIP`, when left out.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<ServiceType>,
    /// Annotations, for example for the load balancer's controller.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    /// Class of the load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,
}

/// Type of a Service.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ServiceType {
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    NodePort,
    LoadBalancer,
}

/// A reader of topics that writes to the stores.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Consumer {
    /// Name of the component.
    #[schemars(length(min = 1, max = 20), regex(pattern = r"^[a-z]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Topics it reads, without prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 180)))]
    pub topics: Option<Vec<String>>,
    /// Its consumer group, without prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 180))]
    pub group: Option<String>,
    /// How records are gathered into writes.
    #[serde(default)]
    pub batch: Batch,
    /// How replicas follow the lag.
    #[serde(default)]
    pub scaling: Scaling,
    /// What every component has.
    #[serde(flatten)]
    pub component: Component,
}

/// How records are gathered into writes.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Most records in one write.
    #[serde(default = "max_records")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_records: i32,
    /// Longest wait for a write to fill, a Go duration; also the interval between commits.
    #[serde(default = "linger")]
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub linger: String,
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            max_records: max_records(),
            linger: linger(),
        }
    }
}

fn max_records() -> i32 {
    5000
}

fn linger() -> String {
    "200ms".to_owned()
}

/// How replicas follow the lag.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.ladder) || self.type == 'Ladder'")
    .message("scaling.ladder: belongs to type Ladder only"))]
pub struct Scaling {
    /// `Ladder` moves along the rungs of the ladder by lag; `Fixed` leaves the replicas alone.
    #[serde(default, rename = "type")]
    pub type_: ScalingType,
    /// Settings of type `Ladder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<LadderScaling>,
    /// How long the lag must be low before the next rung down, a Go duration; `5m` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub cooldown: Option<String>,
}

/// Kind of scaling.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScalingType {
    /// Along the rungs of the ladder, by lag.
    #[default]
    Ladder,
    /// Not at all.
    Fixed,
}

/// Settings of type `Ladder`.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct LadderScaling {
    /// Column of the ladder that gives min and max: the component's own name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<LadderColumn>,
    /// Lags, in messages, each of which leads one step up; ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 1)))]
    #[x_kube(validation = Rule::new("self.isSorted() && self.all(t, self.exists_one(u, u == t))")
        .message("scaling.ladder.lagThresholds: must be ascending, each larger than the one before"))]
    pub lag_thresholds: Option<Vec<i64>>,
}

/// Column of the ladder.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum LadderColumn {
    Producer,
    Sms,
    Events,
    Common,
}

/// What every component has.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Image; the operator's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Least and most replicas; the ladder's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicaBounds>,
    /// Requests and limits; those of the environment when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

/// Least and most replicas.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[x_kube(validation = Rule::new("self.min <= self.max").message("replicas.min: must not be more than replicas.max"))]
pub struct ReplicaBounds {
    /// Least.
    #[schemars(range(min = 1, max = 10_000))]
    pub min: i32,
    /// Most.
    #[schemars(range(min = 1, max = 10_000))]
    pub max: i32,
}

/// An object of the same namespace, by name.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
pub struct LocalObject {
    /// Name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// When to pull images.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ImagePullPolicy {
    Always,
    IfNotPresent,
    Never,
}
