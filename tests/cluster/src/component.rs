//! The processes of a cluster.

use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use host::process::{Daemon, DaemonSpec};

use crate::blueprint::{self, Blueprint};
use crate::{container_runtime, control_plane, dns, metrics_server, node};

/// A process of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// etcd.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// containerd, with the processes that watch its containers.
    Containerd,
    /// kubelet.
    Kubelet,
    /// kube-proxy.
    Proxy,
    /// CoreDNS.
    Dns,
    /// metrics-server.
    MetricsServer,
}

impl Component {
    /// All, in the order in which they start.
    pub const ALL: [Self; 9] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Containerd,
        Self::Kubelet,
        Self::Proxy,
        Self::Dns,
        Self::MetricsServer,
    ];

    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::Proxy => "kube-proxy",
            Self::Dns => "coredns",
            Self::MetricsServer => "metrics-server",
        }
    }

    /// Its process, if it is running.
    pub fn daemon(self) -> Option<Daemon> {
        Daemon::find(&self.daemon_name())
    }

    fn daemon_name(self) -> String {
        format!("cluster-{}", self.name())
    }

    /// Starts it, unless it is running.
    pub(crate) fn ensure(self, blueprint: &Blueprint) -> Result<Daemon> {
        if let Some(running) = self.daemon() {
            return Ok(running);
        }
        let (program, args) = match self {
            Self::Etcd => control_plane::etcd(blueprint),
            Self::ApiServer => control_plane::api_server(blueprint),
            Self::ControllerManager => control_plane::controller_manager(blueprint),
            Self::Scheduler => control_plane::scheduler(blueprint),
            Self::Containerd => container_runtime::containerd(blueprint),
            Self::Kubelet => node::kubelet(blueprint),
            Self::Proxy => node::proxy(blueprint),
            Self::Dns => dns::coredns(blueprint),
            Self::MetricsServer => metrics_server::metrics_server(blueprint),
        };
        DaemonSpec::new(&self.daemon_name(), program)
            .args(args)
            .env("PATH", path_with_system_folders())
            .log(blueprint.path(format!("log/{}.log", self.name())))
            .spawn()
            .with_context(|| format!("start {}", self.name()))
    }

    /// Stops it, killing it after `grace`, and forgets that it ever ran.
    pub(crate) fn stop(self, grace: Duration) -> Result<()> {
        if let Some(daemon) = self.daemon() {
            daemon.stop(grace)?;
        }
        // One that ended by itself has left its pid file.
        host::state::remove(
            &host::state::dir()
                .join("run")
                .join(format!("{}.json", self.daemon_name())),
        )
    }
}

/// Kills a component as a crash would; nothing starts it again by itself.
pub fn kill9(component: Component) -> Result<()> {
    match component.daemon() {
        Some(daemon) => daemon.kill9(),
        None => Ok(()),
    }
}

/// Stops a component if it is running, and starts it. Does not wait until it serves.
pub fn restart(component: Component) -> Result<()> {
    let blueprint =
        Blueprint::load()?.with_context(|| format!("there is no cluster in {}", blueprint::folder().display()))?;
    component.stop(Duration::from_secs(10))?;
    component.ensure(&blueprint).map(drop)
}

/// `PATH` of this process, with the folders of `iptables`, `ip` and `runc` even where a user's `PATH` lacks them.
fn path_with_system_folders() -> std::ffi::OsString {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let system =
        ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(|folder| Path::new(folder).to_owned());
    env::join_paths(env::split_paths(&inherited).chain(system)).unwrap_or(inherited)
}
