//! The end of a cluster, whole or half-started: nothing of it stays.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::component::Component;
use crate::container_runtime::POD_NETWORK;
use crate::machine::Machine;
use crate::{blueprint, firewall, network};

const CGROUPS: &str = "/sys/fs/cgroup";
/// The cgroup below which the kubelet puts every pod.
const PODS_CGROUP: &str = "kubepods";
/// Names of the programs whose processes a cluster has, besides those in pods.
const PROGRAMS: [&str; 6] = [
    "kubernetes",
    "containerd",
    "containerd-shim-runc-v2",
    "coredns",
    "metrics-server",
    "runc",
];
/// Where containerd has the sockets of shims, whatever its own configuration says.
const SHIM_SOCKETS: &str = "/run/containerd/s";
const TIMEOUT: Duration = Duration::from_secs(30);

/// Removes everything of the cluster. What is gone already is skipped, so this can be repeated after any failure.
pub(crate) fn tear_down() -> Result<()> {
    let folder = blueprint::folder();
    // The kubelet first: it would start again what ends.
    for component in [
        Component::Kubelet,
        Component::Proxy,
        Component::MetricsServer,
        Component::Dns,
    ] {
        component.stop(Duration::ZERO)?;
    }
    let shim_sockets = shim_sockets(&folder);
    // With all that is in its session: plugins and runtimes that would go on making what is removed below.
    Component::Containerd.stop(Duration::ZERO)?;
    end_processes(&folder)?;
    for component in Component::ALL {
        component.stop(Duration::ZERO)?;
    }
    unmount_below(&folder)?;
    network::remove_devices()?;
    firewall::remove_rules()?;
    remove_cgroups()?;
    for socket in shim_sockets.into_iter().chain(dead_shim_sockets()) {
        host::state::remove(&socket)?;
    }
    remove_network_results(&folder)?;
    remove_log_links(&folder)?;
    Machine::restore()?;
    host::state::remove(&folder)?;
    // The run folder and the state folder go with the last thing that used them.
    let _ = fs::remove_dir(host::state::dir().join("run"));
    let _ = fs::remove_dir(host::state::dir());
    Ok(())
}

/// Whether there is anything to tear down.
pub(crate) fn is_needed() -> bool {
    blueprint::folder().exists() || network::device_exists(network::NODE_DEVICE)
}

/// Kills the containers' processes, those that watch over them, and daemons that lost their pid file.
fn end_processes(folder: &Path) -> Result<()> {
    host::wait_until("the pods' processes to end", TIMEOUT, || {
        let processes: BTreeSet<i32> = in_pods().into_iter().chain(of_cluster(folder)).collect();
        for pid in processes.iter().filter_map(|pid| Pid::from_raw(*pid)) {
            // One that ended meanwhile is what is wanted; one that cannot be killed is waited for.
            let _ = kill_process(pid, Signal::KILL);
        }
        Ok(processes.is_empty().then_some(()))
    })
}

/// Processes of programs of a cluster that were given a path in `folder`.
fn of_cluster(folder: &Path) -> Vec<i32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let folder = format!("{}/", folder.display());
    processes
        .flatten()
        .filter(|process| {
            let program = fs::read_link(process.path().join("exe")).unwrap_or_default();
            let program = program.file_name().unwrap_or_default().to_string_lossy();
            // The kernel marks programs that were replaced since they started.
            PROGRAMS.contains(&program.trim_end_matches(" (deleted)"))
        })
        .filter(|process| {
            fs::read(process.path().join("cmdline"))
                .is_ok_and(|arguments| String::from_utf8_lossy(&arguments).contains(&folder))
        })
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect()
}

fn in_pods() -> Vec<i32> {
    let mut processes = Vec::new();
    for cgroup in pod_cgroups() {
        for folder in folders_below(&cgroup) {
            let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            processes.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
    }
    // 0 is a process that this one cannot see.
    processes.retain(|pid| *pid > 0);
    processes
}

/// The pods' cgroup: one, or with version 1 one for each controller.
fn pod_cgroups() -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from(CGROUPS)];
    roots.extend(
        fs::read_dir(CGROUPS)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path()),
    );
    roots
        .into_iter()
        .map(|root| root.join(PODS_CGROUP))
        .filter(|cgroup| cgroup.is_dir())
        .collect()
}

fn remove_cgroups() -> Result<()> {
    for cgroup in pod_cgroups() {
        // The kernel needs a moment to let go of processes that have ended.
        host::wait_until(&format!("{} to be removable", cgroup.display()), TIMEOUT, || {
            for folder in folders_below(&cgroup).into_iter().rev() {
                if let Err(error) = fs::remove_dir(&folder) {
                    bail!("remove {}: {error}", folder.display());
                }
            }
            Ok(Some(()))
        })?;
    }
    Ok(())
}

/// `root` and every folder in it, each before those inside it.
fn folders_below(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        found.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
        next += 1;
    }
    found
}

fn unmount_below(folder: &Path) -> Result<()> {
    host::wait_until("the cluster's file systems to be unmounted", TIMEOUT, || {
        let table = fs::read_to_string("/proc/self/mounts").context("read the table of mounts")?;
        let mounts = mounts_below(&table, folder);
        for mount in &mounts {
            unmount(mount, UnmountFlags::DETACH).with_context(|| format!("unmount {}", mount.display()))?;
        }
        Ok(mounts.is_empty().then_some(()))
    })
}

/// Mount points in `folder`, the last one mounted first.
fn mounts_below(table: &str, folder: &Path) -> Vec<PathBuf> {
    let points = table.lines().rev().filter_map(|line| line.split(' ').nth(1));
    points
        .map(|point| PathBuf::from(unescape(point)))
        .filter(|point| point.starts_with(folder))
        .collect()
}

/// The kernel writes blanks and backslashes of a path as three octal digits.
fn unescape(point: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .into_iter()
        .fold(point.to_owned(), |text, (code, character)| {
            text.replace(code, character)
        })
}

/// Sockets of containers' shims, which are not in the cluster's folder but listed there.
fn shim_sockets(folder: &Path) -> Vec<PathBuf> {
    let tasks = folder.join("containerd/run/io.containerd.runtime.v2.task/k8s.io");
    fs::read_dir(tasks)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("address")).ok())
        .filter_map(|address| Some(PathBuf::from(address.trim().strip_prefix("unix://")?)))
        .collect()
}

/// Sockets on which no shim listens any more: a containerd that was killed and started again has forgotten them. Young
/// ones are left alone, as another containerd's shim may be about to listen.
fn dead_shim_sockets() -> Vec<PathBuf> {
    let old_enough = |path: &Path| {
        let made = path.symlink_metadata().and_then(|socket| socket.modified()).ok();
        made.and_then(|made| made.elapsed().ok())
            .is_some_and(|age| age > Duration::from_secs(2))
    };
    let is_dead =
        |path: &Path| UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    fs::read_dir(SHIM_SOCKETS)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| old_enough(path) && is_dead(path))
        .collect()
}

/// Results of CNI plugins for this cluster's pods: those of its network, or about one of its network namespaces.
fn remove_network_results(folder: &Path) -> Result<()> {
    let own_prefix = format!("{POD_NETWORK}-");
    let own_content = folder.display().to_string();
    for entry in fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten() {
        let of_network = entry.file_name().to_string_lossy().starts_with(&own_prefix);
        if of_network || fs::read_to_string(entry.path()).is_ok_and(|content| content.contains(&own_content)) {
            host::state::remove(&entry.path())?;
        }
    }
    Ok(())
}

/// The kubelet's links to containers' logs in this cluster's folder.
fn remove_log_links(folder: &Path) -> Result<()> {
    for entry in fs::read_dir("/var/log/containers").into_iter().flatten().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(folder)) {
            host::state::remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_folder_are_found_last_first() {
        let table = "proc /proc proc rw 0 0\n\
                     tmpfs /state/cluster/a tmpfs rw 0 0\n\
                     tmpfs /state/cluster/a/with\\040blank tmpfs rw 0 0\n\
                     tmpfs /state/cluster-other tmpfs rw 0 0\n";
        let found = mounts_below(table, Path::new("/state/cluster"));
        assert_eq!(
            found,
            ["/state/cluster/a/with blank", "/state/cluster/a"].map(PathBuf::from)
        );
    }

    #[test]
    fn folders_come_before_those_inside_them() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        assert_eq!(
            folders_below(root.path()),
            [root.path().to_owned(), root.path().join("a"), root.path().join("a/b")]
        );
    }

    #[test]
    fn processes_of_others_are_not_the_clusters() {
        // This test has the path in none of its arguments, and is none of the programs.
        assert_eq!(of_cluster(Path::new("/no/such/cluster")), Vec::<i32>::new());
    }
}
