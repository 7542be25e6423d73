//! The three kinds of cluster a pipeline can be run on. From a [`Cluster`] on, all take the same path.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use host::progress::Progress;

use crate::images::Images;
use crate::{foreground, workspace};

/// Name of the cluster in kind-config.yaml.
const KIND_NAME: &str = "syncpipeline";

/// Which cluster to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// A real Kubernetes from processes of this machine; needs root and Linux
    #[default]
    Embedded,
    /// A kind cluster from kind-config.yaml; needs Docker
    Kind,
    /// The cluster that kubectl talks to now; it is neither created nor deleted
    Current,
}

/// A cluster that answers.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    provider: Provider,
    embedded: Option<embedded_cluster::Cluster>,
    /// The file clients are to use; none means the user's own configuration.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// An address of this machine that pods can reach: the data services listen on it.
    pub(crate) services_address: IpAddr,
}

impl Provider {
    /// Programs that only the user can provide.
    pub(crate) fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Embedded => &[],
            Self::Kind => &["kind", "kubectl", "helm"],
            Self::Current => &["kubectl", "helm"],
        }
    }

    /// Whether there is such a cluster now.
    pub(crate) fn is_up(self) -> Result<bool> {
        match self {
            Self::Embedded => Ok(embedded_cluster::running().is_some()),
            Self::Kind => {
                let clusters = foreground::output(Command::new("kind").args(["get", "clusters"]))?;
                Ok(clusters.lines().any(|name| name.trim() == KIND_NAME))
            }
            Self::Current => Ok(true),
        }
    }

    /// Creates the cluster, or makes sure that the one there is answers.
    pub(crate) fn up(self, progress: &Progress) -> Result<Cluster> {
        match self {
            Self::Embedded => {
                let cluster = embedded_cluster::up(progress)?;
                Ok(Cluster {
                    provider: self,
                    kubeconfig: Some(cluster.kubeconfig.clone()),
                    services_address: IpAddr::V4(cluster.node_address),
                    embedded: Some(cluster),
                })
            }
            Self::Kind => progress.run("kind cluster", |_| kind_up()),
            Self::Current => progress.run("current cluster", |_| current()),
        }
    }

    /// Removes the cluster; the current one is the user's and stays.
    pub(crate) fn down(self, progress: &Progress) -> Result<()> {
        match self {
            Self::Embedded => embedded_cluster::down(progress),
            Self::Kind => progress.run("delete the kind cluster", |_| {
                let kubeconfig = kind_kubeconfig();
                let mut command = Command::new("kind");
                command
                    .args(["delete", "cluster", "--name", KIND_NAME, "--kubeconfig"])
                    .arg(&kubeconfig);
                host::run(&mut command, &log())?;
                host::state::remove(&kubeconfig)
            }),
            Self::Current => Ok(()),
        }
    }
}

impl Cluster {
    /// helm, talking to this cluster.
    pub(crate) fn helm(&self) -> Command {
        self.client("helm", embedded_cluster::Cluster::helm)
    }

    /// kubectl, talking to this cluster.
    pub(crate) fn kubectl(&self) -> Command {
        self.client("kubectl", embedded_cluster::Cluster::kubectl)
    }

    fn client(&self, program: &str, embedded: impl Fn(&embedded_cluster::Cluster) -> Command) -> Command {
        let mut command = self.embedded.as_ref().map_or_else(|| Command::new(program), embedded);
        self.configure(&mut command);
        command
    }

    /// Makes a command that reads `KUBECONFIG` talk to this cluster.
    pub(crate) fn configure(&self, command: &mut Command) {
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
    }

    /// Makes the images known to the nodes.
    pub(crate) fn load(&self, images: &Images, progress: &Progress) -> Result<()> {
        match self.provider {
            Provider::Embedded => load_embedded(images, progress),
            Provider::Kind => load_kind(images, progress),
            // They were pushed to a registry, or the user has put them on the nodes.
            Provider::Current => Ok(()),
        }
    }

    /// Waits until the cluster measures pods, which the producer's autoscaler needs. On other clusters than the
    /// embedded one this is the user's choice.
    pub(crate) fn wait_for_metrics(&self, progress: &Progress) -> Result<()> {
        const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(120);
        self.embedded
            .as_ref()
            .map_or(Ok(()), |cluster| cluster.wait_for_metrics(progress, TIMEOUT))
    }
}

/// Imports the archives into the embedded cluster's node.
pub(crate) fn load_embedded(images: &Images, progress: &Progress) -> Result<()> {
    progress.run("import images", |step| {
        for (name, image) in images.iter() {
            step.update(name);
            let archive = image
                .archive
                .as_deref()
                .context("the embedded cluster needs an archive")?;
            embedded_cluster::import_image(archive).with_context(|| format!("import image {name}"))?;
        }
        Ok(())
    })
}

/// Copies the images from Docker into kind's node.
pub(crate) fn load_kind(images: &Images, progress: &Progress) -> Result<()> {
    progress.run("load images into kind", |_| {
        let mut command = Command::new("kind");
        command.args(["load", "docker-image", "--name", KIND_NAME]);
        command.args(images.iter().map(|(_, image)| &image.reference));
        host::run(&mut command, &log())
    })
}

fn log() -> PathBuf {
    host::state::log_dir().join("cluster.log")
}

fn kind_kubeconfig() -> PathBuf {
    host::state::dir().join("kind-kubeconfig")
}

fn kind_up() -> Result<Cluster> {
    let kubeconfig = kind_kubeconfig();
    host::state::create_private(&host::state::dir())?;
    let kind = |args: &[&str]| {
        let mut command = Command::new("kind");
        command
            .args(args)
            .args(["--name", KIND_NAME, "--kubeconfig"])
            .arg(&kubeconfig);
        command
    };
    if Provider::Kind.is_up()? {
        host::run(&mut kind(&["export", "kubeconfig"]), &log())?;
    } else {
        let config = workspace::path("kind-config.yaml");
        host::run(
            kind(&["create", "cluster", "--wait", "180s", "--config"]).arg(config),
            &log(),
        )?;
    }
    let gateways = foreground::output(Command::new("docker").args([
        "network",
        "inspect",
        "kind",
        "--format",
        "{{range .IPAM.Config}}{{println .Gateway}}{{end}}",
    ]))?;
    let gateway = first_ipv4(&gateways).context("kind's Docker network has no IPv4 gateway")?;
    Ok(Cluster {
        provider: Provider::Kind,
        embedded: None,
        kubeconfig: Some(kubeconfig),
        services_address: gateway.into(),
    })
}

fn first_ipv4(lines: &str) -> Option<Ipv4Addr> {
    lines.lines().find_map(|line| line.trim().parse().ok())
}

fn current() -> Result<Cluster> {
    let kubectl = |args: &[&str]| foreground::output(Command::new("kubectl").args(args));
    kubectl(&["get", "--raw", "/readyz", "--request-timeout", "15s"]).context("the current cluster does not answer")?;
    let template = "jsonpath={.clusters[0].cluster.server}";
    let server = kubectl(&["config", "view", "--minify", "--output", template])?;
    let services_address = source_address(&server)?;
    Ok(Cluster {
        provider: Provider::Current,
        embedded: None,
        kubeconfig: None,
        services_address,
    })
}

/// The address from which this machine talks to a server: what the server's network can reach, unless a router or a
/// firewall is between them.
fn source_address(url: &str) -> Result<IpAddr> {
    let authority = url
        .split_once("://")
        .map_or(url, |(_, rest)| rest)
        .split('/')
        .next()
        .unwrap_or_default();
    let authority = if authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
    {
        authority.to_owned()
    } else {
        format!("{authority}:443")
    };
    let server = authority
        .to_socket_addrs()
        .with_context(|| format!("resolve the API server {url}"))?
        .next()
        .with_context(|| format!("the API server {url} has no address"))?;
    let any = if server.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)
    };
    // Connecting a datagram socket sends nothing: it only asks for the route.
    let socket = UdpSocket::bind((any, 0)).context("open a socket")?;
    socket
        .connect(server)
        .with_context(|| format!("find the route to {server}"))?;
    let address = socket.local_addr().context("read the route's source address")?.ip();
    if address.is_loopback() {
        bail!(
            "the API server {url} is on this machine's loopback; name an address that pods can reach with --services-address"
        );
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_the_ipv4_one() {
        assert_eq!(
            first_ipv4("fc00::1\n172.18.0.1\n\n"),
            Some(Ipv4Addr::new(172, 18, 0, 1))
        );
        assert_eq!(first_ipv4("fc00::1\n"), None);
    }

    #[test]
    fn an_api_server_on_the_loopback_is_refused_by_name() {
        let error = source_address("https://127.0.0.1:6443").unwrap_err().to_string();
        assert!(
            error.starts_with("the API server https://127.0.0.1:6443 is on this machine's loopback"),
            "{error}"
        );
        assert!(
            source_address("https://127.0.0.1")
                .unwrap_err()
                .to_string()
                .contains("loopback")
        );
    }
}
