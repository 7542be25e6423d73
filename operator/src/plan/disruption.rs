//! Budgets for voluntary disruptions, as the drain of a node.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::naming::Naming;

/// One pod of a component at a time: each reader that leaves is a rebalance of its group, and a drain never
/// waits for ever. Pods that are not ready anyway may always go.
pub fn budget(name: &Naming) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: name.metadata(),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(name.label_selector()),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
