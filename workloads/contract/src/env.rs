//! Environment variables of the workload images. Existing images run under the operator because these names
//! and their meaning do not change.

/// PostgreSQL user name.
pub const POSTGRES_USERNAME: &str = "DI_POSTGRES_USERNAME";
/// PostgreSQL password; always from a Secret.
pub const POSTGRES_PASSWORD: &str = "DI_POSTGRES_PASSWORD";
/// PostgreSQL host name or address.
pub const POSTGRES_HOST: &str = "DI_POSTGRES_HOST";
/// PostgreSQL TCP port.
pub const POSTGRES_PORT: &str = "DI_POSTGRES_PORT";
/// Database of the APIs (accounts, insights).
pub const POSTGRES_DATABASE: &str = "DI_POSTGRES_DATABASE";
/// Database that receives the synced records.
pub const POSTGRES_SYNC_DATABASE: &str = "DI_POSTGRES_SYNC_DATABASE";
/// Schema of this pipeline in the sync database; `public` when unset.
pub const POSTGRES_SCHEMA: &str = "DI_POSTGRES_SCHEMA";
/// Connections a pod may hold to PostgreSQL; 8 when unset.
pub const POSTGRES_MAX_POOL_SIZE: &str = "DI_POSTGRES_MAX_POOL_SIZE";

/// Kafka bootstrap servers, `host:port`, separated by commas.
pub const KAFKA_BROKER_ENDPOINT: &str = "DI_KAFKA_BROKER_ENDPOINT";
/// `PLAINTEXT` (when unset), `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
pub const KAFKA_SECURITY_PROTOCOL: &str = "DI_KAFKA_SECURITY_PROTOCOL";
/// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `AWS_MSK_IAM`.
pub const KAFKA_SASL_MECHANISM: &str = "DI_KAFKA_SASL_MECHANISM";
/// AWS region of the brokers; needed with `AWS_MSK_IAM`, which takes no user name and no password.
pub const KAFKA_AWS_REGION: &str = "DI_KAFKA_AWS_REGION";
/// SASL user name; always from a Secret.
pub const KAFKA_USERNAME: &str = "DI_KAFKA_USERNAME";
/// SASL password; always from a Secret.
pub const KAFKA_PASSWORD: &str = "DI_KAFKA_PASSWORD";
/// Certificates of the authorities that may sign the brokers', in PEM; the public ones when unset. From a Secret.
pub const KAFKA_SSL_CA_PEM: &str = "DI_KAFKA_SSL_CA_PEM";
/// Certificate shown to the brokers, in PEM; none when unset. From a Secret.
pub const KAFKA_SSL_CERTIFICATE_PEM: &str = "DI_KAFKA_SSL_CERTIFICATE_PEM";
/// Private key of the certificate shown to the brokers, in PEM; always from a Secret.
pub const KAFKA_SSL_KEY_PEM: &str = "DI_KAFKA_SSL_KEY_PEM";
/// Prefix of every topic of this pipeline; empty when unset. Topic names elsewhere carry it already.
pub const KAFKA_TOPIC_PREFIX: &str = "DI_KAFKA_TOPIC_PREFIX";

/// Topics to produce to or to read, prefix included, separated by commas.
pub const ENABLED_TOPICS: &str = "ENABLED_TOPICS";
/// The consumer group.
pub const KAFKA_CONSUMER_GROUP: &str = "KAFKA_CONSUMER_GROUP";
/// Region of the pipeline, as written in the SyncPipeline; unset where none is.
pub const REGION: &str = "DI_REGION";
/// Tenant written into every envelope; `default` when unset.
pub const TENANT: &str = "DI_TENANT";
/// Port of the workload's own HTTP server; the one of [`crate::port`] when unset.
pub const HTTP_PORT: &str = "DI_HTTP_PORT";
/// Name of the pod, from the downward API; shown to Kafka as the client's id.
pub const POD_NAME: &str = "DI_POD_NAME";
/// `dev`, `staging` or `prod`.
pub const LAUNCH_ENVIRONMENT: &str = "LAUNCH_ENVIRONMENT";

/// `Required` or `Disabled` (when unset): whether the producer takes uploads with an API key only.
pub const API_KEYS: &str = "DI_API_KEYS";
/// Seconds for which the producer repeats its answer to a request with an idempotency key; 86400 when unset.
pub const IDEMPOTENCY_WINDOW_SECONDS: &str = "DI_IDEMPOTENCY_WINDOW_SECONDS";

/// Most records in one write to the stores.
pub const BATCH_MAX_RECORDS: &str = "DI_CONSUMER_BATCH_MAX_RECORDS";
/// Longest wait for a batch to fill, in milliseconds; also the interval between commits of a busy reader.
pub const BATCH_LINGER_MS: &str = "DI_CONSUMER_BATCH_LINGER_MS";

/// Batches of one topic that a consumer writes at the same time, each of other partitions; 2 when unset.
pub const PARALLEL_WRITES: &str = "DI_CONSUMER_PARALLEL_WRITES";

/// Whole months for which rows of sources that are partitioned by month are kept; for ever when unset.
pub const POSTGRES_RETENTION_MONTHS: &str = "DI_POSTGRES_RETENTION_MONTHS";

/// `disable`, `prefer` (when unset), `require`, `verify-ca` or `verify-full`: whether connections to PostgreSQL are
/// encrypted and whose certificates are believed.
pub const POSTGRES_TLS_MODE: &str = "DI_POSTGRES_TLS_MODE";
/// Certificates of the authorities that may sign PostgreSQL's, in PEM; the public ones when unset. From a Secret.
pub const POSTGRES_TLS_CA_PEM: &str = "DI_POSTGRES_TLS_CA_PEM";

/// Connection string of MongoDB, in place of host and port; always from a Secret.
pub const MONGODB_URI: &str = "DI_MONGODB_URI";
/// `true` encrypts connections to MongoDB; `false` when unset. A connection string says it itself.
pub const MONGODB_TLS: &str = "DI_MONGODB_TLS";
/// MongoDB user name.
pub const MONGODB_USERNAME: &str = "DI_MONGODB_USERNAME";
/// MongoDB password; always from a Secret.
pub const MONGODB_PASSWORD: &str = "DI_MONGODB_PASSWORD";
/// MongoDB host name or address.
pub const MONGODB_HOST: &str = "DI_MONGODB_HOST";
/// MongoDB TCP port.
pub const MONGODB_PORT: &str = "DI_MONGODB_PORT";
/// MongoDB database.
pub const MONGODB_DATABASE: &str = "DI_MONGODB_DATABASE";
/// `PLAIN`, `SCRAM-SHA-1` or `SCRAM-SHA-256`; the driver's choice when unset.
pub const MONGODB_AUTH_MECHANISM: &str = "DI_MONGODB_AUTH_MECHANISM";
/// Database that holds the user; the driver's default when unset.
pub const MONGODB_AUTH_SOURCE: &str = "DI_MONGODB_AUTH_SOURCE";
/// Sources to be stored in MongoDB, separated by commas; `*` for all.
pub const MONGODB_ENABLED_SOURCES: &str = "DI_MONGODB_ENABLED_SOURCES";
/// Most connections of a pod; 100 when unset.
pub const MONGODB_MAX_POOL_SIZE: &str = "DI_MONGODB_MAX_POOL_SIZE";
/// Connections kept open; 10 when unset.
pub const MONGODB_MIN_POOL_SIZE: &str = "DI_MONGODB_MIN_POOL_SIZE";
/// Milliseconds; 15000 when unset.
pub const MONGODB_SERVER_SELECTION_TIMEOUT_MS: &str = "DI_MONGODB_SERVER_SELECTION_TIMEOUT_MS";
/// Milliseconds; 10000 when unset.
pub const MONGODB_CONNECT_TIMEOUT_MS: &str = "DI_MONGODB_CONNECT_TIMEOUT_MS";
/// Milliseconds one operation may take; 10000 when unset. Enforced by the workload.
pub const MONGODB_SOCKET_TIMEOUT_MS: &str = "DI_MONGODB_SOCKET_TIMEOUT_MS";
/// `true` when unset.
pub const MONGODB_RETRY_WRITES: &str = "DI_MONGODB_RETRY_WRITES";
/// Milliseconds an operation may wait for a connection; 2000 when unset. Enforced by the workload.
pub const MONGODB_WAIT_QUEUE_TIMEOUT_MS: &str = "DI_MONGODB_WAIT_QUEUE_TIMEOUT_MS";

/// Where the Insights API finds the SMS Extraction API: its base address.
pub const SMS_EXTRACTOR_SERVICE_URL: &str = "SMS_EXTRACTOR_SERVICE_URL";
/// PostgreSQL user name of the SMS Extraction API.
pub const DB_USER: &str = "DB_USER";
/// PostgreSQL password of the SMS Extraction API; always from a Secret.
pub const DB_PASSWORD: &str = "DB_PASSWORD";
/// PostgreSQL host name or address of the SMS Extraction API.
pub const DB_HOST: &str = "DB_HOST";
/// PostgreSQL TCP port of the SMS Extraction API.
pub const DB_PORT: &str = "DB_PORT";
/// Database of the SMS Extraction API.
pub const DB_NAME: &str = "DB_NAME";

/// Every name above: what a user's own `env` of a component may not set.
pub const ALL: &[&str] = &[
    POSTGRES_USERNAME,
    POSTGRES_PASSWORD,
    POSTGRES_HOST,
    POSTGRES_PORT,
    POSTGRES_DATABASE,
    POSTGRES_SYNC_DATABASE,
    POSTGRES_SCHEMA,
    POSTGRES_MAX_POOL_SIZE,
    KAFKA_BROKER_ENDPOINT,
    KAFKA_SECURITY_PROTOCOL,
    KAFKA_SASL_MECHANISM,
    KAFKA_AWS_REGION,
    KAFKA_USERNAME,
    KAFKA_PASSWORD,
    KAFKA_SSL_CA_PEM,
    KAFKA_SSL_CERTIFICATE_PEM,
    KAFKA_SSL_KEY_PEM,
    KAFKA_TOPIC_PREFIX,
    ENABLED_TOPICS,
    KAFKA_CONSUMER_GROUP,
    REGION,
    TENANT,
    POD_NAME,
    HTTP_PORT,
    LAUNCH_ENVIRONMENT,
    API_KEYS,
    IDEMPOTENCY_WINDOW_SECONDS,
    BATCH_MAX_RECORDS,
    BATCH_LINGER_MS,
    PARALLEL_WRITES,
    POSTGRES_RETENTION_MONTHS,
    POSTGRES_TLS_MODE,
    POSTGRES_TLS_CA_PEM,
    SMS_EXTRACTOR_SERVICE_URL,
    DB_USER,
    DB_PASSWORD,
    DB_HOST,
    DB_PORT,
    DB_NAME,
    MONGODB_URI,
    MONGODB_TLS,
    MONGODB_USERNAME,
    MONGODB_PASSWORD,
    MONGODB_HOST,
    MONGODB_PORT,
    MONGODB_DATABASE,
    MONGODB_AUTH_MECHANISM,
    MONGODB_AUTH_SOURCE,
    MONGODB_ENABLED_SOURCES,
    MONGODB_MAX_POOL_SIZE,
    MONGODB_MIN_POOL_SIZE,
    MONGODB_SERVER_SELECTION_TIMEOUT_MS,
    MONGODB_CONNECT_TIMEOUT_MS,
    MONGODB_SOCKET_TIMEOUT_MS,
    MONGODB_RETRY_WRITES,
    MONGODB_WAIT_QUEUE_TIMEOUT_MS,
];
