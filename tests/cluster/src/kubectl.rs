//! Calls of the cluster's own kubectl.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::blueprint::Blueprint;

/// The administrator's kubeconfig.
pub(crate) fn kubeconfig(blueprint: &Blueprint) -> PathBuf {
    blueprint.path("kubeconfig")
}

/// kubectl for this cluster.
pub(crate) fn command(blueprint: &Blueprint) -> Command {
    let mut command = Command::new(blueprint.binaries.kubectl());
    command
        .env("KUBECONFIG", kubeconfig(blueprint))
        .env("KUBECACHEDIR", blueprint.path("kubectl"));
    command
}

/// What kubectl prints; an error has what it complains about.
pub(crate) fn output(blueprint: &Blueprint, args: &[&str]) -> Result<String> {
    host::interrupt::check()?;
    let output = command(blueprint)
        .arg("--request-timeout=10s")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("run kubectl")?;
    if !output.status.success() {
        bail!(
            "kubectl {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("read what kubectl prints")
}

/// Creates or updates objects.
pub(crate) fn apply(blueprint: &Blueprint, objects: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let mut child = command(blueprint)
        .args([
            "--request-timeout=20s",
            "apply",
            "--server-side",
            "--force-conflicts",
            "--field-manager=embedded-cluster",
        ])
        .arg("--filename=-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run kubectl")?;
    let written = child
        .stdin
        .take()
        .context("there is no pipe to kubectl")?
        .write_all(list.to_string().as_bytes());
    let output = child.wait_with_output().context("run kubectl")?;
    if !output.status.success() {
        bail!("kubectl apply: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    written.context("give objects to kubectl")
}
