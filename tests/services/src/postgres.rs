//! PostgreSQL 15, as its own user.

mod create;
mod shared_memory;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use host::process::{Daemon, DaemonSpec, StopSignal};
use host::state;

use crate::installation::Installation;

/// The databases of a pipeline: the synced records, and the APIs' own.
pub const DATABASES: [&str; 2] = ["sync_db", "api_insights_db"];

/// The server program, which also tells whether PostgreSQL is installed.
pub(crate) const SERVER: &str = "/usr/lib/postgresql/15/bin/postgres";

pub(crate) const DAEMON: &str = "postgres";

/// The database in which FerretDB stores its documents.
pub(crate) const FERRETDB_DATABASE: &str = "ferretdb";

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(10);

/// The user that Debian's package makes. The server refuses to run as root, but not as any other user.
const SYSTEM_USER: &str = "postgres";

/// Kills the server with all its backends, for fault tests.
pub fn kill9() -> Result<()> {
    Daemon::find(DAEMON).context("PostgreSQL is not running")?.kill9()
}

/// Starts it again and waits until it accepts connections.
pub fn start() -> Result<()> {
    up(&Installation::required()?)
}

pub(crate) fn up(installation: &Installation) -> Result<()> {
    let data = data();
    let daemon = match Daemon::find(DAEMON) {
        Some(running) => running,
        None => {
            if !data.exists() {
                state::create_whole(&data, |partial| create::databases(installation, partial))
                    .context("create the PostgreSQL databases")?;
            }
            let spec = DaemonSpec::new(DAEMON, SERVER)
                .args(["-D".as_ref(), data.as_os_str()])
                .current_dir(&data);
            // SIGTERM would wait for the clients to leave.
            let spec = spec.stop_signal(StopSignal::Interrupt);
            if host::is_root() {
                spec.user(SYSTEM_USER)?.spawn()?
            } else {
                spec.spawn()?
            }
        }
    };
    let address = installation.postgres;
    daemon.wait_until("PostgreSQL accepts connections", START_TIMEOUT, || {
        let mut ready = program("pg_isready");
        ready.args([
            "--quiet",
            "--timeout=2",
            "--host",
            &address.ip().to_string(),
            "--port",
            &address.port().to_string(),
        ]);
        Ok(ready.status().context("run pg_isready")?.success().then_some(()))
    })
}

pub(crate) fn down() -> Result<()> {
    if let Some(daemon) = Daemon::find(DAEMON) {
        daemon.stop(STOP_GRACE)?;
    }
    let data = data();
    shared_memory::remove(&data);
    state::remove(&data)?;
    state::remove_partial(&data)?;
    remove_if_empty(&state::data_dir());
    if host::is_root() {
        state::data_dir().parent().into_iter().for_each(remove_if_empty);
    }
    Ok(())
}

fn data() -> PathBuf {
    state::data_dir().join("postgres")
}

/// One of the programs that come with the server, such as `psql`.
pub fn program(name: &str) -> Command {
    Command::new(Path::new(SERVER).with_file_name(name))
}

fn remove_if_empty(folder: &Path) {
    // Not being empty is the expected reason to fail.
    let _ = fs::remove_dir(folder);
}
