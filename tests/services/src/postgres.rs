//! PostgreSQL 15, as its own user.

mod backup;
mod create;
mod owner;
mod shared_memory;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use host::process::{Daemon, DaemonSpec, StopSignal};
use host::state;

use crate::installation::Installation;
pub use backup::{backup, restore};
use owner::Owner;

/// The databases of a pipeline: the synced records, and the APIs' own.
pub const DATABASES: [&str; 2] = ["sync_db", "api_insights_db"];

/// The server program, which also tells whether PostgreSQL is installed.
pub(crate) const SERVER: &str = "/usr/lib/postgresql/15/bin/postgres";

const DAEMON: &str = "postgres";

/// The one in which FerretDB alone stores.
const DOCUMENTS_DAEMON: &str = "postgres-documents";

/// The database in which FerretDB stores its documents.
pub(crate) const FERRETDB_DATABASE: &str = "ferretdb";

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(10);

/// The user that Debian's package makes. The server refuses to run as root, but not as any other user.
const SYSTEM_USER: &str = "postgres";

/// One of the servers.
pub(crate) struct Server {
    pub(crate) daemon: &'static str,
    pub(crate) address: SocketAddr,
    databases: Vec<&'static str>,
}

impl Server {
    /// The one that clients use.
    fn main(installation: &Installation) -> Self {
        let mut databases = DATABASES.to_vec();
        databases.extend(installation.apart.is_none().then_some(FERRETDB_DATABASE));
        Self {
            daemon: DAEMON,
            address: installation.postgres,
            databases,
        }
    }

    fn data(&self) -> PathBuf {
        data(self.daemon)
    }

    fn up(&self, installation: &Installation) -> Result<()> {
        let data = self.data();
        let daemon = match Daemon::find(self.daemon) {
            Some(running) => running,
            None => {
                if !data.exists() {
                    state::create_whole(&data, |partial| create::databases(installation, self, partial))
                        .context("create the PostgreSQL databases")?;
                }
                let spec = DaemonSpec::new(self.daemon, SERVER)
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
        let address = self.address;
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
}

/// Those of an installation, the clients' own first.
pub(crate) fn servers(installation: &Installation) -> Vec<Server> {
    let documents = installation.apart.as_ref().map(|apart| Server {
        daemon: DOCUMENTS_DAEMON,
        address: apart.documents,
        databases: vec![FERRETDB_DATABASE],
    });
    [Server::main(installation)].into_iter().chain(documents).collect()
}

/// Kills the server with all its backends, for fault tests.
pub fn kill9() -> Result<()> {
    Daemon::find(DAEMON).context("PostgreSQL is not running")?.kill9()
}

/// Starts it again and waits until it accepts connections.
pub fn start() -> Result<()> {
    up(&Installation::required()?)
}

pub(crate) fn up(installation: &Installation) -> Result<()> {
    servers(installation)
        .iter()
        .try_for_each(|server| server.up(installation))
}

pub(crate) fn down() -> Result<()> {
    for daemon in [DAEMON, DOCUMENTS_DAEMON] {
        if let Some(daemon) = Daemon::find(daemon) {
            daemon.stop(STOP_GRACE)?;
        }
        let data = data(daemon);
        shared_memory::remove(&data);
        state::remove(&data)?;
        state::remove_partial(&data)?;
    }
    backup::forget_all()?;
    remove_if_empty(&state::data_dir());
    if host::is_root() {
        state::data_dir().parent().into_iter().for_each(remove_if_empty);
    }
    Ok(())
}

fn data(daemon: &str) -> PathBuf {
    state::data_dir().join(daemon)
}

/// One of the programs that come with the server, such as `psql`.
pub fn program(name: &str) -> Command {
    Command::new(Path::new(SERVER).with_file_name(name))
}

fn remove_if_empty(folder: &Path) {
    // Not being empty is the expected reason to fail.
    let _ = fs::remove_dir(folder);
}
