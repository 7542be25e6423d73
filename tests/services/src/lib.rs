//! Kafka, PostgreSQL and the MongoDB protocol as processes of the host, in the role that managed services have in
//! production. Pods reach them on an address of the host.
//!
//! - [`prepare`]: download and build what the services are made of, into the host's cache
//! - [`up`]: bring everything up, or back up; [`up_apart`]: so that each part can fail alone; [`down`]: leave neither
//!   process nor data behind
//! - [`running`], [`status`]: what there is
//! - [`kafka`], [`postgres`], [`ferretdb`]: each service, with `kill9` and `start` for fault tests;
//!   [`postgres::backup`] and [`postgres::restore`]

mod installation;

pub mod ferretdb;
pub mod kafka;
pub mod postgres;

use std::fmt;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context, Result, anyhow, bail};
use host::process::Daemon;
use host::progress::Progress;
use host::state;
use serde::{Deserialize, Serialize};

use installation::Installation;

/// Programs that the services need, each with the Debian package that brings it.
pub const PACKAGES: &[(&str, &str)] = &[
    ("java", "openjdk-17-jre-headless"),
    ("mvn", "maven"),
    (postgres::SERVER, "postgresql-15"),
];

/// What to bring up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Kafka brokers: 1 or 3.
    pub brokers: usize,
    /// The address of this machine on which clients reach the services.
    pub address: IpAddr,
}

/// How to reach what is running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Kafka.
    pub kafka: Kafka,
    /// PostgreSQL.
    pub postgres: Postgres,
    /// The MongoDB protocol.
    pub mongodb: Mongodb,
}

/// How to reach Kafka: SASL_PLAINTEXT with SCRAM-SHA-512, or one of the listeners with TLS.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kafka {
    /// A client listener for each broker, in the order of [`kafka::kill9`]'s index.
    pub brokers: Vec<SocketAddr>,
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// Listeners with TLS; none where the brokers came up before there were any.
    #[serde(default)]
    pub tls: Option<KafkaTls>,
    /// A further listener for each broker, where they were brought up by [`up_apart`].
    #[serde(default)]
    pub relayed: Vec<Relayed>,
}

/// A listener of a broker, as without TLS, that sends its clients on to another address: whoever wants to cut their
/// connections forwards that one to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relayed {
    /// Where the broker listens.
    pub listener: SocketAddr,
    /// Where clients are told to connect. Nothing listens there by itself.
    pub relay: SocketAddr,
}

/// How to reach Kafka with TLS. The brokers' certificate is for their address and for no host name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaTls {
    /// SASL_SSL with SCRAM-SHA-512 and the password of [`Kafka`]: a listener for each broker.
    pub scram: Vec<SocketAddr>,
    /// SSL that requires a client certificate: a listener for each broker.
    pub mutual: Vec<SocketAddr>,
    /// Certificate of the authority that signs the brokers' and the client's, in PEM.
    pub authority: String,
    /// A client that the brokers know.
    pub client: Certificate,
}

/// A certificate and its private key, both in PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// How to reach PostgreSQL; the databases are [`postgres::DATABASES`], owned by this user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postgres {
    /// Address and port.
    pub address: SocketAddr,
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// How to reach the MongoDB protocol: mechanism PLAIN, source `$external`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mongodb {
    /// Address and port.
    pub address: SocketAddr,
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// The database to use; others can be used, too.
    pub database: String,
}

/// One line about one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// The service, as its daemon is called.
    pub name: String,
    /// Where it listens for clients.
    pub address: SocketAddr,
    /// Its process, if it is running.
    pub pid: Option<i32>,
}

/// Downloads and builds everything that is not in the cache yet; nothing is started.
pub fn prepare(progress: &Progress) -> Result<()> {
    thread::scope(|scope| {
        let kafka = scope.spawn(|| progress.run("download Kafka", |_| kafka::prepare_kafka().map(drop)));
        let ferretdb = progress.run("build FerretDB", |_| ferretdb::prepare_ferretdb().map(drop));
        join(kafka).and(ferretdb)
    })
}

/// Brings the services up and waits until each of them answers. What runs already is reused with its data, what has
/// ended is started again.
pub fn up(options: &Options) -> Result<Running> {
    bring_up(options, false)
}

/// The same, in a form whose parts can fail one by one: the MongoDB protocol stores in a PostgreSQL of its own, brokers
/// have a listener whose clients go through a relay ([`Kafka::relayed`]), and [`postgres::backup`] is possible.
pub fn up_apart(options: &Options) -> Result<Running> {
    bring_up(options, true)
}

fn bring_up(options: &Options, apart: bool) -> Result<Running> {
    let _lock = lock()?;
    let installation = match Installation::load()? {
        Some(existing) if existing.options == *options && existing.apart.is_some() == apart => existing,
        Some(existing) if existing.options == *options => bail!(
            "the data services were brought up in another form; run `cargo xtask services down` first, which removes \
             their data"
        ),
        Some(existing) => bail!(
            "the data services were brought up with {} Kafka brokers on {}, not {} on {}; ask for the same again \
             (`--brokers`), or run `cargo xtask services down` first, which removes their data",
            existing.options.brokers,
            existing.options.address,
            options.brokers,
            options.address
        ),
        None => Installation::create(options, apart)?,
    };
    host::packages::ensure(PACKAGES)?;
    thread::scope(|scope| {
        let kafka = scope.spawn(|| kafka::up(&installation));
        let ferretdb = scope.spawn(ferretdb::prepare_ferretdb);
        let databases = postgres::up(&installation)
            .and_then(|()| join(ferretdb))
            .and_then(|program| ferretdb::up(&installation, &program));
        databases.and(join(kafka))
    })?;
    Ok(installation.running())
}

/// Stops every service and removes its data. Nothing running is as good.
pub fn down() -> Result<()> {
    let _lock = lock()?;
    let installation = Installation::load().ok().flatten();
    // Found by their pid files, so that nothing is left when the description of the services is lost.
    for daemon in Daemon::all() {
        if daemon.name() == ferretdb::DAEMON {
            ferretdb::stop(&daemon)?;
        } else if daemon.name().starts_with(kafka::DAEMON_PREFIX) {
            kafka::stop(&daemon)?;
        }
    }
    postgres::down()?;
    state::remove(&installation::folder())?;
    drop(installation);
    Installation::forget()
}

/// How to reach the services, if all of them are running.
pub fn running() -> Option<Running> {
    let installation = Installation::load().ok().flatten()?;
    installation
        .daemons()
        .iter()
        .all(|(name, _)| Daemon::find(name).is_some())
        .then(|| installation.running())
}

/// A line for each service; none where the services are not up.
pub fn status() -> Result<Vec<ServiceStatus>> {
    let Some(installation) = Installation::load()? else {
        return Ok(Vec::new());
    };
    let status = |(name, address): (String, SocketAddr)| {
        let pid = Daemon::find(&name).map(|daemon| daemon.pid());
        ServiceStatus { name, address, pid }
    };
    Ok(installation.daemons().into_iter().map(status).collect())
}

impl fmt::Display for ServiceStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, pid } = self;
        match pid {
            Some(pid) => write!(formatter, "{name}: running on {address} (process {pid})"),
            None => write!(formatter, "{name}: not running (of {address})"),
        }
    }
}

/// Passwords and private keys never reach a log, not even by way of `{:?}`.
macro_rules! debug_without_password {
    ($type:ident, $($field:ident),+) => {
        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_struct(stringify!($type))$(.field(stringify!($field), &self.$field))+.finish_non_exhaustive()
            }
        }
    };
}
debug_without_password!(Kafka, brokers, username);
debug_without_password!(Postgres, address, username);
debug_without_password!(Mongodb, address, username, database);
debug_without_password!(Certificate, certificate);

/// One `up` or `down` at a time; the lock ends with the process that has it.
fn lock() -> Result<File> {
    state::create_private(&state::dir())?;
    let path = state::dir().join("services.lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a thread has panicked")))
}
