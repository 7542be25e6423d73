//! Probes, security and placement of pods.

use k8s_openapi::api::core::v1::{
    Capabilities, HTTPGetAction, PodSecurityContext, Probe, SeccompProfile, SecurityContext, TCPSocketAction,
    TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::naming::Naming;
use crate::api::spec::{ProbeType, Probes, SecuritySettings, TopologySpread};

/// Name of the port that every component listens on.
pub const PORT_NAME: &str = "http";
/// User of our images.
const USER: i64 = 65532;
const ZONE: &str = "topology.kubernetes.io/zone";
const NODE: &str = "kubernetes.io/hostname";

/// The three probes of a container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerProbes {
    /// Restarts the container when it fails.
    pub liveness: Option<Probe>,
    /// Takes the pod out of its Service while it fails.
    pub readiness: Option<Probe>,
    /// Holds the other two back until the container has started.
    pub startup: Option<Probe>,
}

/// Probes as the component asks for them.
pub fn probes(probes: &Probes) -> ContainerProbes {
    let liveness_path = probes.liveness_path.as_deref().unwrap_or("/healthz");
    let readiness_path = probes.readiness_path.as_deref().unwrap_or("/ready");
    let make = |path: &str, period: i32, failures: i32| {
        let port = IntOrString::String(PORT_NAME.to_owned());
        let (http_get, tcp_socket) = match probes.type_ {
            ProbeType::None => return None,
            ProbeType::Tcp => (None, Some(TCPSocketAction { port, host: None })),
            ProbeType::Http => {
                let get = HTTPGetAction {
                    path: Some(path.to_owned()),
                    port,
                    ..HTTPGetAction::default()
                };
                (Some(get), None)
            }
        };
        Some(Probe {
            http_get,
            tcp_socket,
            period_seconds: Some(period),
            timeout_seconds: Some(2),
            failure_threshold: Some(failures),
            ..Probe::default()
        })
    };
    ContainerProbes {
        liveness: make(liveness_path, 10, 6),
        readiness: make(readiness_path, 2, 2),
        startup: make(liveness_path, 1, probes.startup_seconds),
    }
}

/// What a container may do: nothing that it is not given.
pub fn container_security(settings: &SecuritySettings) -> SecurityContext {
    SecurityContext {
        // A process that keeps capabilities may need to pass them on to its children.
        allow_privilege_escalation: Some(!settings.capabilities.is_empty()),
        read_only_root_filesystem: Some(settings.read_only_root_filesystem),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: (!settings.capabilities.is_empty()).then(|| settings.capabilities.clone()),
        }),
        ..SecurityContext::default()
    }
}

/// Who the pod's processes are.
pub fn security(settings: &SecuritySettings) -> PodSecurityContext {
    let user = settings.run_as_user.or(settings.run_as_non_root.then_some(USER));
    PodSecurityContext {
        run_as_non_root: Some(settings.run_as_non_root),
        run_as_user: user,
        run_as_group: user,
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// Constraints that spread the pods of one component.
pub fn spread(spread: TopologySpread, name: &Naming) -> Option<Vec<TopologySpreadConstraint>> {
    let constraint = |key: &str, unsatisfiable: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: unsatisfiable.to_owned(),
        label_selector: Some(name.label_selector()),
        ..TopologySpreadConstraint::default()
    };
    let zones = match spread {
        TopologySpread::None => return None,
        TopologySpread::Preferred => "ScheduleAnyway",
        TopologySpread::Required => "DoNotSchedule",
    };
    Some(vec![constraint(ZONE, zones), constraint(NODE, "ScheduleAnyway")])
}
