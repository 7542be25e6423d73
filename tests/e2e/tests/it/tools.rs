//! kubectl and helm, as a user runs them.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Names the operator's own program.
const OPERATOR: &str = "SYNCPIPELINE_OPERATOR";

/// The operator's own program.
pub(crate) fn operator_binary() -> Result<String> {
    std::env::var(OPERATOR).with_context(|| format!("{OPERATOR} is not set: `cargo xtask test e2e` does"))
}

/// A file or folder of the checkout.
pub(crate) fn in_checkout(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// What a program prints; its complaint as the error.
pub(crate) async fn output(program: &str, arguments: &[&str]) -> Result<String> {
    output_of(program, arguments, "").await
}

/// What kubectl says to a manifest; its complaint as the error.
pub(crate) async fn kubectl_apply(manifest: &serde_json::Value) -> Result<String> {
    output_of("kubectl", &["apply", "--filename=-"], &manifest.to_string()).await
}

/// What a program prints that is given something to read.
pub(crate) async fn output_of(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("run {program}: `cargo xtask test e2e` puts it on PATH"))?;
    let mut stdin = child.stdin.take().context("no standard input")?;
    // One that has ended without reading says why itself.
    let written = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    written?;
    Ok(String::from_utf8(output.stdout)?)
}
