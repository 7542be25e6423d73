//! A whole Kubernetes on one Linux machine, from processes: etcd, kube-apiserver, kube-controller-manager,
//! kube-scheduler, containerd, kubelet, kube-proxy, CoreDNS and metrics-server, with real RBAC, and no container
//! engine or image registry.
//!
//! [`up`] brings one cluster up or repairs the one that is there; [`down`] leaves nothing of it. Everything it keeps
//! is in `<state>/cluster`; the programs, built from the Go modules beside this crate, are in the cache.
//!
//! | module | what it does |
//! |---|---|
//! | `binaries` | builds the programs |
//! | `addresses`, `blueprint` | decide everything before anything starts |
//! | `certificates` | who everybody is |
//! | `control_plane`, `container_runtime`, `node`, `dns`, `metrics_server` | configure and start the components |
//! | `network`, `firewall`, `machine` | what is changed on the machine, and how it is put back |
//! | `teardown` | the end, also of a half-started cluster |

mod addresses;
mod binaries;
mod blueprint;
mod certificates;
mod component;
mod container_runtime;
mod control_plane;
mod dns;
mod firewall;
mod kubectl;
mod lock;
mod machine;
mod metrics_server;
mod network;
mod node;
mod requirements;
mod scratch_image;
mod teardown;

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use host::progress::Progress;

pub use binaries::{Binaries, prepare_kubernetes};
pub use component::{Component, kill9, restart};
pub use container_runtime::import_image;
pub use requirements::PACKAGES;

use blueprint::Blueprint;
use machine::Machine;

/// The name of the only node.
pub const NODE_NAME: &str = "embedded";

/// A cluster that runs.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The administrator's kubeconfig.
    pub kubeconfig: PathBuf,
    /// The node's address, the same from the host and from pods. Data services listen on it.
    pub node_address: Ipv4Addr,
    /// The folder of `kubectl` and `helm`, for a `PATH`.
    pub tools: PathBuf,
    blueprint: Blueprint,
}

impl Cluster {
    fn of(blueprint: Blueprint) -> Self {
        Self {
            kubeconfig: kubectl::kubeconfig(&blueprint),
            node_address: blueprint.addresses.node,
            tools: blueprint.binaries.folder().to_owned(),
            blueprint,
        }
    }

    /// kubectl of this cluster's version, as its administrator.
    pub fn kubectl(&self) -> Command {
        kubectl::command(&self.blueprint)
    }

    /// Helm, as the cluster's administrator. What it caches goes with the cluster.
    pub fn helm(&self) -> Command {
        let mut helm = Command::new(self.blueprint.binaries.helm());
        helm.env("KUBECONFIG", &self.kubeconfig);
        for kind in ["CACHE", "CONFIG", "DATA"] {
            helm.env(
                format!("HELM_{kind}_HOME"),
                self.blueprint.path("helm").join(kind.to_lowercase()),
            );
        }
        helm
    }

    /// Waits until there are figures of CPU and memory, which autoscaling on them needs.
    pub fn wait_for_metrics(&self, progress: &Progress, timeout: Duration) -> Result<()> {
        metrics_server::wait(&self.blueprint, progress, timeout)
    }
}

/// Brings the cluster up and waits until it takes pods and resolves names. A healthy one is reused, one with dead
/// components is repaired, one of other versions is replaced.
///
/// The metrics server has figures a while later: [`Cluster::wait_for_metrics`].
pub fn up(progress: &Progress) -> Result<Cluster> {
    requirements::check_privileges()?;
    let binaries = prepare_kubernetes(progress)?;
    requirements::check_programs()?;
    let _lock = lock::take(progress)?;
    let blueprint = blueprint_for(&binaries, progress)?;
    Machine::remember()?;
    certificates::create(&blueprint)?;
    network::set_up(&blueprint.addresses)?;
    thread::scope(|scope| {
        let control_plane = scope.spawn(|| control_plane::start(&blueprint, progress));
        let container_runtime = scope.spawn(|| container_runtime::start(&blueprint, progress));
        for outcome in [control_plane.join(), container_runtime.join()] {
            outcome.map_err(|_| anyhow!("starting the cluster panicked"))??;
        }
        anyhow::Ok(())
    })?;
    thread::scope(|scope| {
        let node = scope.spawn(|| node::start(&blueprint, progress));
        let dns = scope.spawn(|| dns::start(&blueprint, progress));
        for outcome in [node.join(), dns.join()] {
            outcome.map_err(|_| anyhow!("starting the cluster panicked"))??;
        }
        anyhow::Ok(())
    })?;
    metrics_server::start(&blueprint)?;
    Ok(Cluster::of(blueprint))
}

/// Takes the cluster down: leaves no process, mount, network device, iptables rule or file of it, however it ended.
pub fn down(progress: &Progress) -> Result<()> {
    if !teardown::is_needed() {
        return Ok(());
    }
    requirements::check_privileges()?;
    let _lock = lock::take(progress)?;
    progress.run("taking the cluster down", |_| teardown::tear_down())
}

/// The cluster, if its API server is running.
pub fn running() -> Option<Cluster> {
    let blueprint = Blueprint::load().ok()??;
    Component::ApiServer.daemon()?;
    Some(Cluster::of(blueprint))
}

/// Lines for a person: where the cluster is, and each component with its process.
pub fn status() -> Result<String> {
    let Some(blueprint) = Blueprint::load()? else {
        return Ok("embedded cluster: down\n".to_owned());
    };
    let mut text = String::new();
    let ready = kubectl::output(&blueprint, &["get", "--raw=/readyz"]).is_ok();
    let _ = writeln!(text, "embedded cluster: {}", if ready { "up" } else { "not answering" });
    let _ = writeln!(text, "  kubeconfig  {}", kubectl::kubeconfig(&blueprint).display());
    let _ = writeln!(text, "  tools       {}", blueprint.binaries.folder().display());
    let _ = writeln!(text, "  logs        {}", blueprint.path("log").display());
    let _ = writeln!(text, "  API server  {}", blueprint.api_url());
    for component in Component::ALL {
        let state = component
            .daemon()
            .map_or("not running".to_owned(), |daemon| format!("process {}", daemon.pid()));
        let _ = writeln!(text, "  {:<24}{state}", component.name());
    }
    Ok(text)
}

/// The blueprint of the cluster that is there, or a new one where there is none that fits.
fn blueprint_for(binaries: &Binaries, progress: &Progress) -> Result<Blueprint> {
    match Blueprint::load() {
        Ok(Some(blueprint)) if blueprint.fits(binaries) => return Ok(blueprint),
        // Half of one, before its blueprint was written, of other programs, or of before the machine was restarted.
        _ if teardown::is_needed() => {
            progress.run("removing what an earlier cluster left", |_| teardown::tear_down())?;
        }
        _ => {}
    }
    requirements::check_no_other_kubernetes()?;
    Blueprint::draw(binaries)
}
