//! What the environment says about this producer.
//!
//! Beside the contract's names, which the operator writes, there are a few that only this image knows, to be set
//! through the component's `env` where a default does not fit.

use crate::{
    database::{DatabaseSettings, schema},
    ledger::LedgerSettings,
    topics::{TopicError, Topics},
};
use contract::{env, message::DEFAULT_TENANT, port};
use rdkafka::ClientConfig;
use runtime::{
    env::{Env, EnvError},
    kafka::{Tokens, client_config},
    postgres::Server,
};
use std::{fmt, ops::RangeInclusive, time::Duration};

/// Port to listen on; [`port::PRODUCER`] when unset.
pub const PORT: &str = "DI_PRODUCER_PORT";
/// Milliseconds between "not ready" and the end of listening; 3000 when unset. It covers the time until every node
/// has taken the pod out of the Service.
pub const DRAIN_DELAY_MS: &str = "DI_PRODUCER_DRAIN_DELAY_MS";
/// Milliseconds that Kafka may take to acknowledge a message; 10000 when unset.
pub const DELIVERY_TIMEOUT_MS: &str = "DI_PRODUCER_DELIVERY_TIMEOUT_MS";
/// KiB of messages that may wait for Kafka; 65536 when unset.
pub const QUEUE_KBYTES: &str = "DI_PRODUCER_QUEUE_KBYTES";

/// Whether uploads need an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeys {
    /// They do.
    Required,
    /// None is asked for, and none is looked at.
    Disabled,
}

/// Settings that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A variable is missing or wrong.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// The enabled topics do not fit the sources.
    #[error("environment variable {name}: {0}", name = env::ENABLED_TOPICS)]
    Topics(#[from] TopicError),
}

/// Everything that [`crate::run`] needs to know.
#[derive(Clone)]
pub struct Settings {
    /// Port to listen on.
    pub port: u16,
    /// Tenant written into every envelope.
    pub tenant: String,
    /// Enabled sources and their topics.
    pub topics: Topics,
    /// Brokers, security and client id.
    pub kafka: ClientConfig,
    /// Tokens, where the brokers want one.
    pub tokens: Tokens,
    /// Longest wait for an acknowledgement.
    pub delivery_timeout: Duration,
    /// Most KiB of messages waiting for Kafka.
    pub queue_kbytes: u32,
    /// Wait between "not ready" and the end of listening.
    pub drain_delay: Duration,
    /// Whether uploads need an API key.
    pub api_keys: ApiKeys,
    /// How long the answer to a request with an idempotency key is kept.
    pub idempotency_window: Duration,
    /// PostgreSQL, where the environment names one.
    pub database: Option<DatabaseSettings>,
    /// What the consumers write, where the environment names it and connections are left for it.
    pub ledger: Option<LedgerSettings>,
}

impl fmt::Debug for Settings {
    /// Without the client's settings: the library shows a private key among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("port", &self.port)
            .field("topics", &self.topics)
            .field("delivery_timeout", &self.delivery_timeout)
            .field("queue_kbytes", &self.queue_kbytes)
            .field("api_keys", &self.api_keys)
            .field("database", &self.database)
            .field("ledger", &self.ledger)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads and checks the environment.
    pub fn from_env(env: &Env) -> Result<Settings, SettingsError> {
        let (api_keys, database) = (api_keys(env)?, database(env)?);
        if api_keys == ApiKeys::Required && database.is_none() {
            return Err(wrong(
                env::API_KEYS,
                format!("Required needs PostgreSQL; set {}", env::POSTGRES_HOST),
            )
            .into());
        }
        let prefix = env.optional(env::KAFKA_TOPIC_PREFIX).unwrap_or_default();
        Ok(Settings {
            port: env.parsed_or(PORT, port::PRODUCER)?,
            tenant: env.optional(env::TENANT).unwrap_or_else(|| DEFAULT_TENANT.to_owned()),
            topics: Topics::new(
                env.required_list(env::ENABLED_TOPICS)?,
                &prefix,
                env.optional(env::REGION),
            )?,
            kafka: client_config(env)?,
            tokens: Tokens::from_env(env)?,
            // With the drain delay, the upper bound keeps a graceful shutdown within its deadline.
            delivery_timeout: milliseconds(env, DELIVERY_TIMEOUT_MS, 10_000, 500..=10_000)?,
            queue_kbytes: within(env, QUEUE_KBYTES, 65_536, 1_024..=1_048_576)?,
            drain_delay: milliseconds(env, DRAIN_DELAY_MS, 3_000, 0..=5_000)?,
            api_keys,
            idempotency_window: within(env, env::IDEMPOTENCY_WINDOW_SECONDS, 86_400, 60..=2_592_000)
                .map(|seconds| Duration::from_secs(seconds.into()))?,
            database,
            ledger: ledger(env)?,
        })
    }
}

fn api_keys(env: &Env) -> Result<ApiKeys, EnvError> {
    match env.optional(env::API_KEYS).as_deref().map(str::trim) {
        None | Some("Disabled") => Ok(ApiKeys::Disabled),
        Some("Required") => Ok(ApiKeys::Required),
        Some(_) => Err(wrong(env::API_KEYS, "must be Required or Disabled".to_owned())),
    }
}

/// Where keys, quotas and kept answers are; nowhere where the environment names no PostgreSQL.
pub fn database(env: &Env) -> Result<Option<DatabaseSettings>, SettingsError> {
    if env.optional(env::POSTGRES_HOST).is_none() {
        return Ok(None);
    }
    let mut server = Server::from_env(env)?;
    server.max_connections -= connections_of_ledger(env, &server);
    Ok(Some(DatabaseSettings {
        server,
        database: env.required(env::POSTGRES_DATABASE)?,
        schema: schema::name(&records_schema(env)),
    }))
}

/// Where the consumers write; nowhere where the environment does not say so, or where the only connection is needed for
/// uploads.
fn ledger(env: &Env) -> Result<Option<LedgerSettings>, EnvError> {
    let (Some(_), Some(database)) = (
        env.optional(env::POSTGRES_HOST),
        env.optional(env::POSTGRES_SYNC_DATABASE),
    ) else {
        return Ok(None);
    };
    let mut server = Server::from_env(env)?;
    server.max_connections = connections_of_ledger(env, &server);
    Ok((server.max_connections > 0).then(|| LedgerSettings {
        server,
        database,
        schema: records_schema(env),
    }))
}

/// What separates two pipelines on one server.
fn records_schema(env: &Env) -> String {
    let schema = env.optional(env::POSTGRES_SCHEMA);
    schema.unwrap_or_else(|| "public".to_owned())
}

/// How many of the pod's connections to PostgreSQL are for the ledger: few, and never the last one.
fn connections_of_ledger(env: &Env, server: &Server) -> u32 {
    match (env.optional(env::POSTGRES_SYNC_DATABASE), server.max_connections) {
        (None, _) | (_, ..=1) => 0,
        (_, 2..=5) => 1,
        (_, 6..) => 2,
    }
}

fn milliseconds(env: &Env, name: &str, default: u32, allowed: RangeInclusive<u32>) -> Result<Duration, EnvError> {
    within(env, name, default, allowed).map(|number| Duration::from_millis(number.into()))
}

fn within(env: &Env, name: &str, default: u32, allowed: RangeInclusive<u32>) -> Result<u32, EnvError> {
    let number = env.parsed_or(name, default)?;
    if allowed.contains(&number) {
        return Ok(number);
    }
    let problem = format!("must be from {} to {}", allowed.start(), allowed.end());
    Err(wrong(name, problem))
}

fn wrong(name: &str, problem: String) -> EnvError {
    EnvError::Wrong {
        name: name.to_owned(),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let base = [
            (env::KAFKA_BROKER_ENDPOINT, "kafka:9092"),
            (env::ENABLED_TOPICS, "sms_batched"),
        ];
        let env = Env::from_pairs(base.iter().chain(pairs).copied());
        Settings::from_env(&env).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_fill_in_what_is_not_set() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.port, 8000);
        assert_eq!(settings.tenant, "default");
        assert_eq!(settings.delivery_timeout, Duration::from_secs(10));
        assert_eq!(settings.drain_delay, Duration::from_secs(3));
        assert_eq!(settings.api_keys, ApiKeys::Disabled);
        assert_eq!(settings.idempotency_window, Duration::from_secs(24 * 3600));
        assert!(settings.database.is_none());
    }

    #[test]
    fn an_error_names_the_variable() {
        assert_eq!(
            settings(&[(DELIVERY_TIMEOUT_MS, "60000")]).unwrap_err(),
            "environment variable DI_PRODUCER_DELIVERY_TIMEOUT_MS is wrong: must be from 500 to 10000"
        );
        assert_eq!(
            settings(&[(env::ENABLED_TOPICS, "orders")]).unwrap_err(),
            "environment variable ENABLED_TOPICS: orders is the topic of no source; topics are sms_batched, events_log, \
             apps_and_device_batched, contacts_batched, call_logs_batched"
        );
    }

    #[test]
    fn keys_need_postgresql() {
        assert_eq!(
            settings(&[(env::API_KEYS, "Required")]).unwrap_err(),
            "environment variable DI_API_KEYS is wrong: Required needs PostgreSQL; set DI_POSTGRES_HOST"
        );
        assert_eq!(
            settings(&[(env::API_KEYS, "on")]).unwrap_err(),
            "environment variable DI_API_KEYS is wrong: must be Required or Disabled"
        );
        let settings = settings(&[
            (env::API_KEYS, "Required"),
            (env::POSTGRES_HOST, "postgres"),
            (env::POSTGRES_USERNAME, "user"),
            (env::POSTGRES_PASSWORD, "hidden"),
            (env::POSTGRES_DATABASE, "api_insights_db"),
            (env::POSTGRES_SCHEMA, "blue"),
        ])
        .unwrap();
        let database = settings.database.as_ref().unwrap();
        assert_eq!(
            (database.database.as_str(), database.schema.as_str()),
            ("api_insights_db", "producer_blue")
        );
        assert!(!format!("{settings:?}").contains("hidden"), "{settings:?}");
        assert!(settings.ledger.is_none());
    }

    #[test]
    fn both_pools_together_hold_no_more_connections_than_the_pod_may() {
        for (most, ledger) in [(1, 0), (2, 1), (5, 1), (6, 2), (8, 2)] {
            let settings = settings(&[
                (env::POSTGRES_HOST, "postgres"),
                (env::POSTGRES_USERNAME, "user"),
                (env::POSTGRES_PASSWORD, "hidden"),
                (env::POSTGRES_DATABASE, "api_insights_db"),
                (env::POSTGRES_SYNC_DATABASE, "sync_db"),
                (env::POSTGRES_SCHEMA, "blue"),
                (env::POSTGRES_MAX_POOL_SIZE, &most.to_string()),
            ])
            .unwrap();
            let database = settings.database.as_ref().unwrap().server.max_connections;
            assert_eq!(database, most - ledger);
            let found = settings.ledger.as_ref();
            assert_eq!(found.map_or(0, |ledger| ledger.server.max_connections), ledger);
            if let Some(ledger) = found {
                assert_eq!((ledger.database.as_str(), ledger.schema.as_str()), ("sync_db", "blue"));
            }
            assert!(!format!("{settings:?}").contains("hidden"), "{settings:?}");
        }
    }
}
