//! MongoDB: a document a record, `_id` = record id, so that writing it again changes nothing.
//!
//! - [`document`]: from a row to its document
//! - [`write`](mod@write): one batch; [`erase`](mod@erase): removing a user's documents
//! - [`fault`]: what an error means

pub mod document;
pub mod erase;
pub mod fault;
pub mod write;

use crate::{
    config::{MongodbConfig, MongodbServer},
    sink::{Fault, MONGODB, StoreError},
};
use ::mongodb::{
    Client, Collection, Database,
    bson::doc,
    error::{Error, ErrorKind},
    options::{AuthMechanism, ClientOptions, Credential, ServerAddress, Tls, TlsOptions},
};
use contract::Source;
use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// The pipeline's database.
#[derive(Clone)]
pub struct Mongodb {
    database: Database,
    sources: Arc<BTreeSet<Source>>,
    /// The driver has no limit on the wait for a connection, nor on an operation: both are here.
    turns: Arc<Semaphore>,
    turn_timeout: Duration,
    operation_timeout: Duration,
}

impl Mongodb {
    /// A client for those of these sources that are enabled. Connects when first used; a connection string may have to be
    /// looked up in the DNS before.
    pub async fn new(config: &MongodbConfig, sources: &BTreeSet<Source>) -> Result<Mongodb, StoreError> {
        let options = options(config).await?;
        Ok(Mongodb {
            database: Client::with_options(options)
                .map_err(|error| setup(error.kind.to_string()))?
                .database(&config.database),
            sources: Arc::new(&config.sources & sources),
            turns: Arc::new(Semaphore::new(config.max_pool_size as usize)),
            turn_timeout: config.wait_queue_timeout,
            operation_timeout: config.operation_timeout,
        })
    }

    /// Whether records of this source are stored here.
    pub fn stores(&self, source: Source) -> bool {
        self.sources.contains(&source)
    }

    /// Whether the server answers and lets this user in; it is not asked where nothing is stored there.
    pub async fn ping(&self) -> Result<(), StoreError> {
        if self.sources.is_empty() {
            return Ok(());
        }
        self.bounded(async { self.database.run_command(doc! {"ping": 1}).await })
            .await
            .map(drop)
            .map_err(store_error)
    }

    fn collection<T: Send + Sync>(&self, source: Source) -> Collection<T> {
        self.database.collection(source.name())
    }

    /// One operation: a wait for a connection's turn, then the operation, each within its limit.
    async fn bounded<T>(&self, operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let _turn = match timeout(self.turn_timeout, self.turns.acquire()).await {
            // The semaphore is never closed; its error could only mean the same.
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => return Err(timed_out()),
        };
        timeout(self.operation_timeout, operation)
            .await
            .unwrap_or_else(|_| Err(timed_out()))
    }
}

/// What the environment says goes before what a connection string says.
async fn options(config: &MongodbConfig) -> Result<ClientOptions, StoreError> {
    let mut options = match &config.server {
        MongodbServer::Host { host, port, tls } => ClientOptions::builder()
            .hosts(vec![ServerAddress::Tcp {
                host: host.clone(),
                port: Some(*port),
            }])
            .tls(tls.then(|| Tls::Enabled(TlsOptions::default())))
            .build(),
        MongodbServer::Uri(uri) => {
            if has_raw_password(uri) {
                return Err(no_uri());
            }
            let parsed = timeout(config.server_selection_timeout, ClientOptions::parse(uri)).await;
            let parsed = parsed.map_err(|_| timed_out()).flatten();
            parsed.map_err(|error| match error.kind.as_ref() {
                ErrorKind::DnsResolve { .. } | ErrorKind::Io(_) => store_error(error),
                // It says what it has found, and that may be the password.
                _ => no_uri(),
            })?
        }
    };
    if let Some(username) = &config.username {
        let credential = Credential::builder()
            .username(username.clone())
            .password(config.password.clone())
            .mechanism(mechanism(config)?)
            .source(config.auth_source.clone())
            .build();
        options.credential = Some(credential);
    }
    options.app_name = Some("syncpipeline-consumer".to_owned());
    options.max_pool_size = Some(config.max_pool_size);
    options.min_pool_size = Some(config.min_pool_size);
    options.server_selection_timeout = Some(config.server_selection_timeout);
    options.connect_timeout = Some(config.connect_timeout);
    options.retry_writes = Some(config.retry_writes);
    Ok(options)
}

fn mechanism(config: &MongodbConfig) -> Result<Option<AuthMechanism>, StoreError> {
    config
        .auth_mechanism
        .as_deref()
        .map(|name| match name {
            "PLAIN" => Ok(AuthMechanism::Plain),
            "SCRAM-SHA-1" => Ok(AuthMechanism::ScramSha1),
            "SCRAM-SHA-256" => Ok(AuthMechanism::ScramSha256),
            _ => Err(setup(format!(
                "{} is {name:?}; must be PLAIN, SCRAM-SHA-1 or SCRAM-SHA-256",
                contract::env::MONGODB_AUTH_MECHANISM
            ))),
        })
        .transpose()
}

/// Whether a user name or password holds a `/`, `?` or `#` as it is: then what is before that would be taken for a host,
/// and named in errors. In the options an `@` comes after an equals sign.
fn has_raw_password(uri: &str) -> bool {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (servers, rest) = rest.split_at(end);
    let path = rest.split('=').next().unwrap_or_default();
    !servers.contains('@') && path.contains('@')
}

fn no_uri() -> StoreError {
    setup(format!(
        "{} is no connection string of MongoDB; in user name and password, write : / ? # [ ] @ and % as %3A %2F %3F %23 \
         %5B %5D %40 and %25",
        contract::env::MONGODB_URI
    ))
}

fn setup(reason: String) -> StoreError {
    StoreError {
        store: MONGODB,
        fault: Fault::Setup,
        reason,
    }
}

fn timed_out() -> Error {
    Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut))
}

fn store_error(error: Error) -> StoreError {
    StoreError {
        store: MONGODB,
        fault: fault::of(&error),
        reason: fault::describe(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::env::Env;

    async fn refusal(uri: &str) -> Option<String> {
        let environment = Env::from_pairs([
            (contract::env::MONGODB_URI, uri),
            (contract::env::MONGODB_DATABASE, "sync"),
        ]);
        let config = MongodbConfig::from_env(&environment).unwrap();
        let outcome = Mongodb::new(&config, &Source::ALL.into()).await;
        outcome.err().map(|error| error.reason)
    }

    #[tokio::test]
    async fn a_password_that_is_not_encoded_is_not_quoted() {
        for uri in [
            "mongodb://user:hunter?2@host/db",
            "mongodb://user:hunter/2@host/db",
            "mongodb://user:hunter#2@host/db",
            // What a port may be.
            "mongodb://user:1234?5@host/db?retryWrites=true",
            "mongodb://user:hunter@2@host/db",
            "mongodb://user:hunter%@host/db",
            "hunter",
        ] {
            let refusal = refusal(uri).await;
            assert!(
                refusal.as_ref().is_some_and(|reason| reason.starts_with(
                    "DI_MONGODB_URI is no connection string of MongoDB; in user name and password, write"
                ) && !reason.contains("hunter")
                    && !reason.contains("1234")),
                "{refusal:?}"
            );
        }
        assert_eq!(refusal("mongodb://user:hunter%3F2@host/db?appName=a@b").await, None);
    }
}
