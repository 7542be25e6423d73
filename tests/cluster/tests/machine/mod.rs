//! What a cluster could leave on a machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

const PROGRAMS: [&str; 7] = [
    "kubernetes",
    "containerd",
    "containerd-shim",
    "coredns",
    "metrics-server",
    "pause",
    "busybox",
];
const SETTINGS: [&str; 4] = [
    "net/ipv4/ip_forward",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
];
const FOLDERS: [&str; 5] = [
    "/run/containerd",
    "/usr/libexec/kubernetes",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
];

/// Observations by kind: processes, mounts and so on.
pub(crate) struct Machine(BTreeMap<&'static str, BTreeSet<String>>);

impl Machine {
    pub(crate) fn observe() -> Result<Self> {
        Ok(Self(BTreeMap::from([
            ("processes", processes()?),
            ("mounts", lines_of(&fs::read_to_string("/proc/self/mounts")?)),
            ("network devices", names_in("/sys/class/net")),
            (
                "routes",
                lines_of(&output("ip", &["-4", "route", "show", "table", "all"])?),
            ),
            ("network namespaces", lines_of(&output("ip", &["netns", "list"])?)),
            ("iptables rules", rules("iptables-save")?),
            ("ip6tables rules", rules("ip6tables-save")?),
            ("cgroups", cgroups()),
            ("settings", settings()),
            (
                "folders",
                FOLDERS
                    .iter()
                    .flat_map(|folder| everything_in(Path::new(folder)))
                    .collect(),
            ),
            ("state", everything_in(&host::state::dir().join("cluster"))),
            (
                "pid files",
                names_in(host::state::dir().join("run"))
                    .into_iter()
                    .filter(|name| name.starts_with("cluster-"))
                    .collect(),
            ),
        ])))
    }

    /// An error that names what is new and what is missing.
    pub(crate) fn assert_unchanged(&self) -> Result<()> {
        let now = Self::observe()?;
        let mut differences = Vec::new();
        for (kind, before) in &self.0 {
            let after = &now.0[kind];
            differences.extend(after.difference(before).map(|new| format!("{kind}: new: {new}")));
            differences.extend(before.difference(after).map(|gone| format!("{kind}: gone: {gone}")));
        }
        if !differences.is_empty() {
            bail!("the machine is not as it was:\n{}", differences.join("\n"));
        }
        Ok(())
    }
}

fn processes() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else {
            continue;
        };
        // One that has ended has no program, until its parent or init collects it.
        let ended = fs::read_link(entry.path().join("exe")).is_err();
        if !ended && PROGRAMS.iter().any(|program| name.trim().starts_with(program)) {
            found.insert(format!("{} {}", entry.file_name().to_string_lossy(), name.trim()));
        }
    }
    Ok(found)
}

/// Chains and rules without counters; tables that are merely there do not count.
fn rules(command: &str) -> Result<BTreeSet<String>> {
    let mut table = String::new();
    let mut found = BTreeSet::new();
    for line in output(command, &[])?.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
        } else if line.starts_with("-A") || (line.starts_with(':') && line.contains(" - ")) {
            found.insert(format!("{table} {}", line.split(" [").next().unwrap_or_default()));
        }
    }
    Ok(found)
}

fn cgroups() -> BTreeSet<String> {
    let mut roots = names_in("/sys/fs/cgroup");
    roots.retain(|name| name == "kubepods" || Path::new("/sys/fs/cgroup").join(name).join("kubepods").exists());
    roots
}

fn settings() -> BTreeSet<String> {
    let value = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
    SETTINGS
        .iter()
        .map(|name| format!("{name} = {}", value(name).trim()))
        .collect()
}

fn everything_in(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if folder.symlink_metadata().is_ok() {
        found.insert(folder.display().to_string());
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.extend(everything_in(&entry.path()));
    }
    found
}

fn names_in(folder: impl AsRef<Path>) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn output(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("read what {program} prints"))
}

fn lines_of(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}
