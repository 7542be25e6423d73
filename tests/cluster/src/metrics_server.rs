//! metrics-server as a process of the host, registered with the API server: CPU and memory of pods.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use host::progress::Progress;
use serde_json::{Value, json};

use crate::blueprint::Blueprint;
use crate::certificates::{CLUSTER, authority, certificate, kubeconfig, private_key};
use crate::component::Component;
use crate::kubectl;

/// As whom it reads the kubelet's figures.
pub(crate) const USER: &str = "system:metrics-server";
/// The name under which the API server calls it.
pub(crate) const HOST_NAME: &str = "metrics-server.kube-system.svc";

/// Registers it and starts it if it is not running, but does not wait for figures.
pub(crate) fn start(blueprint: &Blueprint) -> Result<()> {
    kubectl::apply(blueprint, &objects(blueprint)?)?;
    Component::MetricsServer.ensure(blueprint).map(drop)
}

/// Starts it if need be, and waits until it has figures of the node.
pub(crate) fn wait(blueprint: &Blueprint, progress: &Progress, timeout: Duration) -> Result<()> {
    progress.run("metrics", |_| {
        start(blueprint)?;
        let server = Component::MetricsServer.ensure(blueprint)?;
        server.wait_until("the metrics API to have figures", timeout, || {
            kubectl::output(blueprint, &["top", "node", "--no-headers"]).map(|_| Some(()))
        })
    })
}

pub(crate) fn metrics_server(blueprint: &Blueprint) -> (PathBuf, Vec<String>) {
    let kubeconfig = kubeconfig(blueprint, "metrics-server");
    let args = vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--bind-address={}", blueprint.addresses.node),
        format!("--secure-port={}", blueprint.ports.metrics),
        format!("--tls-cert-file={}", certificate(blueprint, "metrics-server")),
        format!("--tls-private-key-file={}", private_key(blueprint, "metrics-server")),
        format!("--kubelet-certificate-authority={}", authority(blueprint, CLUSTER)),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--kubelet-use-node-status-port".to_owned(),
        "--metric-resolution=15s".to_owned(),
    ];
    (blueprint.binaries.metrics_server(), args)
}

fn objects(blueprint: &Blueprint) -> Result<Vec<Value>> {
    let authority = authority(blueprint, CLUSTER);
    let authority = fs::read(&authority).with_context(|| format!("read {authority}"))?;
    let name = "metrics-server";
    let metadata = json!({"name": name, "namespace": "kube-system"});
    let rbac = "rbac.authorization.k8s.io";
    let subjects = json!([{"apiGroup": rbac, "kind": "User", "name": USER}]);
    let bind_cluster_role = |binding: &str, role: &str| {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": binding},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
            "subjects": subjects,
        })
    };
    Ok(vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": USER},
            "rules": [
                {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {
                "name": "system:aggregated-metrics-reader",
                "labels": {
                    "rbac.authorization.k8s.io/aggregate-to-admin": "true",
                    "rbac.authorization.k8s.io/aggregate-to-edit": "true",
                    "rbac.authorization.k8s.io/aggregate-to-view": "true",
                },
            },
            "rules": [{"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}],
        }),
        bind_cluster_role(USER, USER),
        bind_cluster_role("metrics-server:system:auth-delegator", "system:auth-delegator"),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "metrics-server-auth-reader", "namespace": "kube-system"},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "extension-apiserver-authentication-reader"},
            "subjects": subjects,
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": metadata,
            "spec": {"ports": [{"name": "https", "protocol": "TCP", "port": 443}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "kube-system", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [blueprint.addresses.node], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "protocol": "TCP", "port": blueprint.ports.metrics}],
        }),
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": metadata,
                "caBundle": STANDARD.encode(authority),
            },
        }),
    ])
}
