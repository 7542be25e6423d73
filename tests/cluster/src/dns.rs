//! CoreDNS as a process of the host, behind a Service without selector.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use host::progress::Progress;
use serde_json::{Value, json};

use crate::blueprint::Blueprint;
use crate::certificates::kubeconfig;
use crate::component::Component;
use crate::kubectl;

/// The domain of the cluster's names.
pub(crate) const DOMAIN: &str = "cluster.local";
/// As whom CoreDNS reads Services.
pub(crate) const USER: &str = "system:coredns";
/// The machine's own name servers.
pub(crate) const MACHINE_RESOLV_CONF: &str = "/etc/resolv.conf";

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(60);

/// Starts CoreDNS if it is not running and waits until a name resolves through its Service.
pub(crate) fn start(blueprint: &Blueprint, progress: &Progress) -> Result<()> {
    progress.run("DNS", |_| {
        let corefile = corefile(blueprint, has_name_server());
        host::secret::write_private(&blueprint.path("Corefile"), corefile.as_bytes())?;
        kubectl::apply(blueprint, &objects(blueprint))?;
        let coredns = Component::Dns.ensure(blueprint)?;
        let name = format!("kubernetes.default.svc.{DOMAIN}");
        let server = SocketAddr::from((blueprint.addresses.dns_service(), 53));
        let expected = blueprint.addresses.api_service();
        coredns.wait_until("DNS to answer", RESOLVE_TIMEOUT, || match resolve(&name, server)? {
            found if found == expected => Ok(Some(())),
            found => bail!("{name} is {found} in place of {expected}"),
        })
    })
}

pub(crate) fn coredns(blueprint: &Blueprint) -> (PathBuf, Vec<String>) {
    let args = vec!["-conf".to_owned(), blueprint.text("Corefile")];
    (blueprint.binaries.coredns(), args)
}

/// Names of the cluster are never cached: a test that creates a Service finds it at once.
fn corefile(blueprint: &Blueprint, forward: bool) -> String {
    let Blueprint { addresses, ports, .. } = blueprint;
    let cluster = format!(
        "{DOMAIN}:{port} {{\n    bind {node}\n    errors\n    kubernetes {DOMAIN} {{\n        kubeconfig {kubeconfig} embedded\n        \
         pods insecure\n        ttl 5\n    }}\n}}\n",
        port = ports.dns,
        node = addresses.node,
        kubeconfig = kubeconfig(blueprint, "coredns"),
    );
    if !forward {
        return cluster;
    }
    let others = format!(
        ".:{port} {{\n    bind {node}\n    errors\n    forward . {MACHINE_RESOLV_CONF}\n    cache 30\n}}\n",
        port = ports.dns,
        node = addresses.node,
    );
    cluster + &others
}

/// Whether the machine resolves names of the outside; CoreDNS refuses to forward to nobody.
fn has_name_server() -> bool {
    fs::read_to_string(MACHINE_RESOLV_CONF)
        .is_ok_and(|text| text.lines().any(|line| line.trim_start().starts_with("nameserver ")))
}

fn objects(blueprint: &Blueprint) -> Vec<Value> {
    let Blueprint { addresses, ports, .. } = blueprint;
    let port = |name: &str, protocol: &str, number: u16| json!({"name": name, "protocol": protocol, "port": number});
    let read = |group: &str, resources: Value| json!({"apiGroups": [group], "resources": resources, "verbs": ["list", "watch"]});
    vec![
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": USER},
            "rules": [
                read("", json!(["endpoints", "services", "pods", "namespaces"])),
                read("discovery.k8s.io", json!(["endpointslices"])),
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": USER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": USER},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {
                "clusterIP": addresses.dns_service(),
                "ports": [port("dns", "UDP", 53), port("dns-tcp", "TCP", 53)],
            },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns", "namespace": "kube-system",
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [addresses.node], "conditions": {"ready": true}}],
            "ports": [port("dns", "UDP", ports.dns), port("dns-tcp", "TCP", ports.dns)],
        }),
    ]
}

/// Asks a server for the first IPv4 address of a name.
fn resolve(name: &str, server: SocketAddr) -> Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("open a socket")?;
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .context("set a timeout")?;
    socket
        .send_to(&query(name), server)
        .with_context(|| format!("ask {server} for {name}"))?;
    let mut answer = [0; 512];
    let length = socket
        .recv(&mut answer)
        .with_context(|| format!("wait for {server} to answer for {name}"))?;
    first_address(&answer[..length]).with_context(|| format!("{server} knows no address of {name}"))
}

fn query(name: &str) -> Vec<u8> {
    // Id 1, recursion desired, one question.
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    // The root; type A, class IN.
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// The address in an answer to [`query`] of one record: its last four bytes, where the counts say there is one.
fn first_address(answer: &[u8]) -> Option<Ipv4Addr> {
    let answers = u16::from_be_bytes([*answer.get(6)?, *answer.get(7)?]);
    let additional = u16::from_be_bytes([*answer.get(10)?, *answer.get(11)?]);
    let address: [u8; 4] = answer.last_chunk().copied()?;
    (answers == 1 && additional == 0).then(|| Ipv4Addr::from(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_address_at_its_end() {
        let mut answer = query("kubernetes.default.svc.cluster.local");
        assert_eq!(first_address(&answer), None, "a question is no answer");
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 214, 0, 1]);
        assert_eq!(first_address(&answer), Some(Ipv4Addr::new(10, 214, 0, 1)));
        assert_eq!(first_address(&answer[..8]), None);
    }

    #[test]
    fn a_question_is_made_of_labels() {
        assert_eq!(
            query("a.bc"),
            [
                0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 2, b'b', b'c', 0, 0, 1, 0, 1
            ]
        );
    }
}
