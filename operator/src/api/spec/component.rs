//! Components: what all of them have, and each kind.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EnvVariable, LocalObject, PodSettings, Probes, Scaling};

/// An HTTP API that writes to topics.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.replicas) || self.replicas.min > 0 || self.replicas.max == 0")
    .message("replicas.min: 0 only together with max: 0, which switches the component off"))]
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
    /// An Ingress in front of the Service, which is inside the cluster then unless its type says otherwise; none when
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSettings>,
    /// Whether uploads need an API key. `Required` needs `spec.postgres`, which keeps the keys.
    #[serde(default)]
    pub api_keys: ApiKeys,
    /// How long the answer to an upload with an `Idempotency-Key` is kept for repeats, a Go duration from `1m` to `720h`;
    /// `24h` when left out. Needs `spec.postgres`, which keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    pub idempotency_window: Option<String>,
    /// What every component has.
    #[serde(flatten)]
    pub component: Component,
}

/// Whether uploads need an API key.
// Not `Off`: without quotes, as the definition itself is written, that is `false` to the YAML of kubectl and Helm.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApiKeys {
    /// They do; `producer keys create` in one of the pods makes one.
    Required,
    /// None is asked for.
    #[default]
    Disabled,
}

/// The Service of an API.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSettings {
    /// `LoadBalancer` in `prod` without an Ingress, else `ClusterIP`, when left out.
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

/// The way from outside the cluster to an API, by host name.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IngressSettings {
    /// Host name, which may begin with `*.`.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub host: String,
    /// Path below which everything goes to the API.
    #[serde(default = "root_path")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^/"))]
    pub path: String,
    /// Class of the controller that serves it; the cluster's own choice when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Annotations for the controller.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
    /// Secret of type `kubernetes.io/tls` with the certificate of the host; no encryption when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret_ref: Option<LocalObject>,
}

fn root_path() -> String {
    "/".to_owned()
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
#[x_kube(validation = Rule::new("!has(self.replicas) || self.replicas.min > 0 || self.replicas.max == 0 || \
    self.scaling.type == 'Ladder' || self.scaling.type == 'Drain'")
    .message("replicas.min: 0 only where the lag can bring the first reader (scaling.type Ladder or Drain), or together \
    with max: 0, which switches the component off"))]
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
    /// Writes of one topic at the same time, each of other partitions. No more than a pod has connections to PostgreSQL.
    #[serde(default = "parallel_writes")]
    #[schemars(range(min = 1, max = 16))]
    pub parallel_writes: i32,
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            max_records: max_records(),
            linger: linger(),
            parallel_writes: parallel_writes(),
        }
    }
}

fn max_records() -> i32 {
    5000
}

fn parallel_writes() -> i32 {
    2
}

fn linger() -> String {
    "200ms".to_owned()
}

/// What every component has.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Image; the operator's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// Port that the container listens on; that of our own images when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// How Kubernetes asks the pods whether they live and are ready.
    #[serde(default)]
    pub probes: Probes,
    /// Least and most replicas; the ladder's when left out. Both 0 switch the component off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<ReplicaBounds>,
    /// Requests and limits; those of the environment when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Further variables of the container's environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVariable>,
    /// Settings of the pods.
    #[serde(default)]
    pub pod: PodSettings,
}

/// Least and most replicas.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[x_kube(
    validation = Rule::new("self.min <= self.max").message("replicas.min: must not be more than replicas.max"),
)]
pub struct ReplicaBounds {
    /// Least.
    #[schemars(range(min = 0, max = 10_000))]
    pub min: i32,
    /// Most.
    #[schemars(range(min = 0, max = 10_000))]
    pub max: i32,
}
