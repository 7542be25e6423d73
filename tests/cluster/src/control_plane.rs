//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use host::progress::Progress;

use crate::blueprint::Blueprint;
use crate::certificates::{CLUSTER, ETCD, FRONT_PROXY, authority, certificate, kubeconfig, private_key};
use crate::component::Component;
use crate::dns;
use crate::kubectl;

const ETCD_TIMEOUT: Duration = Duration::from_secs(60);
const API_TIMEOUT: Duration = Duration::from_secs(120);

/// Starts what is not running and waits until the API server is ready.
pub(crate) fn start(blueprint: &Blueprint, progress: &Progress) -> Result<()> {
    progress.run("control plane", |_| {
        let etcd = Component::Etcd.ensure(blueprint)?;
        etcd.wait_until("etcd to listen", ETCD_TIMEOUT, || {
            Ok(host::ports::is_open(Ipv4Addr::LOCALHOST.into(), blueprint.ports.etcd).then_some(()))
        })?;
        let api_server = Component::ApiServer.ensure(blueprint)?;
        api_server.wait_until("the API server to be ready", API_TIMEOUT, || {
            kubectl::output(blueprint, &["get", "--raw=/readyz"]).map(Some)
        })?;
        Component::ControllerManager.ensure(blueprint)?;
        Component::Scheduler.ensure(blueprint).map(drop)
    })
}

pub(crate) fn etcd(blueprint: &Blueprint) -> (PathBuf, Vec<String>) {
    let url = |port: u16| format!("https://{}:{port}", Ipv4Addr::LOCALHOST);
    let (clients, peers) = (url(blueprint.ports.etcd), url(blueprint.ports.etcd_peer));
    let (certificate, key) = (certificate(blueprint, "etcd"), private_key(blueprint, "etcd"));
    let authority = authority(blueprint, ETCD);
    let args = vec![
        "etcd".to_owned(),
        "--name=embedded".to_owned(),
        format!("--data-dir={}", blueprint.text("etcd")),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=embedded={peers}"),
        "--client-cert-auth".to_owned(),
        format!("--cert-file={certificate}"),
        format!("--key-file={key}"),
        format!("--trusted-ca-file={authority}"),
        "--peer-client-cert-auth".to_owned(),
        format!("--peer-cert-file={certificate}"),
        format!("--peer-key-file={key}"),
        format!("--peer-trusted-ca-file={authority}"),
        // Survives the end of any process; a cluster for tests need not survive the loss of power.
        "--unsafe-no-fsync".to_owned(),
    ];
    (blueprint.binaries.kubernetes(), args)
}

pub(crate) fn api_server(blueprint: &Blueprint) -> (PathBuf, Vec<String>) {
    let addresses = &blueprint.addresses;
    let args = vec![
        "kube-apiserver".to_owned(),
        format!("--bind-address={}", addresses.node),
        format!("--advertise-address={}", addresses.node),
        format!("--secure-port={}", blueprint.ports.api),
        format!("--tls-cert-file={}", certificate(blueprint, "api-server")),
        format!("--tls-private-key-file={}", private_key(blueprint, "api-server")),
        format!("--client-ca-file={}", authority(blueprint, CLUSTER)),
        format!(
            "--etcd-servers=https://{}:{}",
            Ipv4Addr::LOCALHOST,
            blueprint.ports.etcd
        ),
        format!("--etcd-cafile={}", authority(blueprint, ETCD)),
        format!("--etcd-certfile={}", certificate(blueprint, "etcd-client")),
        format!("--etcd-keyfile={}", private_key(blueprint, "etcd-client")),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        format!("--service-cluster-ip-range={}", addresses.services),
        format!(
            "--service-account-issuer=https://kubernetes.default.svc.{}",
            dns::DOMAIN
        ),
        format!(
            "--service-account-key-file={}",
            blueprint.text("certificates/service-accounts.pub")
        ),
        format!(
            "--service-account-signing-key-file={}",
            private_key(blueprint, "service-accounts")
        ),
        format!("--kubelet-certificate-authority={}", authority(blueprint, CLUSTER)),
        format!(
            "--kubelet-client-certificate={}",
            certificate(blueprint, "kubelet-client")
        ),
        format!("--kubelet-client-key={}", private_key(blueprint, "kubelet-client")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        // Extension API servers, as the metrics server is one, run on the host: reached by endpoint, not by Service.
        "--enable-aggregator-routing=true".to_owned(),
        format!(
            "--proxy-client-cert-file={}",
            certificate(blueprint, "front-proxy-client")
        ),
        format!(
            "--proxy-client-key-file={}",
            private_key(blueprint, "front-proxy-client")
        ),
        format!("--requestheader-client-ca-file={}", authority(blueprint, FRONT_PROXY)),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--profiling=false".to_owned(),
    ];
    (blueprint.binaries.kubernetes(), args)
}

pub(crate) fn controller_manager(blueprint: &Blueprint) -> (PathBuf, Vec<String>) {
    let args = vec![
        "kube-controller-manager".to_owned(),
        format!("--kubeconfig={}", kubeconfig(blueprint, "controller-manager")),
        "--use-service-account-credentials".to_owned(),
        format!(
            "--service-account-private-key-file={}",
            private_key(blueprint, "service-accounts")
        ),
        format!("--root-ca-file={}", authority(blueprint, CLUSTER)),
        format!("--cluster-signing-cert-file={}", authority(blueprint, CLUSTER)),
        format!(
            "--cluster-signing-key-file={}",
            private_key(blueprint, &format!("{CLUSTER}-authority"))
        ),
        // The only one: without an election it also survives an API server that is away for a while.
        "--leader-elect=false".to_owned(),
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
        "--secure-port=0".to_owned(),
    ];
    (blueprint.binaries.kubernetes(), args)
}

pub(crate) fn scheduler(blueprint: &Blueprint) -> (PathBuf, Vec<String>) {
    let args = vec![
        "kube-scheduler".to_owned(),
        format!("--kubeconfig={}", kubeconfig(blueprint, "scheduler")),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ];
    (blueprint.binaries.kubernetes(), args)
}
