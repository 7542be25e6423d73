//! What a user writes. Defaults that depend on nothing else stand here and become defaults of the CRD; those
//! that depend on profile, environment or ladder are filled in by [`crate::validate`].
//!
//! - [`kafka`], [`stores`]: the servers; [`credentials`]: references to Secrets
//! - [`topic`], [`component`], [`scaling`], [`pod`]: the parts of the pipeline
//! - [`network`], [`service_account`]: what the pods may talk to, and who they are

// The derive of `KubeSchema` repeats each struct in a private place.
#![allow(unreachable_pub)]

pub mod component;
pub mod credentials;
pub mod insights;
pub mod kafka;
pub mod ladder;
pub mod network;
pub mod pod;
pub mod scaling;
pub mod service_account;
pub mod stores;
pub mod topic;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::SyncPipelineStatus;

pub use component::{
    ApiKeys, Batch, Component, Consumer, IngressSettings, Producer, ReplicaBounds, ServiceSettings, ServiceType,
};
pub use credentials::{AuthoritySecret, ClientCertificateSecret, CredentialsSecret, SecretKey};
pub use insights::{Api, Insights};
pub use kafka::{Kafka, KafkaSecurity, KafkaTls, Sasl, SaslMechanism, SecurityProtocol};
pub use ladder::{LadderColumn, LadderRow};
pub use network::NetworkPolicySettings;
pub use pod::{EnvSource, EnvVariable, PodSettings, ProbeType, Probes, SecuritySettings, TopologySpread};
pub use scaling::{DrainScaling, LadderScaling, Scaling, ScalingType, ScheduleSpec};
pub use service_account::ServiceAccountSettings;
pub use stores::{Mongodb, MongodbAuthMechanism, MongodbPool, Postgres, PostgresTls, PostgresTlsMode};
pub use topic::{DeletionPolicy, Topic};

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
#[x_kube(
    validation = Rule::new("!has(self.consumers) || self.consumers.all(a, !has(a.group) || !has(a.topics) || self.consumers.all(b, a.name == b.name || !has(b.group) || a.group != b.group || !has(b.topics) || !a.topics.exists(t, t in b.topics)))")
        .message("spec.consumers: two consumers of one group read the same topic; give each its own group or its own topics"),
    validation = Rule::new("self.profile != 'Custom' || !has(self.consumers) || self.consumers.all(c, !has(c.topics) || c.topics.all(t, has(self.topics) && self.topics.exists(d, d.name == t)))")
        .message("spec.consumers: a topic that is read is not declared in spec.topics"),
    validation = Rule::new("self.profile != 'Custom' || !has(self.producers) || self.producers.all(p, !has(p.topics) || p.topics.all(t, has(self.topics) && self.topics.exists(d, d.name == t)))")
        .message("spec.producers: a topic that is written is not declared in spec.topics"),
    validation = Rule::new("self.profile != 'Custom' || !has(self.consumers) || self.consumers.all(c, has(c.topics) && has(c.group))")
        .message("spec.consumers: topics and group are needed with profile Custom"),
    validation = Rule::new("self.profile != 'Custom' || !has(self.producers) || self.producers.all(p, has(p.topics))")
        .message("spec.producers: topics are needed with profile Custom"),
)]
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

    /// APIs that say what the stored records mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insights: Option<Insights>,

    /// Rows of the scaling ladder, in any order, in place of the built-in ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["users"]))]
    pub ladder: Vec<LadderRow>,

    /// Secrets with credentials of the image registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<LocalObject>,

    /// When to pull images; Kubernetes' own rule when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<ImagePullPolicy>,

    /// What the pods may talk to.
    #[serde(default)]
    pub network_policy: NetworkPolicySettings,

    /// Who the pods are to a cloud provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccountSettings>,
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
