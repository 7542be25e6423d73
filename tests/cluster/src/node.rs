//! kubelet and kube-proxy: this machine as a node.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use host::progress::Progress;
use serde_json::json;

use crate::blueprint::Blueprint;
use crate::certificates::{CLUSTER, authority, certificate, kubeconfig, private_key};
use crate::component::Component;
use crate::{NODE_NAME, container_runtime, dns, kubectl};

const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// The machine's upstream name servers where `/etc/resolv.conf` names a local one that pods cannot reach.
const SYSTEMD_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// Starts what is not running and waits until the node takes pods.
pub(crate) fn start(blueprint: &Blueprint, progress: &Progress) -> Result<()> {
    progress.run("node", |_| {
        write_configuration(blueprint)?;
        let proxy = Component::Proxy.ensure(blueprint)?;
        let kubelet = Component::Kubelet.ensure(blueprint)?;
        let node = blueprint.addresses.node;
        // The API server may still have what an earlier kubelet said.
        kubelet.wait_until("the kubelet to listen", READY_TIMEOUT, || {
            Ok(host::ports::is_open(node.into(), blueprint.ports.kubelet).then_some(()))
        })?;
        kubelet.wait_until("the node to be ready", READY_TIMEOUT, || ready(blueprint))?;
        proxy.wait_until("kube-proxy to listen", READY_TIMEOUT, || {
            Ok(host::ports::is_open(Ipv4Addr::LOCALHOST.into(), blueprint.ports.proxy_health).then_some(()))
        })?;
        // Pods in `default` are refused until it is there.
        kubelet.wait_until("the default service account", READY_TIMEOUT, || {
            kubectl::output(
                blueprint,
                &[
                    "get",
                    "serviceaccount",
                    "default",
                    "--namespace=default",
                    "--output=name",
                ],
            )
            .map(Some)
        })?;
        Ok(())
    })
}

fn ready(blueprint: &Blueprint) -> Result<Option<()>> {
    let path = r#"jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} {.message}{end}"#;
    let condition = kubectl::output(blueprint, &["get", "node", NODE_NAME, &format!("--output={path}")])?;
    match condition.split_once(' ') {
        Some(("True", _)) => Ok(Some(())),
        Some((_, message)) => bail!("{message}"),
        None => Ok(None),
    }
}

pub(crate) fn kubelet(blueprint: &Blueprint) -> (PathBuf, Vec<String>) {
    let args = vec![
        "kubelet".to_owned(),
        format!("--config={}", blueprint.text("kubelet.json")),
        format!("--kubeconfig={}", kubeconfig(blueprint, "kubelet")),
        format!("--root-dir={}", blueprint.text("kubelet")),
        format!("--hostname-override={NODE_NAME}"),
        format!("--node-ip={}", blueprint.addresses.node),
    ];
    (blueprint.binaries.kubernetes(), args)
}

pub(crate) fn proxy(blueprint: &Blueprint) -> (PathBuf, Vec<String>) {
    let args = vec![
        "kube-proxy".to_owned(),
        format!("--kubeconfig={}", kubeconfig(blueprint, "proxy")),
        "--proxy-mode=iptables".to_owned(),
        format!("--cluster-cidr={}", blueprint.addresses.pods),
        format!("--hostname-override={NODE_NAME}"),
        // Only the node's own address: the machine's network is not to be served, and loopback would need a
        // kernel setting that opens it to others.
        format!("--nodeport-addresses={}/32", blueprint.addresses.node),
        "--iptables-localhost-nodeports=false".to_owned(),
        format!(
            "--healthz-bind-address={}:{}",
            Ipv4Addr::LOCALHOST,
            blueprint.ports.proxy_health
        ),
        format!(
            "--metrics-bind-address={}:{}",
            Ipv4Addr::LOCALHOST,
            blueprint.ports.proxy_metrics
        ),
        // The machine's connection tracking stays as it is.
        "--conntrack-max-per-core=0".to_owned(),
        "--conntrack-tcp-timeout-established=0".to_owned(),
        "--conntrack-tcp-timeout-close-wait=0".to_owned(),
        "--oom-score-adj=0".to_owned(),
    ];
    (blueprint.binaries.kubernetes(), args)
}

fn write_configuration(blueprint: &Blueprint) -> Result<()> {
    let resolv_conf = if Path::new(SYSTEMD_RESOLV_CONF).exists() {
        SYSTEMD_RESOLV_CONF
    } else {
        dns::MACHINE_RESOLV_CONF
    };
    let configuration = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": blueprint.addresses.node,
        "port": blueprint.ports.kubelet,
        "healthzPort": 0,
        "readOnlyPort": 0,
        "tlsCertFile": certificate(blueprint, "kubelet"),
        "tlsPrivateKeyFile": private_key(blueprint, "kubelet"),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": authority(blueprint, CLUSTER)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": format!("unix://{}", container_runtime::socket().display()),
        "clusterDNS": [blueprint.addresses.dns_service()],
        "clusterDomain": dns::DOMAIN,
        "resolvConf": resolv_conf,
        "podLogsDir": blueprint.path("pod-logs"),
        "volumePluginDir": blueprint.path("kubelet/volume-plugins"),
        // Both versions of cgroups, without systemd's part in them.
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "maxPods": 250,
        "serializeImagePulls": false,
        // kube-proxy makes all the rules there are.
        "makeIPTablesUtilChains": false,
        // Images cannot be pulled again: never collect them, and bear a disk that is nearly full.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
    });
    let content = serde_json::to_vec_pretty(&configuration).context("write the kubelet's configuration")?;
    host::secret::write_private(&blueprint.path("kubelet.json"), &content)
}
