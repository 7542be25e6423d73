use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use host::{ports, secret, state};
use serde::{Deserialize, Serialize};

use crate::kafka::tls::{Listeners, Tls};
use crate::{Kafka, KafkaTls, Mongodb, Options, Postgres, Relayed, Running, ferretdb, kafka, postgres};

/// The user of every service.
const USERNAME: &str = "syncpipeline";

/// The database that clients of the MongoDB protocol use, as a pipeline does by default.
const MONGODB_DATABASE: &str = "sync_db";

// All below 32768, so that no outgoing connection takes the port of a service that is about to be started again.
const FIRST_KAFKA_PORT: u16 = 19092;
const FIRST_KAFKA_INTERNAL_PORT: u16 = 20092;
const FIRST_KAFKA_CONTROLLER_PORT: u16 = 21092;
const FIRST_KAFKA_TLS_PORT: u16 = 22092;
const FIRST_KAFKA_MUTUAL_TLS_PORT: u16 = 23092;
const FIRST_KAFKA_RELAYED_PORT: u16 = 24092;
const FIRST_KAFKA_RELAY_PORT: u16 = 25092;
const FIRST_POSTGRES_PORT: u16 = 15432;
const FIRST_DOCUMENTS_PORT: u16 = 16432;
const FIRST_FERRETDB_PORT: u16 = 27017;

/// What was decided when the services came up for the first time: written before anything is started, readable by
/// its owner only, and kept until they go down. It makes `up` repeatable from any point at which it was cut off.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Installation {
    pub(crate) options: Options,
    pub(crate) kafka_cluster_id: String,
    pub(crate) kafka_password: String,
    pub(crate) brokers: Vec<Broker>,
    /// None in a description that an earlier version wrote.
    #[serde(default)]
    pub(crate) kafka_tls: Option<Tls>,
    pub(crate) postgres: SocketAddr,
    pub(crate) postgres_password: String,
    pub(crate) ferretdb: SocketAddr,
    /// What only services have that are to fail one by one.
    #[serde(default)]
    pub(crate) apart: Option<Apart>,
}

/// What keeps the failure of one service from being another's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Apart {
    /// Of each broker.
    pub(crate) relayed: Vec<Relayed>,
    /// The PostgreSQL in which FerretDB alone stores.
    pub(crate) documents: SocketAddr,
}

impl Apart {
    fn create(options: &Options) -> Result<Self> {
        let listeners = free_addresses(options.address, FIRST_KAFKA_RELAYED_PORT, options.brokers)?;
        let relays = free_addresses(options.address, FIRST_KAFKA_RELAY_PORT, options.brokers)?;
        let relayed = listeners.into_iter().zip(relays);
        let relayed = relayed.map(|(listener, relay)| Relayed { listener, relay }).collect();
        Ok(Self {
            relayed,
            documents: (
                options.address,
                ports::free_from(options.address, FIRST_DOCUMENTS_PORT)?,
            )
                .into(),
        })
    }
}

/// Where one Kafka broker listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Broker {
    /// For clients.
    pub(crate) client: SocketAddr,
    /// For the other brokers.
    pub(crate) internal: SocketAddr,
    /// For the controllers' quorum.
    pub(crate) controller: SocketAddr,
}

impl Installation {
    pub(crate) fn create(options: &Options, apart: bool) -> Result<Self> {
        if !matches!(options.brokers, 1 | 3) {
            bail!("{} Kafka brokers are not supported: 1 or 3", options.brokers);
        }
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let clients = free_addresses(options.address, FIRST_KAFKA_PORT, options.brokers)?;
        let internals = free_addresses(loopback, FIRST_KAFKA_INTERNAL_PORT, options.brokers)?;
        let controllers = free_addresses(loopback, FIRST_KAFKA_CONTROLLER_PORT, options.brokers)?;
        let brokers = clients.into_iter().zip(internals).zip(controllers);
        let scram = free_addresses(options.address, FIRST_KAFKA_TLS_PORT, options.brokers)?;
        let mutual = free_addresses(options.address, FIRST_KAFKA_MUTUAL_TLS_PORT, options.brokers)?;
        let listeners = scram.into_iter().zip(mutual);
        let listeners = listeners.map(|(scram, mutual)| Listeners { scram, mutual }).collect();
        let address =
            |first| Ok::<_, anyhow::Error>((options.address, ports::free_from(options.address, first)?).into());
        let installation = Self {
            options: *options,
            kafka_cluster_id: kafka::cluster_id()?,
            kafka_password: secret::password()?,
            brokers: brokers
                .map(|((client, internal), controller)| Broker {
                    client,
                    internal,
                    controller,
                })
                .collect(),
            kafka_tls: Some(Tls::create(options.address, listeners)?),
            postgres: address(FIRST_POSTGRES_PORT)?,
            postgres_password: secret::password()?,
            ferretdb: address(FIRST_FERRETDB_PORT)?,
            apart: apart.then(|| Apart::create(options)).transpose()?,
        };
        state::create_private(&folder())?;
        let content = serde_json::to_vec_pretty(&installation).context("describe the services")?;
        secret::write_private(&file(), &content)?;
        Ok(installation)
    }

    pub(crate) fn load() -> Result<Option<Self>> {
        let content = match fs::read(file()) {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", file().display())),
        };
        serde_json::from_slice(&content).map(Some).with_context(|| {
            format!(
                "{} is not what this version writes; run `cargo xtask services down`",
                file().display()
            )
        })
    }

    /// The installation, for what makes no sense without one.
    pub(crate) fn required() -> Result<Self> {
        Self::load()?.context("the data services are not up; run `cargo xtask services up`")
    }

    /// The last step of `down`.
    pub(crate) fn forget() -> Result<()> {
        state::remove(&file())
    }

    pub(crate) fn running(&self) -> Running {
        let username = USERNAME.to_owned();
        Running {
            kafka: Kafka {
                brokers: self.brokers.iter().map(|broker| broker.client).collect(),
                username: username.clone(),
                password: self.kafka_password.clone(),
                tls: self.kafka_tls.as_ref().map(|tls| KafkaTls {
                    scram: tls.listeners.iter().map(|broker| broker.scram).collect(),
                    mutual: tls.listeners.iter().map(|broker| broker.mutual).collect(),
                    authority: tls.authority.clone(),
                    client: tls.client.clone(),
                }),
                relayed: self.apart.as_ref().map_or_else(Vec::new, |apart| apart.relayed.clone()),
            },
            postgres: Postgres {
                address: self.postgres,
                username: username.clone(),
                password: self.postgres_password.clone(),
            },
            mongodb: Mongodb {
                address: self.ferretdb,
                username,
                password: self.postgres_password.clone(),
                database: MONGODB_DATABASE.to_owned(),
            },
        }
    }

    /// The name of each service's daemon, and where it listens for clients.
    pub(crate) fn daemons(&self) -> Vec<(String, SocketAddr)> {
        let brokers = self
            .brokers
            .iter()
            .enumerate()
            .map(|(index, broker)| (kafka::daemon(index), broker.client));
        let databases = postgres::servers(self)
            .into_iter()
            .map(|server| (server.daemon, server.address))
            .chain([(ferretdb::DAEMON, self.ferretdb)]);
        brokers
            .chain(databases.map(|(name, address)| (name.to_owned(), address)))
            .collect()
    }
}

/// Configuration and data of services that run as the user who started them.
pub(crate) fn folder() -> PathBuf {
    state::dir().join("services")
}

fn file() -> PathBuf {
    state::dir().join("services.json")
}

fn free_addresses(address: IpAddr, first: u16, count: usize) -> Result<Vec<SocketAddr>> {
    let mut next = first;
    let mut addresses = Vec::new();
    for _ in 0..count {
        let port = ports::free_from(address, next)?;
        addresses.push((address, port).into());
        next = port + 1;
    }
    Ok(addresses)
}
