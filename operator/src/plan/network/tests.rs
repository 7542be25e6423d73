//! What the policies of a whole pipeline let through.

use super::evaluator::{End, passes, passes_by};
use super::*;
use crate::api::SyncPipeline;
use crate::plan::{SecretDigests, plan};
use crate::validate::validate;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

const NAMESPACE: &str = "data";

/// The policies of a MobileForge pipeline with both APIs beside it.
fn policies(extra: &str) -> Vec<NetworkPolicy> {
    let object: SyncPipeline = crate::manifest::parse(&format!(
        "apiVersion: syncpipeline.dev/v1alpha1\nkind: SyncPipeline\nmetadata: {{name: p, namespace: {NAMESPACE}}}\nspec:\n  \
         dailyActiveUsers: 1\n  kafka: {{bootstrapServers: ['k:9093']}}\n  \
         postgres: {{host: pg, credentialsSecretRef: {{name: pg}}}}\n  \
         mongodb: {{host: mg, credentialsSecretRef: {{name: mg}}}}\n  \
         insights: {{api: {{image: i}}, smsExtraction: {{image: s, port: 9000}}}}\n{extra}"
    ))
    .unwrap();
    let settings = Settings {
        producer_image: "p".into(),
        consumer_image: "c".into(),
        monitoring_namespace: "monitoring".into(),
    };
    let pipeline = validate(&object).unwrap();
    plan(
        &pipeline,
        &settings,
        &OwnerReference::default(),
        &SecretDigests::default(),
    )
    .network_policies
}

fn component(name: &str) -> End {
    End::pod(NAMESPACE, &naming::pod_selector("p", name))
}

/// A pod of somebody else.
fn stranger(namespace: &str) -> End {
    End::pod(namespace, &BTreeMap::from([("app".to_owned(), "other".to_owned())]))
}

fn outside(address: [u8; 4]) -> End {
    End::Outside(address.into())
}

#[test]
fn apis_take_connections_from_everywhere_and_readers_from_monitoring_only() {
    let policies = policies("");
    let internet = outside([203, 0, 113, 7]);
    for (api, port) in [("producer", 8000), ("insights", 8000), ("sms-extraction", 9000)] {
        assert!(passes(&policies, &internet, &component(api), port), "{api}");
        assert!(!passes(&policies, &internet, &component(api), 22), "{api}");
    }
    for reader in ["sms", "events", "common"] {
        let reader = component(reader);
        assert!(passes(&policies, &stranger("monitoring"), &reader, 8080));
        assert!(!passes(&policies, &stranger("monitoring"), &reader, 22));
        assert!(!passes(&policies, &stranger(NAMESPACE), &reader, 8080));
        assert!(!passes(&policies, &internet, &reader, 8080));
    }
}

#[test]
fn pods_reach_dns_and_their_servers_and_nothing_else() {
    let policies = policies("");
    let server = outside([10, 1, 2, 3]);
    for (name, ports) in [
        ("producer", [9093, 5432, 27017].as_slice()),
        ("sms", &[9093, 5432, 27017]),
        ("insights", &[5432, 27017]),
        ("sms-extraction", &[5432, 27017]),
    ] {
        let from = component(name);
        for port in [9093, 5432, 27017, 443, 6443] {
            let expected = ports.contains(&port);
            assert_eq!(passes(&policies, &from, &server, port), expected, "{name} to {port}");
        }
        for protocol in ["UDP", "TCP"] {
            assert!(
                passes_by(&policies, &from, &stranger("kube-system"), (protocol, 53)),
                "{name}"
            );
        }
    }
}

#[test]
fn only_the_insights_api_asks_for_extraction_among_the_pipelines_own() {
    let policies = policies("");
    let extraction = component("sms-extraction");
    assert!(passes(&policies, &component("insights"), &extraction, 9000));
    for name in ["producer", "sms", "events", "common"] {
        assert!(!passes(&policies, &component(name), &extraction, 9000), "{name}");
    }
}

#[test]
fn networks_that_are_named_are_the_only_ones_outside_and_the_cluster_stays_open() {
    let policies = policies("  networkPolicy: {egressCIDRs: ['10.1.0.0/16'], egressPorts: [9999]}\n");
    let sms = component("sms");
    for port in [9093, 5432, 27017, 9999] {
        assert!(passes(&policies, &sms, &outside([10, 1, 255, 3]), port), "{port}");
        assert!(!passes(&policies, &sms, &outside([10, 2, 0, 3]), port), "{port}");
        assert!(passes(&policies, &sms, &stranger("kafka"), port), "{port}");
    }
    assert!(passes_by(&policies, &sms, &stranger("kube-system"), ("UDP", 53)));
}

#[test]
fn without_policies_everything_passes() {
    assert!(policies("  networkPolicy: {enabled: false}\n").is_empty());
    assert!(passes(&[], &stranger("a"), &component("sms"), 22));
}
