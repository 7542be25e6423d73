//! The operator's Helm release.

use std::process::Command;

use anyhow::{Context, Result};
use host::progress::Progress;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::images::Images;
use crate::{foreground, workspace};

const RELEASE: &str = "syncpipeline";
const NAMESPACE: &str = "syncpipeline-system";
const TIMEOUT: &str = "3m";

/// Whether the operator is installed.
pub(crate) fn is_installed(cluster: &Cluster) -> Result<bool> {
    Ok(release_status(cluster)?.is_some())
}

/// Installs or upgrades the operator and waits until it is ready.
pub(crate) fn install(cluster: &Cluster, images: &Images, progress: &Progress) -> Result<()> {
    progress.run("operator", |_| {
        // Left behind by a helm that was killed, which refuses every later upgrade.
        if release_status(cluster)?.is_some_and(|status| status.starts_with("pending-")) {
            helm_uninstall(cluster)?;
        }
        let mut command = in_namespace(cluster.helm());
        command
            .args(["upgrade", "--install", RELEASE])
            .arg(workspace::path("charts/syncpipeline"));
        command.args(["--create-namespace", "--wait", "--timeout", TIMEOUT]);
        for name in ["operator", "producer", "consumer"] {
            command
                .arg("--set-string")
                .arg(format!("images.{name}={}", images.reference(name)?));
        }
        foreground::output(&mut command)
            .map(drop)
            .with_context(|| what_runs(cluster))
    })
}

/// Removes the operator; the definition and all pipelines stay.
pub(crate) fn uninstall(cluster: &Cluster, progress: &Progress) -> Result<()> {
    progress.run("remove the operator", |_| helm_uninstall(cluster))
}

fn helm_uninstall(cluster: &Cluster) -> Result<()> {
    let mut command = in_namespace(cluster.helm());
    command.args([
        "uninstall",
        RELEASE,
        "--ignore-not-found",
        "--wait",
        "--timeout",
        TIMEOUT,
    ]);
    foreground::output(&mut command).map(drop)
}

fn release_status(cluster: &Cluster) -> Result<Option<String>> {
    let mut command = in_namespace(cluster.helm());
    command.args(["list", "--all", "--output", "json", "--filter", &format!("^{RELEASE}$")]);
    let releases: Vec<Value> =
        serde_json::from_str(&foreground::output(&mut command)?).context("read the list of Helm releases")?;
    Ok(releases
        .first()
        .and_then(|release| release.get("status")?.as_str().map(str::to_owned)))
}

/// What a person would look at when the operator does not become ready.
fn what_runs(cluster: &Cluster) -> String {
    let ask = |args: &[&str]| {
        let mut command = in_namespace(cluster.kubectl());
        command.args(["--request-timeout", "10s"]).args(args);
        foreground::output(&mut command).unwrap_or_else(|error| format!("{error:#}\n"))
    };
    let pods = ask(&["get", "pods", "--output", "wide"]);
    let log = ask(&[
        "logs",
        "--tail",
        "20",
        "--selector",
        "app.kubernetes.io/component=operator",
    ]);
    format!("the operator did not become ready; its pods:\n{pods}the end of its log:\n{log}")
}

fn in_namespace(mut command: Command) -> Command {
    command.args(["--namespace", NAMESPACE]);
    command
}
