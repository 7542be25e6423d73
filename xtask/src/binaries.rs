//! The workspace's binaries, always built with one command line for each profile, so that every crate is compiled with one
//! set of features.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use host::progress::Step;
use serde::Deserialize;

use crate::workspace;

/// Paths of the binaries that were built, by name.
#[derive(Debug)]
pub(crate) struct Binaries(BTreeMap<String, PathBuf>);

impl Binaries {
    /// Builds all binaries of the workspace, as far as they are not up to date.
    pub(crate) fn build(step: &Step) -> Result<Self> {
        Self::cargo_build(step, &["--bins"])
    }

    /// Builds these binaries as they are published, as fast as they can be.
    pub(crate) fn build_release(step: &Step, names: &[&str]) -> Result<Self> {
        let names = names.iter().flat_map(|name| ["--bin", name]);
        let what: Vec<&str> = std::iter::once("--release").chain(names).collect();
        Self::cargo_build(step, &what)
    }

    /// Builds one binary with an operator as fast as it can be: for what computes for long and starts nothing.
    pub(crate) fn build_fast(step: &Step, name: &str) -> Result<Self> {
        Self::cargo_build(
            step,
            &["--bin", name, "--config", "profile.dev.package.operator.opt-level=3"],
        )
    }

    fn cargo_build(step: &Step, what: &[&str]) -> Result<Self> {
        host::interrupt::check()?;
        let log = host::state::log_dir().join("cargo-build.log");
        std::fs::create_dir_all(host::state::log_dir()).context("create the folder of logs")?;
        let stderr = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut child = workspace::cargo()
            .args([
                "build",
                "--workspace",
                "--locked",
                "--message-format",
                "json-render-diagnostics",
            ])
            .args(what)
            .env("CARGO_TERM_COLOR", "never")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .context("run cargo build")?;
        let mut binaries = BTreeMap::new();
        let mut crates = 0;
        let output = child.stdout.take().context("read the output of cargo build")?;
        for line in BufReader::new(output).lines() {
            let line = line.context("read the output of cargo build")?;
            // Other kinds of messages are of no interest here.
            let Ok(Artifact {
                target,
                executable,
                fresh,
            }) = serde_json::from_str(&line)
            else {
                continue;
            };
            if !fresh {
                crates += 1;
                step.update(&format!("{crates} crates compiled, the last one {}", target.name));
            }
            if let Some(executable) = executable {
                binaries.insert(target.name, executable);
            }
        }
        let status = child.wait().context("wait for cargo build")?;
        if !status.success() {
            host::interrupt::check()?;
            bail!(
                "cargo build failed with {status}; the end of {}:\n{}",
                log.display(),
                host::log_tail(&log)
            );
        }
        Ok(Self(binaries))
    }

    /// The binary of this name.
    pub(crate) fn path(&self, name: &str) -> Result<&Path> {
        self.0
            .get(name)
            .map(PathBuf::as_path)
            .with_context(|| format!("the workspace has no binary {name}"))
    }
}

#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
    fresh: bool,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}
