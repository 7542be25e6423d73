//! A new database cluster: roles, databases and configuration.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use host::{secret, state};

use super::{Owner, SERVER, Server, program};
use crate::installation::Installation;

/// The superuser has no password and there is no local socket: nobody can log in as it.
const SUPERUSER: &str = "postgres";

/// Certificate and private key of the server, in its data folder.
const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";

/// Fills the empty folder `data`.
pub(super) fn databases(installation: &Installation, server: &Server, data: &Path) -> Result<()> {
    let log = state::log_dir().join(format!("{}-create.log", server.daemon));
    let owner = Owner::of_server()?;
    owner.own_alone(data)?;
    let mut initdb = owner.runs(program("initdb"), data);
    initdb.args([
        "--username",
        SUPERUSER,
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--data-checksums",
    ]);
    initdb
        .args(["--auth=reject", "--no-instructions", "--pgdata"])
        .arg(data);
    host::run(&mut initdb, &log)?;
    let mut files = vec![
        ("postgresql.conf", server_configuration(installation, server)),
        ("pg_hba.conf", ACCESS.to_owned()),
    ];
    if let Some(tls) = &installation.kafka_tls {
        // It listens on the brokers' address, so their certificate is good for it too.
        files.push((CERTIFICATE, tls.brokers.certificate.clone()));
        files.push((KEY, tls.brokers.key.clone()));
    }
    for (name, content) in files {
        let path = data.join(name);
        secret::write_private(&path, content.as_bytes())?;
        owner.own(&path)?;
    }
    // Without a network, so that no half-made database is ever reachable; the password is read from standard input,
    // and a statement that fails is not repeated in the log.
    let mut single = owner.runs(Command::new(SERVER), data);
    single
        .arg("--single")
        .args(["-c", "exit_on_error=on", "-c", "log_min_error_statement=panic", "-D"]);
    single.arg(data).arg("postgres");
    host::run_with_input(&mut single, roles_and_databases(installation, server).as_bytes(), &log)
}

/// One statement a line, as the single-user server reads them.
fn roles_and_databases(installation: &Installation, server: &Server) -> String {
    let running = installation.running();
    let (user, password) = (running.postgres.username, running.postgres.password);
    let may_back_up = installation.apart.as_ref().map_or("", |_| " REPLICATION");
    // Measurements begin when nothing from before is left to be written.
    let mut sql = format!("CREATE ROLE {user} LOGIN{may_back_up} IN ROLE pg_checkpoint PASSWORD '{password}';\n");
    for database in &server.databases {
        sql.push_str(&format!("CREATE DATABASE {database} OWNER {user};\n"));
    }
    sql
}

fn server_configuration(installation: &Installation, server: &Server) -> String {
    let address = server.address;
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let listen = if address.ip() == loopback {
        loopback.to_string()
    } else {
        format!("{},{loopback}", address.ip())
    };
    let ssl = if installation.kafka_tls.is_some() { "on" } else { "off" };
    format!(
        "listen_addresses = '{listen}'\n\
         port = {port}\n\
         unix_socket_directories = ''\n\
         password_encryption = scram-sha-256\n\
         ssl = {ssl}\n\
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

/// Base backups count as replication, which also wants an attribute of the user.
const ACCESS: &str = "\
# TYPE  DATABASE     USER  ADDRESS    METHOD
host    all          all   0.0.0.0/0  scram-sha-256
host    all          all   ::/0       scram-sha-256
host    replication  all   0.0.0.0/0  scram-sha-256
host    replication  all   ::/0       scram-sha-256
";
