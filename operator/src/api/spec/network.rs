//! What the pods may talk to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// NetworkPolicies of the pipeline's pods.
///
/// Without them a pod may talk to everything. With them it reaches DNS, Kafka, and the stores that it uses; the
/// ports are those of the spec, so where a Service or the brokers' advertised addresses lead to other ports,
/// these must be named too. With the mechanism `AWS_MSK_IAM` the pods also reach TCP port 443, for STS, and the agent
/// of EKS Pod Identity.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicySettings {
    /// Whether the operator makes NetworkPolicies.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Networks outside the cluster where Kafka and the stores are, and STS with `AWS_MSK_IAM`, in CIDR notation.
    /// Everywhere when left out.
    #[serde(default, rename = "egressCIDRs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 3, max = 64), regex(pattern = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"))
    )]
    pub egress_cidrs: Vec<String>,
    /// Further TCP ports that the pods may reach.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(range(min = 1, max = 65535)))]
    pub egress_ports: Vec<i32>,
}

impl Default for NetworkPolicySettings {
    fn default() -> Self {
        NetworkPolicySettings {
            enabled: true,
            egress_cidrs: vec![],
            egress_ports: vec![],
        }
    }
}

fn yes() -> bool {
    true
}
