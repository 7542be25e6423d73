//! What a cluster needs of the machine, each told in one message.

use anyhow::{Context, Result, bail};

use crate::firewall;

/// Programs of the operating system, and the Debian packages that bring them.
pub const PACKAGES: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("runc", "runc"),
    ("setsid", "util-linux"),
    ("tar", "tar"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
];

/// Whether this process may bring up a cluster at all.
pub(crate) fn check_privileges() -> Result<()> {
    if !cfg!(target_os = "linux") || !host::is_root() {
        bail!(
            "the embedded cluster needs Linux and root, as it makes network devices, mounts and cgroups; run this as root, \
             or use --cluster kind or --cluster current, which need neither"
        );
    }
    Ok(())
}

/// Installs the programs that are missing, where that is possible.
pub(crate) fn check_programs() -> Result<()> {
    host::packages::ensure(PACKAGES).context("the embedded cluster needs programs of the operating system")
}

/// Two Kubernetes on one machine would undo each other's iptables rules.
pub(crate) fn check_no_other_kubernetes() -> Result<()> {
    if firewall::has_kubernetes_rules()? {
        bail!(
            "this machine is a node of another Kubernetes (there are KUBE-* chains in its iptables), which the embedded \
             cluster would disturb; use --cluster current for that one, or remove it"
        );
    }
    Ok(())
}
