//! Configuration of the consumer, read once from the environment.

use contract::{Source, env};
use runtime::{
    env::{Env, EnvError},
    postgres::Server,
};
use std::{collections::BTreeSet, fmt, time::Duration};

/// Percent of dead letters among the latest thousand records of a lane, and more, from which on nothing more is given up;
/// 90 when unset, never for 0. Only this image knows it.
pub const DEAD_LETTER_LIMIT_PERCENT: &str = "DI_CONSUMER_DEAD_LETTER_LIMIT_PERCENT";

/// Batches of one topic that are written at the same time, where nothing else is asked for.
pub const PARALLEL_WRITES: usize = 2;

/// PostgreSQL keeps 63 bytes of a name and cuts off the rest in silence.
const LONGEST_SCHEMA_NAME: usize = 63;

/// Everything that the environment decides.
#[derive(Debug, Clone)]
pub struct Config {
    /// Port of `/healthz`, `/ready` and `/metrics`.
    pub port: u16,
    /// Topics to read, with the source of each.
    pub topics: Vec<(String, Source)>,
    /// Consumer group.
    pub group: String,
    /// When a batch is full, and how many bytes all batches may hold together.
    pub limits: BatchLimits,
    /// Batches of one topic that are written at the same time, each of other partitions.
    pub parallel_writes: usize,
    /// Percent of dead letters from which on nothing more is given up; 0 for never.
    pub dead_letter_limit: u8,
    /// Whether what cannot be stored is sent to the dead-letter topics.
    pub sends_dead_letters: bool,
    /// PostgreSQL.
    pub postgres: PostgresConfig,
    /// MongoDB.
    pub mongodb: MongodbConfig,
    /// Kafka client settings, shared by the reader, the writer of dead letters and the reader of topic ids.
    pub kafka: Env,
}

/// A text that is no name of a schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a schema name of 1 to {LONGEST_SCHEMA_NAME} bytes that does not begin with pg_")]
pub struct NoSchemaName;

/// The name of a schema that may be the pipeline's, or a copy's.
pub fn schema_name(text: &str) -> Result<String, NoSchemaName> {
    let is_name = !text.trim().is_empty()
        && text.len() <= LONGEST_SCHEMA_NAME
        && !text.contains('\0')
        && !text.starts_with("pg_");
    is_name.then(|| text.to_owned()).ok_or(NoSchemaName)
}

/// When a batch is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most records, unless one message alone holds more.
    pub records: usize,
    /// Most bytes of message values, unless one message alone holds more. It bounds the memory of the process.
    pub bytes: usize,
    /// Longest wait for the batch to fill.
    pub linger: Duration,
}

/// How to reach PostgreSQL, and where the records go.
#[derive(Clone)]
pub struct PostgresConfig {
    /// The server.
    pub server: Server,
    /// Database of the synced records.
    pub database: String,
    /// Schema of this pipeline, or of a copy of it.
    pub schema: String,
    /// The pipeline's own schema, where this one is a copy: users are erased there, and of all copies.
    pub copy_of: Option<String>,
    /// Whole months for which rows are kept; for ever when `None`.
    pub retention_months: Option<u32>,
}

/// How to reach MongoDB, and what to store there.
#[derive(Clone)]
pub struct MongodbConfig {
    /// Where the server is.
    pub server: MongodbServer,
    /// Database.
    pub database: String,
    /// User name; without it, no authentication.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Authentication mechanism; the driver's choice when `None`.
    pub auth_mechanism: Option<String>,
    /// Database that holds the user; the driver's default when `None`.
    pub auth_source: Option<String>,
    /// Sources to be stored there.
    pub sources: BTreeSet<Source>,
    /// Most connections, and most operations at a time.
    pub max_pool_size: u32,
    /// Connections kept open.
    pub min_pool_size: u32,
    /// Longest search for a server.
    pub server_selection_timeout: Duration,
    /// Longest connecting.
    pub connect_timeout: Duration,
    /// Longest operation.
    pub operation_timeout: Duration,
    /// Longest wait for one of the connections.
    pub wait_queue_timeout: Duration,
    /// Whether the driver repeats a write once by itself.
    pub retry_writes: bool,
}

/// Where MongoDB is.
#[derive(Clone, PartialEq, Eq)]
pub enum MongodbServer {
    /// One server.
    Host {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// Whether connections are encrypted.
        tls: bool,
    },
    /// What a connection string says. It may hold a password.
    Uri(String),
}

impl Config {
    /// Reads the environment; the error names the variable.
    pub fn from_env(environment: &Env) -> Result<Config, EnvError> {
        // Fails here, at start, rather than at the first connection.
        runtime::kafka::client_config(environment)?;
        let prefix = environment.optional(env::KAFKA_TOPIC_PREFIX).unwrap_or_default();
        let topics = enabled_topics(environment)?
            .into_iter()
            .map(|topic| match Source::of_topic(&topic, &prefix) {
                Some(source) => Ok((topic, source)),
                None => Err(wrong(
                    env::ENABLED_TOPICS,
                    format!(
                        "topic {topic:?} belongs to no source; known are {}, each with the prefix of {}",
                        Source::ALL.map(Source::topic).join(", "),
                        env::KAFKA_TOPIC_PREFIX
                    ),
                )),
            })
            .collect::<Result<_, _>>()?;
        Ok(Config {
            port: environment.parsed_or(env::HTTP_PORT, contract::port::CONSUMER)?,
            topics,
            group: environment.required(env::KAFKA_CONSUMER_GROUP)?,
            limits: BatchLimits {
                records: positive(environment, env::BATCH_MAX_RECORDS, 5_000)?,
                bytes: 48 << 20,
                linger: Duration::from_millis(environment.parsed_or(env::BATCH_LINGER_MS, 200)?),
            },
            parallel_writes: positive(environment, env::PARALLEL_WRITES, PARALLEL_WRITES)?,
            dead_letter_limit: match environment.parsed_or(DEAD_LETTER_LIMIT_PERCENT, 90)? {
                percent @ 0..=100 => percent,
                _ => return Err(wrong(DEAD_LETTER_LIMIT_PERCENT, "must be from 0 to 100".to_owned())),
            },
            sends_dead_letters: true,
            postgres: PostgresConfig::from_env(environment)?,
            mongodb: MongodbConfig::from_env(environment)?,
            kafka: environment.clone(),
        })
    }

    /// Batches of each topic that are written at the same time: no more than there are connections for.
    pub fn lanes_of_topic(&self) -> usize {
        let connections = self.postgres.server.max_connections as usize / self.topics.len().max(1);
        self.parallel_writes.min(connections).max(1)
    }

    /// The sources that this consumer reads.
    pub fn sources(&self) -> BTreeSet<Source> {
        self.topics.iter().map(|(_, source)| *source).collect()
    }
}

impl PostgresConfig {
    /// Reads the environment; the error names the variable.
    pub fn from_env(environment: &Env) -> Result<PostgresConfig, EnvError> {
        let schema = environment
            .optional(env::POSTGRES_SCHEMA)
            .unwrap_or_else(|| "public".to_owned());
        Ok(PostgresConfig {
            server: Server::from_env(environment)?,
            database: environment.required(env::POSTGRES_SYNC_DATABASE)?,
            schema: schema_name(&schema).map_err(|error| wrong(env::POSTGRES_SCHEMA, error.to_string()))?,
            copy_of: None,
            retention_months: match environment.parsed_or(env::POSTGRES_RETENTION_MONTHS, u32::MAX)? {
                u32::MAX => None,
                months @ 1..=1_200 => Some(months),
                _ => {
                    return Err(wrong(
                        env::POSTGRES_RETENTION_MONTHS,
                        "must be from 1 to 1200".to_owned(),
                    ));
                }
            },
        })
    }
}

impl MongodbConfig {
    /// Reads the environment; the error names the variable.
    pub fn from_env(environment: &Env) -> Result<MongodbConfig, EnvError> {
        let milliseconds = |name, default| environment.parsed_or(name, default).map(Duration::from_millis);
        let max_pool_size = positive(environment, env::MONGODB_MAX_POOL_SIZE, 100)?;
        let server = match environment.optional(env::MONGODB_URI) {
            Some(uri) => MongodbServer::Uri(uri),
            None => MongodbServer::Host {
                host: environment.required(env::MONGODB_HOST)?,
                port: environment.parsed_or(env::MONGODB_PORT, 27017)?,
                tls: environment.parsed_or(env::MONGODB_TLS, false)?,
            },
        };
        Ok(MongodbConfig {
            server,
            database: environment.required(env::MONGODB_DATABASE)?,
            username: environment.optional(env::MONGODB_USERNAME),
            password: environment.optional(env::MONGODB_PASSWORD),
            auth_mechanism: environment.optional(env::MONGODB_AUTH_MECHANISM),
            auth_source: environment.optional(env::MONGODB_AUTH_SOURCE),
            sources: enabled_sources(environment)?,
            max_pool_size,
            min_pool_size: environment
                .parsed_or(env::MONGODB_MIN_POOL_SIZE, 10)?
                .min(max_pool_size),
            server_selection_timeout: milliseconds(env::MONGODB_SERVER_SELECTION_TIMEOUT_MS, 15_000)?,
            connect_timeout: milliseconds(env::MONGODB_CONNECT_TIMEOUT_MS, 10_000)?,
            operation_timeout: milliseconds(env::MONGODB_SOCKET_TIMEOUT_MS, 10_000)?,
            wait_queue_timeout: milliseconds(env::MONGODB_WAIT_QUEUE_TIMEOUT_MS, 2_000)?,
            retry_writes: environment.parsed_or(env::MONGODB_RETRY_WRITES, true)?,
        })
    }
}

/// The topics that this consumer reads, each once.
pub fn enabled_topics(environment: &Env) -> Result<Vec<String>, EnvError> {
    let mut topics = environment.required_list(env::ENABLED_TOPICS)?;
    let mut seen = BTreeSet::new();
    topics.retain(|topic| seen.insert(topic.clone()));
    Ok(topics)
}

/// `*` stands for all sources, and so does the variable left out.
fn enabled_sources(environment: &Env) -> Result<BTreeSet<Source>, EnvError> {
    let names = environment.list(env::MONGODB_ENABLED_SOURCES);
    if names.is_empty() || names.iter().any(|name| name == "*") {
        return Ok(Source::ALL.into());
    }
    names
        .iter()
        .map(|name| {
            name.parse::<Source>()
                .map_err(|error| wrong(env::MONGODB_ENABLED_SOURCES, error.to_string()))
        })
        .collect()
}

fn positive<T>(environment: &Env, name: &str, default: T) -> Result<T, EnvError>
where
    T: std::str::FromStr + PartialEq + Default,
    T::Err: fmt::Display,
{
    let value = environment.parsed_or(name, default)?;
    if value == T::default() {
        return Err(wrong(name, "must be at least 1".to_owned()));
    }
    Ok(value)
}

fn wrong(name: &str, problem: String) -> EnvError {
    EnvError::Wrong {
        name: name.to_owned(),
        problem,
    }
}

/// Where, and never the password.
impl fmt::Debug for PostgresConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}?schema={}", self.server, self.database, self.schema)
    }
}

/// Where, and never the password.
impl fmt::Debug for MongodbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            MongodbServer::Host { host, port, .. } => write!(f, "mongodb://{host}:{port}/{}", self.database),
            MongodbServer::Uri(_) => write!(f, "{}, database {}", env::MONGODB_URI, self.database),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::postgres::PgSslMode;
    use std::collections::BTreeMap;

    /// A complete environment with some variables changed; an empty value takes the variable out.
    fn environment(changes: &[(&'static str, &'static str)]) -> Env {
        let mut pairs = BTreeMap::from([
            (env::KAFKA_BROKER_ENDPOINT, "kafka:9092"),
            (env::ENABLED_TOPICS, "p.sms_batched,p.events_log"),
            (env::KAFKA_TOPIC_PREFIX, "p."),
            (env::KAFKA_CONSUMER_GROUP, "group"),
            (env::POSTGRES_HOST, "postgres"),
            (env::POSTGRES_USERNAME, "user"),
            (env::POSTGRES_PASSWORD, "secret"),
            (env::POSTGRES_SYNC_DATABASE, "sync_db"),
            (env::MONGODB_HOST, "mongodb"),
            (env::MONGODB_DATABASE, "sync"),
        ]);
        pairs.extend(changes.iter().copied());
        Env::from_pairs(pairs)
    }

    #[test]
    fn defaults_are_those_of_the_contract() {
        let config = Config::from_env(&environment(&[])).unwrap();
        assert_eq!(
            config.topics,
            [
                ("p.sms_batched".to_owned(), Source::Sms),
                ("p.events_log".to_owned(), Source::Events)
            ]
        );
        assert_eq!(config.limits.records, 5_000);
        assert_eq!(config.limits.linger, Duration::from_millis(200));
        assert_eq!(config.postgres.schema, "public");
        assert_eq!(config.postgres.retention_months, None);
        assert_eq!(config.dead_letter_limit, 90);
        assert_eq!(config.mongodb.sources, Source::ALL.into());
        assert_eq!(config.mongodb.max_pool_size, 100);
        assert_eq!(config.mongodb.operation_timeout, Duration::from_secs(10));
        assert_eq!(config.port, contract::port::CONSUMER);
    }

    #[test]
    fn a_topic_that_is_named_twice_is_read_once() {
        let twice = environment(&[(env::ENABLED_TOPICS, "p.sms_batched,p.events_log,p.sms_batched")]);
        assert_eq!(enabled_topics(&twice).unwrap(), ["p.sms_batched", "p.events_log"]);
        assert_eq!(Config::from_env(&twice).unwrap().topics.len(), 2);
    }

    #[test]
    fn there_are_as_many_lanes_as_asked_for_and_connections_for_them() {
        let lanes = |parallel, connections| {
            let changes = [
                (env::PARALLEL_WRITES, parallel),
                (env::POSTGRES_MAX_POOL_SIZE, connections),
            ];
            Config::from_env(&environment(&changes)).unwrap().lanes_of_topic()
        };
        // Of two topics.
        assert_eq!([lanes("2", "8"), lanes("16", "8"), lanes("2", "1")], [2, 4, 1]);
    }

    #[test]
    fn an_error_names_the_variable_and_says_what_is_wanted() {
        let cases = [
            (
                (env::ENABLED_TOPICS, "sms_batched"),
                "environment variable ENABLED_TOPICS is wrong: topic \"sms_batched\" belongs to no source; known are \
                 sms_batched, events_log, apps_and_device_batched, contacts_batched, call_logs_batched, each with the \
                 prefix of DI_KAFKA_TOPIC_PREFIX",
            ),
            (
                (env::BATCH_MAX_RECORDS, "0"),
                "environment variable DI_CONSUMER_BATCH_MAX_RECORDS is wrong: must be at least 1",
            ),
            (
                (DEAD_LETTER_LIMIT_PERCENT, "101"),
                "environment variable DI_CONSUMER_DEAD_LETTER_LIMIT_PERCENT is wrong: must be from 0 to 100",
            ),
            (
                (env::POSTGRES_RETENTION_MONTHS, "0"),
                "environment variable DI_POSTGRES_RETENTION_MONTHS is wrong: must be from 1 to 1200",
            ),
            (
                (env::MONGODB_ENABLED_SOURCES, "sms,mail"),
                "environment variable DI_MONGODB_ENABLED_SOURCES is wrong: unknown source \"mail\"; sources are sms, \
                 events, apps_and_device, contacts, call_logs",
            ),
            (
                (env::POSTGRES_HOST, ""),
                "environment variable DI_POSTGRES_HOST is not set; it is required",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(
                Config::from_env(&environment(&[change])).unwrap_err().to_string(),
                expected
            );
        }
    }

    #[test]
    fn a_connection_string_takes_the_place_of_host_and_port() {
        let uri = "mongodb+srv://user:secret@cluster.example.com/?retryWrites=true";
        let config = Config::from_env(&environment(&[(env::MONGODB_URI, uri), (env::MONGODB_HOST, "")])).unwrap();
        assert!(config.mongodb.server == MongodbServer::Uri(uri.to_owned()));
    }

    #[test]
    fn modes_of_postgresql_have_libpqs_names() {
        let mode = |name: &'static str| Config::from_env(&environment(&[(env::POSTGRES_TLS_MODE, name)]));
        for (name, expected) in [
            ("", PgSslMode::Prefer),
            ("verify-full", PgSslMode::VerifyFull),
            ("disable", PgSslMode::Disable),
        ] {
            let found = mode(name).unwrap().postgres.server.tls_mode;
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{name}");
        }
        assert!(mode("always").unwrap_err().to_string().contains(env::POSTGRES_TLS_MODE));
    }

    #[test]
    fn passwords_are_not_shown() {
        for change in [
            (env::MONGODB_PASSWORD, "secret"),
            (env::MONGODB_URI, "mongodb://u:secret@h"),
        ] {
            let shown = format!("{:?}", Config::from_env(&environment(&[change])).unwrap());
            assert!(!shown.contains("secret"), "{shown}");
        }
    }
}
