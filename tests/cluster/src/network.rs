//! The node's network: a device with its address, a route to Services, and the rules that let pods talk.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::addresses::Addresses;
use crate::firewall::{CHAIN_PREFIX, restore};
use crate::{lock, machine};

/// The device that has the node's address. A bridge without ports, as kernels may lack dummy devices, but pods
/// need bridges anyhow.
pub(crate) const NODE_DEVICE: &str = "syncpipeline0";
/// The bridge of the pods, which the CNI plugin makes with the first pod.
pub(crate) const POD_BRIDGE: &str = "syncpipeline1";

/// Sets up what is not there yet.
pub(crate) fn set_up(addresses: &Addresses) -> Result<()> {
    let node = format!("{}/32", addresses.node);
    if !device_exists(NODE_DEVICE) {
        ip(&["link", "add", NODE_DEVICE, "type", "bridge"])?;
    }
    ip(&["address", "replace", &node, "dev", NODE_DEVICE])?;
    ip(&["link", "set", NODE_DEVICE, "up"])?;
    // Rules turn a Service's address into a pod's, but only of packets that have somewhere to go: a machine without
    // a default route has no other way for them.
    let services = addresses.services.to_string();
    ip(&[
        "route",
        "replace",
        &services,
        "dev",
        NODE_DEVICE,
        "src",
        &addresses.node.to_string(),
    ])?;
    machine::prepare_kernel()?;
    allow_pods(addresses)
}

/// Removes the devices, and with them their addresses and routes. Pods that the runtime had no time to take down leave
/// their ends of the bridge.
pub(crate) fn remove_devices() -> Result<()> {
    let ports = Path::new("/sys/class/net").join(POD_BRIDGE).join("brif");
    for port in std::fs::read_dir(ports).into_iter().flatten().flatten() {
        let port = port.file_name();
        let port = port.to_string_lossy();
        // The other end goes with its pod's namespace, and this one with it.
        if let Err(error) = ip(&["link", "delete", &port])
            && device_exists(&port)
        {
            return Err(error);
        }
    }
    for device in [POD_BRIDGE, NODE_DEVICE] {
        if device_exists(device) {
            ip(&["link", "delete", device])?;
        }
    }
    Ok(())
}

pub(crate) fn device_exists(device: &str) -> bool {
    Path::new("/sys/class/net").join(device).exists()
}

/// Lets pods through a firewall that drops what it does not know, and gives them the machine's address to the outside.
fn allow_pods(addresses: &Addresses) -> Result<()> {
    let Addresses { node, pods, .. } = addresses;
    let [input, forward, postrouting] = ["INPUT", "FORWARD", "POSTROUTING"].map(|hook| format!("{CHAIN_PREFIX}{hook}"));
    restore(
        "iptables-restore",
        &format!(
            "*filter\n:{input} - [0:0]\n:{forward} - [0:0]\n\
             -A {input} -s {pods} -d {node}/32 -j ACCEPT\n\
             -A {forward} -s {pods} -j ACCEPT\n\
             -A {forward} -d {pods} -j ACCEPT\n\
             COMMIT\n\
             *nat\n:{postrouting} - [0:0]\n\
             -A {postrouting} -s {pods} -d {pods} -j RETURN\n\
             -A {postrouting} -s {pods} -d {node}/32 -j RETURN\n\
             -A {postrouting} -s {pods} -j MASQUERADE\n\
             COMMIT\n"
        ),
    )?;
    for (table, hook, chain) in [
        ("filter", "INPUT", &input),
        ("filter", "FORWARD", &forward),
        ("nat", "POSTROUTING", &postrouting),
    ] {
        if !has_jump(table, hook, chain)? {
            restore("iptables-restore", &format!("*{table}\n-I {hook} -j {chain}\nCOMMIT\n"))?;
        }
    }
    Ok(())
}

fn has_jump(table: &str, hook: &str, chain: &str) -> Result<bool> {
    let check = Command::new("iptables")
        .args(["--wait", "10", "--table", table, "--check", hook, "--jump", chain])
        .stderr(Stdio::null())
        .status()
        .context("run iptables")?;
    Ok(check.success())
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(args)
        .stdin(lock::share())
        .output()
        .context("run ip, of the package iproute2")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Gives `input` to a command and takes its failure as an error.
pub(crate) fn feed(program: &str, args: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(lock::share())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {program}"))?;
    let written = child
        .stdin
        .take()
        .context("there is no pipe to the command")?
        .write_all(input.as_bytes());
    let output = child.wait_with_output().with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    written.with_context(|| format!("give {program} its input"))
}
