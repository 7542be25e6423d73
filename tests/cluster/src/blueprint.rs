//! What is decided about a cluster before anything of it starts, kept so that later commands find the same one.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::addresses::Addresses;
use crate::binaries::Binaries;

/// The longest path of a Unix socket, and the longest of the sockets' names below the cluster's folder.
const SOCKET_PATH_LIMIT: usize = 107;
const LONGEST_SOCKET: &str = "kubelet/pod-resources/kubelet.sock.0123456789";

/// Addresses, ports and programs of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blueprint {
    pub(crate) addresses: Addresses,
    pub(crate) ports: Ports,
    pub(crate) binaries: Binaries,
    /// Since when the machine has been running. A cluster does not outlive it: network, mounts and kernel settings
    /// are new then.
    boot: String,
}

/// Ports, each free when the cluster was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) etcd: u16,
    pub(crate) etcd_peer: u16,
    pub(crate) api: u16,
    pub(crate) kubelet: u16,
    pub(crate) proxy_health: u16,
    pub(crate) proxy_metrics: u16,
    pub(crate) dns: u16,
    pub(crate) metrics: u16,
}

/// The folder of everything the cluster keeps; gone when there is no cluster.
pub(crate) fn folder() -> PathBuf {
    host::state::dir().join("cluster")
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

impl Blueprint {
    /// The blueprint of the cluster that is there, if any.
    pub(crate) fn load() -> Result<Option<Self>> {
        let path = Self::file();
        match fs::read(&path) {
            Ok(content) => {
                let blueprint = serde_json::from_slice(&content).with_context(|| format!("read {}", path.display()))?;
                Ok(Some(blueprint))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Whether a cluster of these programs can go on with this blueprint.
    pub(crate) fn fits(&self, binaries: &Binaries) -> bool {
        self.binaries == *binaries && self.boot == boot()
    }

    /// Decides everything for a new cluster and writes it down.
    pub(crate) fn draw(binaries: &Binaries) -> Result<Self> {
        let longest = folder().join(LONGEST_SOCKET);
        if longest.as_os_str().len() > SOCKET_PATH_LIMIT {
            bail!(
                "the state folder's path is too long for Unix sockets below it: {}; set {} to a shorter one",
                host::state::dir().display(),
                host::state::VARIABLE
            );
        }
        let blueprint = Self {
            addresses: Addresses::choose()?,
            ports: Ports::choose()?,
            binaries: binaries.clone(),
            boot: boot(),
        };
        host::state::create_private(&folder())?;
        let content = serde_json::to_vec_pretty(&blueprint).context("write the cluster's blueprint")?;
        host::secret::write_private(&Self::file(), &content)?;
        Ok(blueprint)
    }

    fn file() -> PathBuf {
        folder().join("blueprint.json")
    }

    /// A path in the cluster's folder.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        folder().join(name)
    }

    /// A path in the cluster's folder as text, for an argument or a configuration file.
    pub(crate) fn text(&self, name: impl AsRef<Path>) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// The API server's address.
    pub(crate) fn api_url(&self) -> String {
        format!("https://{}:{}", self.addresses.node, self.ports.api)
    }
}

impl Ports {
    fn choose() -> Result<Self> {
        // Free on every address, as the node's own does not exist yet.
        let free = || host::ports::free(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let mut chosen = Vec::new();
        let mut next = |also: fn(u16) -> bool| -> Result<u16> {
            for _ in 0..32 {
                let port = free()?;
                if !chosen.contains(&port) && also(port) {
                    chosen.push(port);
                    return Ok(port);
                }
            }
            bail!("there are no free ports on this machine");
        };
        Ok(Self {
            etcd: next(|_| true)?,
            etcd_peer: next(|_| true)?,
            api: next(|_| true)?,
            kubelet: next(|_| true)?,
            proxy_health: next(|_| true)?,
            proxy_metrics: next(|_| true)?,
            dns: next(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok())?,
            metrics: next(|_| true)?,
        })
    }
}
