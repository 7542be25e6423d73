//! Whether policies let a connection through, by the semantics of `networking.k8s.io/v1`: a pod that some policy selects
//! for a direction takes or opens only what a rule of one of these policies allows; both ends must agree.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

type Labels = BTreeMap<String, String>;

/// One end of a connection.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// A pod of this cluster.
    Pod {
        namespace: String,
        namespace_labels: Labels,
        labels: Labels,
        address: IpAddr,
    },
    /// Anything outside.
    Outside(IpAddr),
}

impl End {
    pub(super) fn pod(namespace: &str, labels: &Labels) -> End {
        End::Pod {
            namespace: namespace.to_owned(),
            namespace_labels: Labels::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())]),
            labels: labels.clone(),
            address: IpAddr::from([10, 244, 0, 9]),
        }
    }

    fn address(&self) -> IpAddr {
        match self {
            End::Pod { address, .. } | End::Outside(address) => *address,
        }
    }
}

/// Whether a TCP connection passes.
pub(super) fn passes(policies: &[NetworkPolicy], from: &End, to: &End, port: u16) -> bool {
    passes_by(policies, from, to, ("TCP", port))
}

/// The same for any protocol.
pub(super) fn passes_by(policies: &[NetworkPolicy], from: &End, to: &End, port: (&str, u16)) -> bool {
    let out = policies_for(policies, from, "Egress");
    let may_leave = out.is_empty()
        || out.iter().any(|policy| {
            let rules = policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten());
            rules
                .into_iter()
                .any(|rule| matches_port(rule.ports.as_deref(), port) && matches_peer(policy, rule.to.as_deref(), to))
        });
    let into = policies_for(policies, to, "Ingress");
    let may_enter = into.is_empty()
        || into.iter().any(|policy| {
            let rules = policy.spec.iter().flat_map(|spec| spec.ingress.iter().flatten());
            rules.into_iter().any(|rule| {
                matches_port(rule.ports.as_deref(), port) && matches_peer(policy, rule.from.as_deref(), from)
            })
        });
    may_leave && may_enter
}

/// The policies that isolate this end in one direction.
fn policies_for<'a>(policies: &'a [NetworkPolicy], end: &End, direction: &str) -> Vec<&'a NetworkPolicy> {
    let End::Pod { namespace, labels, .. } = end else {
        return vec![];
    };
    let selects = |policy: &&NetworkPolicy| {
        let spec = policy.spec.as_ref();
        let types = spec.and_then(|spec| spec.policy_types.as_ref());
        policy.metadata.namespace.as_ref() == Some(namespace)
            && types.is_some_and(|types| types.iter().any(|found| found == direction))
            && spec.is_some_and(|spec| {
                let selector = spec.pod_selector.as_ref();
                selector.is_none_or(|selector| matches_labels(selector, labels))
            })
    };
    policies.iter().filter(selects).collect()
}

fn matches_port(ports: Option<&[NetworkPolicyPort]>, (protocol, number): (&str, u16)) -> bool {
    let matches = |port: &NetworkPolicyPort| {
        let same = port.protocol.as_deref().unwrap_or("TCP") == protocol;
        let number = i32::from(number);
        same && match &port.port {
            None => true,
            Some(IntOrString::Int(first)) => (*first..=port.end_port.unwrap_or(*first)).contains(&number),
            Some(IntOrString::String(name)) => panic!("{name}: only numbers are understood here"),
        }
    };
    ports.is_none_or(|ports| ports.iter().any(matches))
}

/// Nobody named means everybody.
fn matches_peer(policy: &NetworkPolicy, peers: Option<&[NetworkPolicyPeer]>, end: &End) -> bool {
    peers.is_none_or(|peers| peers.iter().any(|peer| matches_one(policy, peer, end)))
}

fn matches_one(policy: &NetworkPolicy, peer: &NetworkPolicyPeer, end: &End) -> bool {
    if let Some(block) = &peer.ip_block {
        let mut except = block.except.iter().flatten();
        return contains(&block.cidr, end.address()) && !except.any(|cidr| contains(cidr, end.address()));
    }
    let End::Pod {
        namespace,
        namespace_labels,
        labels,
        ..
    } = end
    else {
        return false;
    };
    let in_namespace = match &peer.namespace_selector {
        None => policy.metadata.namespace.as_ref() == Some(namespace),
        Some(selector) => matches_labels(selector, namespace_labels),
    };
    let selector = peer.pod_selector.as_ref();
    in_namespace && selector.is_none_or(|selector| matches_labels(selector, labels))
}

fn matches_labels(selector: &LabelSelector, labels: &Labels) -> bool {
    assert!(selector.match_expressions.is_none(), "only labels are understood here");
    let mut wanted = selector.match_labels.iter().flatten();
    wanted.all(|(key, value)| labels.get(key) == Some(value))
}

fn contains(cidr: &str, address: IpAddr) -> bool {
    let (network, bits) = cidr.split_once('/').unwrap();
    let bits: u32 = bits.parse().unwrap();
    match (network.parse().unwrap(), address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32 - bits;
            u32::from(network).checked_shr(shift) == u32::from(address).checked_shr(shift)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128 - bits;
            u128::from(network).checked_shr(shift) == u128::from(address).checked_shr(shift)
        }
        _ => false,
    }
}
