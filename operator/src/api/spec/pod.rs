//! What a component's pods may have of their own: few settings, each of which the operator can keep its promises
//! under.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, ConfigMapKeySelector, SecretKeySelector, Toleration};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A variable of the container's environment.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.value) && has(self.valueFrom))")
    .message("env: either value or valueFrom, not both"))]
pub struct EnvVariable {
    /// Name. The names of the environment contract are the operator's own.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.-]*$"))]
    #[x_kube(validation = Rule::new(RESERVED_RULE)
        .message("env.name: this name belongs to the environment contract, the operator sets it"))]
    pub name: String,
    /// Value; empty when both this and `valueFrom` are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16384))]
    pub value: Option<String>,
    /// Where the value is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<EnvSource>,
}

/// The names of [`contract::env::ALL`], as the API server checks them.
const RESERVED_RULE: &str = "!self.matches('^(DI_.*|DB_(USER|PASSWORD|HOST|PORT|NAME)|ENABLED_TOPICS|\
                             KAFKA_CONSUMER_GROUP|LAUNCH_ENVIRONMENT|SMS_EXTRACTOR_SERVICE_URL)$')";

/// Where a variable's value is, in the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretKeyRef) != has(self.configMapKeyRef)")
    .message("env.valueFrom: exactly one of secretKeyRef and configMapKeyRef"))]
pub struct EnvSource {
    /// Key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeySelector>,
    /// Key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeySelector>,
}

/// How Kubernetes asks a pod whether it lives and is ready.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.type == 'Http' || !(has(self.livenessPath) || has(self.readinessPath))")
    .message("probes: paths belong to type Http only"))]
pub struct Probes {
    /// `Http` asks the paths below, `Tcp` whether the port is open, `None` not at all.
    #[serde(default, rename = "type")]
    pub type_: ProbeType,
    /// Path that answers 200 while the process lives; `/healthz` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^/"))]
    pub liveness_path: Option<String>,
    /// Path that answers 200 while the pod can work; `/ready` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^/"))]
    pub readiness_path: Option<String>,
    /// Seconds that a pod may take to start.
    #[serde(default = "startup_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub startup_seconds: i32,
}

impl Default for Probes {
    fn default() -> Self {
        Probes {
            type_: ProbeType::default(),
            liveness_path: None,
            readiness_path: None,
            startup_seconds: startup_seconds(),
        }
    }
}

fn startup_seconds() -> i32 {
    60
}

/// Kind of probe.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProbeType {
    /// GET of a path.
    #[default]
    Http,
    /// Whether the port is open.
    Tcp,
    /// No probe: for images that cannot be asked.
    None,
}

/// Settings of a component's pods.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct PodSettings {
    /// Further labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('syncpipeline.dev/') && !key.startsWith('app.kubernetes.io/'))")
        .message("pod.labels: keys of syncpipeline.dev and app.kubernetes.io are the operator's own"))]
    pub labels: BTreeMap<String, String>,
    /// Further annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('syncpipeline.dev/'))")
        .message("pod.annotations: keys of syncpipeline.dev are the operator's own"))]
    pub annotations: BTreeMap<String, String>,
    /// Labels of the nodes that may run the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the pods bear.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Rules about nodes and other pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How the pods are spread over zones and nodes.
    #[serde(default)]
    pub topology_spread: TopologySpread,
    /// What the container may do. The defaults fit Kubernetes' `restricted` standard; a vendor's image may need
    /// more.
    #[serde(default)]
    pub security_context: SecuritySettings,
}

/// How pods are spread over zones and nodes.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopologySpread {
    /// Evenly over zones and nodes where that is possible.
    #[default]
    Preferred,
    /// Evenly over zones, or not at all: pods wait rather than share.
    Required,
    /// No rule.
    None,
}

/// What a container may do.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.runAsNonRoot || !has(self.runAsUser) || self.runAsUser > 0")
    .message("pod.securityContext.runAsUser: user 0 needs runAsNonRoot: false"))]
pub struct SecuritySettings {
    /// Refuse to start as root.
    #[serde(default = "yes")]
    pub run_as_non_root: bool,
    /// Number of the user; 65532 when left out, the image's own user where `runAsNonRoot` is false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub run_as_user: Option<i64>,
    /// Nothing in the image's file system can be written.
    #[serde(default = "yes")]
    pub read_only_root_filesystem: bool,
    /// Capabilities kept; all others are dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)))]
    pub capabilities: Vec<String>,
}

impl Default for SecuritySettings {
    fn default() -> Self {
        SecuritySettings {
            run_as_non_root: true,
            run_as_user: None,
            read_only_root_filesystem: true,
            capabilities: vec![],
        }
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_contract_is_reserved() {
        let pattern = RESERVED_RULE
            .trim_start_matches("!self.matches('")
            .trim_end_matches("')");
        let reserved = regex::Regex::new(pattern).unwrap();
        for name in contract::env::ALL {
            assert!(reserved.is_match(name), "{name} could be set by a user");
        }
        assert!(!reserved.is_match("RUST_LOG") && !reserved.is_match("MY_DI_SETTING"));
    }
}
