//! What a cluster changes outside its own folder: kernel settings and folders with fixed paths. How they were is
//! written down before the first change, and restored at the end.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::blueprint;

/// Settings that the cluster, the kubelet or kube-proxy change.
const SETTINGS: [&str; 8] = [
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-iptables",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// Folders that are made at fixed paths by the kubelet, containerd and CNI plugins.
const FOLDERS: [&str; 5] = [
    "/run/containerd",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
];

/// The only file that is left in them without being listed elsewhere.
const DEVICE_PLUGIN_SOCKET: &str = "/var/lib/kubelet/device-plugins/kubelet.sock";

/// How the machine was before the cluster.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    settings: BTreeMap<String, String>,
    absent_folders: Vec<PathBuf>,
}

impl Machine {
    /// Writes down how the machine is now, unless that was done before this cluster's first change.
    pub(crate) fn remember() -> Result<()> {
        let file = Self::file();
        if file.exists() {
            return Ok(());
        }
        let machine = Self {
            settings: SETTINGS
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), read_setting(name)?)))
                .collect(),
            absent_folders: FOLDERS
                .iter()
                .map(PathBuf::from)
                .filter(|folder| !folder.exists())
                .collect(),
        };
        host::state::create_private(&blueprint::folder())?;
        host::secret::write_private(
            &file,
            &serde_json::to_vec_pretty(&machine).context("describe the machine")?,
        )
    }

    /// Puts everything back as it was.
    pub(crate) fn restore() -> Result<()> {
        let file = Self::file();
        let content = match fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            content => content.with_context(|| format!("read {}", file.display()))?,
        };
        let machine: Self = serde_json::from_slice(&content).with_context(|| format!("read {}", file.display()))?;
        for (name, value) in &machine.settings {
            if read_setting(name).is_some_and(|now| now != *value) {
                write_setting(name, value)?;
            }
        }
        for folder in &machine.absent_folders {
            if Path::new(DEVICE_PLUGIN_SOCKET).starts_with(folder) {
                host::state::remove(Path::new(DEVICE_PLUGIN_SOCKET))?;
            }
            remove_if_empty(folder);
        }
        Ok(())
    }

    fn file() -> PathBuf {
        blueprint::folder().join("machine.json")
    }
}

/// Lets the kernel forward pods' packets, and show those between two pods of a bridge to iptables.
pub(crate) fn prepare_kernel() -> Result<()> {
    write_setting("net/ipv4/ip_forward", "1")?;
    let bridged = "net/bridge/bridge-nf-call-iptables";
    if read_setting(bridged).is_none() {
        // It may be built in without these settings; that Services work is checked when DNS is.
        let _ = Command::new("modprobe").arg("br_netfilter").output();
    }
    match read_setting(bridged).as_deref() {
        None | Some("1") => Ok(()),
        Some(_) => write_setting(bridged, "1"),
    }
}

/// Removes a folder that has only folders in it; one with anything else is someone else's by now.
fn remove_if_empty(folder: &Path) {
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            remove_if_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}

fn setting(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}

fn read_setting(name: &str) -> Option<String> {
    Some(fs::read_to_string(setting(name)).ok()?.trim().to_owned())
}

fn write_setting(name: &str, value: &str) -> Result<()> {
    fs::write(setting(name), value).with_context(|| format!("set {} to {value}", setting(name).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_file_in_it_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let (empty, used) = (root.path().join("empty"), root.path().join("used"));
        fs::create_dir_all(empty.join("a/b")).unwrap();
        fs::create_dir_all(used.join("a/b")).unwrap();
        fs::write(used.join("file"), "x").unwrap();
        remove_if_empty(&empty);
        remove_if_empty(&used);
        assert!(!empty.exists());
        assert!(used.join("file").exists() && !used.join("a").exists());
    }
}
