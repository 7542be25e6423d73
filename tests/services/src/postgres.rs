//! PostgreSQL 15, as its own user.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use host::process::{Daemon, DaemonSpec, StopSignal, User};
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

/// The superuser has no password and there is no local socket: nobody can log in as it.
const SUPERUSER: &str = "postgres";

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
                create(installation, &data).context("create the PostgreSQL databases")?;
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
    remove_shared_memory(&data());
    state::remove(&data())?;
    state::remove(&partial_data())?;
    remove_if_empty(&state::data_dir());
    if host::is_root() {
        state::data_dir().parent().into_iter().for_each(remove_if_empty);
    }
    Ok(())
}

fn data() -> PathBuf {
    state::data_dir().join("postgres")
}

fn partial_data() -> PathBuf {
    state::data_dir().join("postgres.partial")
}

fn program(name: &str) -> Command {
    Command::new(Path::new(SERVER).with_file_name(name))
}

/// Creates the cluster beside its place and moves it there when it is whole.
fn create(installation: &Installation, data: &Path) -> Result<()> {
    let partial = partial_data();
    let log = state::log_dir().join("postgres-create.log");
    fs::create_dir_all(state::data_dir()).with_context(|| format!("create {}", state::data_dir().display()))?;
    state::remove(&partial)?;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&partial)
        .with_context(|| format!("create {}", partial.display()))?;
    let user = if host::is_root() {
        Some(User::named(SYSTEM_USER)?)
    } else {
        None
    };
    let own = |path: &Path| match user {
        Some(User { uid, gid }) => {
            chown(path, Some(uid), Some(gid)).with_context(|| format!("give {} to {SYSTEM_USER}", path.display()))
        }
        None => Ok(()),
    };
    own(&partial)?;
    let as_user = |mut command: Command| {
        if let Some(User { uid, gid }) = user {
            command.uid(uid).gid(gid);
        }
        command.current_dir(&partial);
        command
    };
    let mut initdb = as_user(program("initdb"));
    initdb.args([
        "--username",
        SUPERUSER,
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--data-checksums",
    ]);
    initdb
        .args(["--auth=reject", "--no-instructions", "--pgdata"])
        .arg(&partial);
    host::run(&mut initdb, &log)?;
    for (name, content) in [
        ("postgresql.conf", server_configuration(installation)),
        ("pg_hba.conf", ACCESS.to_owned()),
    ] {
        let path = partial.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        own(&path)?;
    }
    // Without a network, so that no half-made database is ever reachable; the password is read from standard input,
    // and a statement that fails is not repeated in the log.
    let mut single = as_user(Command::new(SERVER));
    single
        .arg("--single")
        .args(["-c", "exit_on_error=on", "-c", "log_min_error_statement=panic", "-D"]);
    single.arg(&partial).arg("postgres");
    host::run_with_input(&mut single, roles_and_databases(installation).as_bytes(), &log)?;
    fs::rename(&partial, data).with_context(|| format!("finish {}", data.display()))
}

/// One statement a line, as the single-user server reads them.
fn roles_and_databases(installation: &Installation) -> String {
    let running = installation.running();
    let (user, password) = (running.postgres.username, running.postgres.password);
    let mut sql = format!("CREATE ROLE {user} LOGIN PASSWORD '{password}';\n");
    for database in DATABASES.into_iter().chain([FERRETDB_DATABASE]) {
        sql.push_str(&format!("CREATE DATABASE {database} OWNER {user};\n"));
    }
    sql
}

fn server_configuration(installation: &Installation) -> String {
    let address = installation.postgres;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let listen = if address.ip() == loopback {
        loopback.to_string()
    } else {
        format!("{},{loopback}", address.ip())
    };
    format!(
        "listen_addresses = '{listen}'\n\
         port = {port}\n\
         unix_socket_directories = ''\n\
         password_encryption = scram-sha-256\n\
         max_connections = 300\n\
         # Acknowledged means on disk: fault tests kill the server.\n\
         fsync = on\n\
         synchronous_commit = on\n\
         max_wal_size = 2GB\n\
         # In the data folder, where `down` removes it also after a crash.\n\
         dynamic_shared_memory_type = mmap\n\
         timezone = 'UTC'\n\
         log_timezone = 'UTC'\n\
         # No values of rows in the log.\n\
         log_min_error_statement = panic\n\
         log_error_verbosity = terse\n",
        port = address.port(),
    )
}

const ACCESS: &str = "\
# TYPE  DATABASE  USER  ADDRESS    METHOD
host    all       all   0.0.0.0/0  scram-sha-256
host    all       all   ::/0       scram-sha-256
";

/// A killed server leaves a System V segment, which keeps a second server out while backends of the first are alive.
/// It is named in the pid file that such a server leaves, too, and removed once nobody is attached to it.
fn remove_shared_memory(data: &Path) {
    let Some((key, id)) = fs::read_to_string(data.join("postmaster.pid"))
        .ok()
        .and_then(|file| segment(&file))
    else {
        return;
    };
    let removed = host::wait_until("end of the backends", STOP_GRACE, || {
        let segments = fs::read_to_string("/proc/sysvipc/shm").context("list shared memory")?;
        let Some(attached) = attached(&segments, key, id) else {
            return Ok(Some(()));
        };
        if attached > 0 {
            bail!("{attached} processes use shared memory segment {id}");
        }
        Command::new("ipcrm")
            .args(["--shmem-id", &id.to_string()])
            .status()
            .context("run ipcrm")?;
        Ok(None)
    });
    // Sixteen bytes of memory are no reason to keep the data.
    drop(removed);
}

/// Key and id of the segment: the seventh line of `postmaster.pid`.
fn segment(pid_file: &str) -> Option<(i64, i64)> {
    let mut fields = pid_file.lines().nth(6)?.split_ascii_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// How many processes use the segment, if there is one with this key and id, by the kernel's list.
fn attached(segments: &str, key: i64, id: i64) -> Option<u32> {
    segments.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
        (number(0)? == key && number(1)? == id).then(|| number(6).and_then(|count| count.try_into().ok()))?
    })
}

fn remove_if_empty(folder: &Path) {
    // Not being empty is the expected reason to fail.
    let _ = fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_of_a_killed_server_is_found() {
        let pid_file = "4242\n/var/lib/x\n1700000000\n15432\n\n10.212.0.1\n  15432001         7\nready   \n";
        assert_eq!(segment(pid_file), Some((15_432_001, 7)));
        assert_eq!(segment("4242\n/var/lib/x\n"), None);
        let segments = "       key      shmid perms                  size  cpid  lpid nattch   uid\n  \
                        15432001          6   600                    56  4242  4250      3   101\n  \
                        15432001          7   600                    56  4242  4250      0   101\n";
        assert_eq!(attached(segments, 15_432_001, 7), Some(0));
        assert_eq!(attached(segments, 15_432_001, 6), Some(3));
        assert_eq!(attached(segments, 1, 7), None);
    }
}
