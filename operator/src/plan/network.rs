//! NetworkPolicies: what a component's pods take and where they go.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Settings;
use super::naming::{self, Naming};
use crate::validate::{Insight, InsightKind, Pipeline};

/// Label that every namespace has with its own name.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// Port of DNS.
const DNS: u16 = 53;
/// Port of STS, which makes an AWS role's credentials out of a ServiceAccount's token.
const STS: u16 = 443;
/// Where the agent of EKS Pod Identity gives out credentials, on every node.
const POD_IDENTITY: (u16, [&str; 2]) = (80, ["169.254.170.23/32", "fd00:ec2::23/128"]);

/// What a component's pods take and where they go, DNS aside.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traffic {
    /// Who may open connections to the component's port; everyone when absent. A node's own probes always pass.
    from: Option<Vec<NetworkPolicyPeer>>,
    /// Servers and other components that the pods may reach.
    to: Vec<NetworkPolicyEgressRule>,
}

/// An API behind a Service or a load balancer, which writes to Kafka.
pub fn of_producer(pipeline: &Pipeline) -> Traffic {
    Traffic {
        from: None,
        to: of_kafka(pipeline),
    }
}

/// A reader: it listens for health and metrics only.
pub fn of_consumer(pipeline: &Pipeline, settings: &Settings) -> Traffic {
    Traffic {
        from: Some(vec![monitoring(settings)]),
        to: of_kafka(pipeline),
    }
}

/// An API beside the pipeline. The Insights API also reaches the SMS Extraction API.
pub fn of_insight(pipeline: &Pipeline, insight: &Insight) -> Traffic {
    let asked = |other: &&Insight| insight.kind == InsightKind::Api && other.kind == InsightKind::SmsExtraction;
    let extraction = pipeline.insights.iter().find(asked);
    let extraction = extraction.map(|extraction| NetworkPolicyEgressRule {
        ports: Some(vec![port("TCP", extraction.component.port)]),
        to: Some(vec![pods(pipeline, InsightKind::SmsExtraction)]),
    });
    Traffic {
        from: None,
        to: std::iter::once(servers(pipeline, Kind::Stores))
            .chain(extraction)
            .collect(),
    }
}

/// The policy of one component's pods, which listen on `number`.
pub fn policy(name: &Naming, number: u16, traffic: Traffic) -> NetworkPolicy {
    let ingress = NetworkPolicyIngressRule {
        from: traffic.from,
        ports: Some(vec![port("TCP", number)]),
    };
    let dns = NetworkPolicyEgressRule {
        ports: Some(vec![port("UDP", DNS), port("TCP", DNS)]),
        to: None,
    };
    NetworkPolicy {
        metadata: name.metadata(),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(name.label_selector()),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![ingress]),
            egress: Some(std::iter::once(dns).chain(traffic.to).collect()),
        }),
    }
}

/// The namespace that reads metrics.
fn monitoring(settings: &Settings) -> NetworkPolicyPeer {
    let label = (NAMESPACE_LABEL.to_owned(), settings.monitoring_namespace.clone());
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([label])),
            match_expressions: None,
        }),
        ..NetworkPolicyPeer::default()
    }
}

/// The pods of a component of the same pipeline.
fn pods(pipeline: &Pipeline, kind: InsightKind) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        pod_selector: Some(LabelSelector {
            match_labels: Some(naming::pod_selector(&pipeline.name, kind.component())),
            match_expressions: None,
        }),
        ..NetworkPolicyPeer::default()
    }
}

/// Which servers a component talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Kafka and the stores.
    Kafka,
    /// The stores alone.
    Stores,
}

/// Kafka and the stores are in this cluster, or in the networks that the spec names; without any named,
/// everywhere.
fn servers(pipeline: &Pipeline, kind: Kind) -> NetworkPolicyEgressRule {
    let ports = server_ports(pipeline, kind);
    let ports = ports.into_iter().map(|number| port("TCP", number)).collect();
    let outside = &pipeline.network_policy.egress_cidrs;
    let inside = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector::default()),
        ..NetworkPolicyPeer::default()
    };
    let networks = outside.iter().map(|cidr| network(cidr));
    NetworkPolicyEgressRule {
        ports: Some(ports),
        to: (!outside.is_empty()).then(|| std::iter::once(inside).chain(networks).collect()),
    }
}

/// Kafka, the stores, and what logging in to them takes.
fn of_kafka(pipeline: &Pipeline) -> Vec<NetworkPolicyEgressRule> {
    let servers = servers(pipeline, Kind::Kafka);
    std::iter::once(servers).chain(pod_identity(pipeline)).collect()
}

/// Where a pod's role gets its credentials, where Kafka is reached by one.
fn pod_identity(pipeline: &Pipeline) -> Option<NetworkPolicyEgressRule> {
    pipeline.aws_region.as_ref()?;
    let (number, networks) = POD_IDENTITY;
    Some(NetworkPolicyEgressRule {
        ports: Some(vec![port("TCP", number)]),
        to: Some(networks.into_iter().map(network).collect()),
    })
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

fn server_ports(pipeline: &Pipeline, kind: Kind) -> BTreeSet<u16> {
    let brokers = pipeline.kafka.bootstrap_servers.iter().filter(|_| kind == Kind::Kafka);
    let brokers = brokers.filter_map(|server| server.rsplit_once(':')?.1.parse().ok());
    let stores = pipeline.postgres.iter().map(|postgres| postgres.port);
    let stores = stores.chain(pipeline.mongodb.iter().map(|mongodb| mongodb.port));
    let named = pipeline.network_policy.egress_ports.iter().copied();
    let sts = pipeline
        .aws_region
        .as_ref()
        .filter(|_| kind == Kind::Kafka)
        .map(|_| STS);
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

#[cfg(test)]
mod evaluator;
#[cfg(test)]
mod tests;
