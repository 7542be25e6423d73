//! The MongoDB protocol, spoken by FerretDB in front of PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use host::process::{Daemon, DaemonSpec};
use host::{cache, ports, state};

use crate::installation::Installation;
use crate::postgres;

pub(crate) const DAEMON: &str = "ferretdb";

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// It waits for its clients to leave, but has nothing of its own to save.
const STOP_GRACE: Duration = Duration::from_secs(1);
const PROGRAM: &str = "ferretdb";

/// The program, built from the module beside this crate unless the cache has it already.
pub fn prepare_ferretdb() -> Result<PathBuf> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("ferretdb");
    let mut content = Vec::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        let path = module.join(file);
        content.push(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
    }
    let key = cache::key_of(&content.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let folder = cache::entry("ferretdb", &key, |folder| {
        let mut build = Command::new("go");
        build
            .args(["build", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false"])
            .args(["-ldflags=-s -w", "-o"])
            .arg(folder.join(PROGRAM))
            .arg(".");
        // The pinned module is built by the Go at hand; no other one is downloaded for it.
        build
            .current_dir(&module)
            .env("GOTOOLCHAIN", "local")
            .env("CGO_ENABLED", "0");
        host::run(&mut build, &state::log_dir().join("ferretdb-build.log")).context("build FerretDB")
    })?;
    Ok(folder.join(PROGRAM))
}

/// Kills it, for fault tests.
pub fn kill9() -> Result<()> {
    Daemon::find(DAEMON).context("FerretDB is not running")?.kill9()
}

/// Starts it again and waits until it accepts connections.
pub fn start() -> Result<()> {
    up(&Installation::required()?, &prepare_ferretdb()?)
}

pub(crate) fn up(installation: &Installation, program: &Path) -> Result<()> {
    let daemon = match Daemon::find(DAEMON) {
        Some(running) => running,
        None => {
            let server = installation
                .apart
                .as_ref()
                .map_or(installation.postgres, |apart| apart.documents);
            let database = format!("postgres://{server}/{}", postgres::FERRETDB_DATABASE);
            DaemonSpec::new(DAEMON, program)
                .env("FERRETDB_LISTEN", installation.ferretdb.to_string())
                .env("FERRETDB_POSTGRESQL_URL", database)
                .spawn()?
        }
    };
    let address = installation.ferretdb;
    daemon.wait_until("FerretDB accepts connections", START_TIMEOUT, || {
        Ok(ports::is_open(address.ip(), address.port()).then_some(()))
    })
}

pub(crate) fn stop(daemon: &Daemon) -> Result<()> {
    daemon.stop(STOP_GRACE)
}
