//! NetworkPolicies: what a component's pods take and where they go.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Settings;
use super::naming::Naming;
use crate::validate::{Component, Pipeline};

/// Label that every namespace has with its own name.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// Port of DNS.
const DNS: u16 = 53;
/// Port of STS, which makes an AWS role's credentials out of a ServiceAccount's token.
const STS: u16 = 443;
/// Where the agent of EKS Pod Identity gives out credentials, on every node.
const POD_IDENTITY: (u16, [&str; 2]) = (80, ["169.254.170.23/32", "fd00:ec2::23/128"]);

/// Who may open connections to a component's pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Everyone: an API behind a Service or a load balancer.
    ToAll,
    /// The monitoring namespace: readers listen for health and metrics only. A node's own probes always pass.
    ToMonitoring,
}

/// The policy of one component's pods.
pub fn policy(
    name: &Naming,
    pipeline: &Pipeline,
    component: &Component,
    settings: &Settings,
    open: Open,
) -> NetworkPolicy {
    let from = match open {
        Open::ToAll => None,
        Open::ToMonitoring => Some(vec![NetworkPolicyPeer {
            namespace_selector: Some(LabelSelector {
                match_labels: Some(BTreeMap::from([(
                    NAMESPACE_LABEL.to_owned(),
                    settings.monitoring_namespace.clone(),
                )])),
                match_expressions: None,
            }),
            ..NetworkPolicyPeer::default()
        }]),
    };
    let ingress = NetworkPolicyIngressRule {
        from,
        ports: Some(vec![port("TCP", component.port)]),
    };
    let dns = NetworkPolicyEgressRule {
        ports: Some(vec![port("UDP", DNS), port("TCP", DNS)]),
        to: None,
    };
    let servers = NetworkPolicyEgressRule {
        ports: Some(
            server_ports(pipeline)
                .into_iter()
                .map(|number| port("TCP", number))
                .collect(),
        ),
        to: servers(pipeline),
    };
    let mut egress = vec![dns, servers];
    egress.extend(pipeline.aws_region.as_ref().map(|_| pod_identity()));
    NetworkPolicy {
        metadata: name.metadata(),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(name.label_selector()),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![ingress]),
            egress: Some(egress),
        }),
    }
}

/// Kafka and the stores are in this cluster, or in the networks that the spec names; without any named,
/// everywhere.
fn servers(pipeline: &Pipeline) -> Option<Vec<NetworkPolicyPeer>> {
    let outside = &pipeline.network_policy.egress_cidrs;
    if outside.is_empty() {
        return None;
    }
    let inside = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let outside = outside.iter().map(|cidr| network(cidr));
    Some(std::iter::once(inside).chain(outside).collect())
}

fn pod_identity() -> NetworkPolicyEgressRule {
    let (number, networks) = POD_IDENTITY;
    NetworkPolicyEgressRule {
        ports: Some(vec![port("TCP", number)]),
        to: Some(networks.into_iter().map(network).collect()),
    }
}

fn network(cidr: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: None,
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn server_ports(pipeline: &Pipeline) -> BTreeSet<u16> {
    let brokers = pipeline.kafka.bootstrap_servers.iter();
    let brokers = brokers.filter_map(|server| server.rsplit_once(':')?.1.parse().ok());
    let stores = pipeline.postgres.iter().map(|postgres| postgres.port);
    let stores = stores.chain(pipeline.mongodb.iter().map(|mongodb| mongodb.port));
    let named = pipeline.network_policy.egress_ports.iter().copied();
    let sts = pipeline.aws_region.as_ref().map(|_| STS);
    brokers
        .chain(sts)
        .chain(stores.chain(named).filter_map(|port| u16::try_from(port).ok()))
        .collect()
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(number))),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    }
}
