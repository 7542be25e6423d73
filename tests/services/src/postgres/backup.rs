//! Base backups of the server, and going back to one.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use host::process::Daemon;
use host::state;

use super::{Owner, Server, program, shared_memory, up};
use crate::installation::Installation;

const PREFIX: &str = "postgres-backup-";

/// Makes a base backup of the running server, by its own tool, in place of an earlier one of this name. Only services
/// that were brought up by [`crate::up_apart`] let their user do so.
pub fn backup(name: &str) -> Result<()> {
    let installation = Installation::required()?;
    let server = Server::main(&installation);
    let postgres = installation.running().postgres;
    let folder = folder(name);
    state::remove(&folder)?;
    let owner = Owner::of_server()?;
    state::create_whole(&folder, |partial| {
        owner.own_alone(partial)?;
        let mut backup = owner.runs(program("pg_basebackup"), partial);
        // What was written while it ran comes with it, so that it can be started without an archive.
        backup.args(["--checkpoint=fast", "--wal-method=stream", "--no-password", "--pgdata"]);
        backup.arg(partial);
        backup.args(["--host", &server.address.ip().to_string()]);
        backup.args(["--port", &server.address.port().to_string()]);
        backup.args(["--username", &postgres.username]);
        backup.env("PGPASSWORD", &postgres.password);
        host::run(&mut backup, &state::log_dir().join("postgres-backup.log"))
    })
    .with_context(|| format!("make the base backup {name}"))
}

/// Kills the server if it runs, puts a base backup in place of its data, and starts it: everything since is gone. The
/// backup is kept.
pub fn restore(name: &str) -> Result<()> {
    let installation = Installation::required()?;
    let server = Server::main(&installation);
    let backup = folder(name);
    ensure!(backup.exists(), "there is no base backup {name}");
    if let Some(running) = Daemon::find(server.daemon) {
        running.kill9()?;
    }
    let data = server.data();
    shared_memory::remove(&data);
    state::remove(&data)?;
    state::create_whole(&data, |partial| {
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(backup.join(".")).arg(partial);
        host::run(&mut copy, &state::log_dir().join("postgres-backup.log"))?;
        Owner::of_server()?.own_alone(partial)
    })
    .with_context(|| format!("restore the base backup {name}"))?;
    up(&installation)
}

/// Removes all backups.
pub(super) fn forget_all() -> Result<()> {
    let Ok(entries) = std::fs::read_dir(state::data_dir()) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let name = file.to_string_lossy();
        if name.trim_start_matches('.').starts_with(PREFIX) {
            state::remove(&entry.path())?;
        }
    }
    Ok(())
}

fn folder(name: &str) -> PathBuf {
    state::data_dir().join(format!("{PREFIX}{name}"))
}
