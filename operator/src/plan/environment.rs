//! The environment contract: which variables a component's pods get, and from where.

use contract::env;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};

use super::naming;
use crate::api::spec::{ApiKeys, CredentialsSecret, KafkaTls, Mongodb, Postgres};
use crate::validate::connections::Pools;
use crate::validate::{Consumer, Insight, InsightKind, Pipeline, Producer};

/// Variables of a producer.
pub fn of_producer(pipeline: &Pipeline, producer: &Producer) -> Vec<EnvVar> {
    let mut vars = of_every_workload(pipeline);
    vars.extend(kafka(pipeline));
    vars.push(plain(env::ENABLED_TOPICS, producer.topics.join(",")));
    if producer.api_keys == ApiKeys::Required {
        vars.push(plain(env::API_KEYS, "Required"));
    }
    let window = producer.idempotency_window;
    vars.extend(window.map(|window| plain(env::IDEMPOTENCY_WINDOW_SECONDS, window.as_secs().to_string())));
    vars.extend(
        pipeline
            .postgres
            .iter()
            .flat_map(|store| postgres(store, pipeline.pools)),
    );
    vars
}

/// Variables of a consumer.
pub fn of_consumer(pipeline: &Pipeline, consumer: &Consumer) -> Vec<EnvVar> {
    let mut vars = of_every_workload(pipeline);
    vars.extend(kafka(pipeline));
    vars.push(plain(env::ENABLED_TOPICS, consumer.topics.join(",")));
    vars.push(plain(env::KAFKA_CONSUMER_GROUP, &consumer.group));
    vars.push(plain(env::BATCH_MAX_RECORDS, consumer.batch_max_records.to_string()));
    vars.push(plain(env::PARALLEL_WRITES, consumer.parallel_writes.to_string()));
    vars.push(plain(env::BATCH_LINGER_MS, consumer.linger.as_millis().to_string()));
    vars.extend(of_stores(pipeline));
    let postgres = pipeline.postgres.as_ref();
    let retention = postgres.and_then(|postgres| postgres.retention_months);
    vars.extend(retention.map(|months| plain(env::POSTGRES_RETENTION_MONTHS, months.to_string())));
    vars
}

/// Variables of an API beside the pipeline.
pub fn of_insight(pipeline: &Pipeline, insight: &Insight) -> Vec<EnvVar> {
    let mut vars = of_every_workload(pipeline);
    match insight.kind {
        InsightKind::Api => {
            vars.extend(of_stores(pipeline));
            vars.extend(sms_extractor(pipeline).map(|url| plain(env::SMS_EXTRACTOR_SERVICE_URL, url)));
        }
        InsightKind::SmsExtraction => vars.extend(pipeline.postgres.iter().flat_map(extraction_database)),
    }
    vars
}

fn of_stores(pipeline: &Pipeline) -> Vec<EnvVar> {
    let postgres = pipeline
        .postgres
        .iter()
        .flat_map(|store| postgres(store, pipeline.pools));
    let mongodb = pipeline.mongodb.iter().flat_map(|store| mongodb(store, pipeline.pools));
    postgres.chain(mongodb).collect()
}

/// Address of the SMS Extraction API's Service.
fn sms_extractor(pipeline: &Pipeline) -> Option<String> {
    let kind = InsightKind::SmsExtraction;
    pipeline.insights.iter().find(|insight| insight.kind == kind)?;
    let service = naming::object_name(&pipeline.name, kind.component());
    Some(format!("http://{service}:{}", contract::port::INSIGHTS))
}

fn extraction_database(postgres: &Postgres) -> Vec<EnvVar> {
    let mut vars = vec![
        plain(env::DB_HOST, &postgres.host),
        plain(env::DB_PORT, postgres.port.to_string()),
        plain(env::DB_NAME, &postgres.database),
    ];
    vars.extend(credentials(
        &postgres.credentials_secret_ref,
        env::DB_USER,
        env::DB_PASSWORD,
    ));
    vars
}

fn of_every_workload(pipeline: &Pipeline) -> Vec<EnvVar> {
    let mut vars = vec![plain(env::LAUNCH_ENVIRONMENT, pipeline.environment.name())];
    vars.extend(pipeline.region.map(|region| plain(env::REGION, region.name())));
    vars
}

fn kafka(pipeline: &Pipeline) -> Vec<EnvVar> {
    let kafka = &pipeline.kafka;
    let mut vars = vec![plain(env::KAFKA_BROKER_ENDPOINT, kafka.bootstrap_servers.join(","))];
    if !kafka.topic_prefix.is_empty() {
        vars.push(plain(env::KAFKA_TOPIC_PREFIX, &kafka.topic_prefix));
    }
    let Some(security) = &kafka.security else { return vars };
    vars.push(plain(env::KAFKA_SECURITY_PROTOCOL, security.protocol.name()));
    if let Some(sasl) = &security.sasl {
        vars.push(plain(env::KAFKA_SASL_MECHANISM, sasl.mechanism.name()));
        let region = pipeline.aws_region.as_ref();
        vars.extend(region.map(|region| plain(env::KAFKA_AWS_REGION, region)));
        let secret = sasl.credentials_secret_ref.iter();
        vars.extend(secret.flat_map(|secret| credentials(secret, env::KAFKA_USERNAME, env::KAFKA_PASSWORD)));
    }
    vars.extend(security.tls.iter().flat_map(kafka_tls));
    vars
}

fn kafka_tls(tls: &KafkaTls) -> Vec<EnvVar> {
    let mut vars = Vec::new();
    if let Some(secret) = &tls.ca_secret_ref {
        vars.push(from_secret(env::KAFKA_SSL_CA_PEM, &secret.name, &secret.key));
    }
    if let Some(secret) = &tls.client_cert_secret_ref {
        vars.extend([
            from_secret(env::KAFKA_SSL_CERTIFICATE_PEM, &secret.name, &secret.certificate_key),
            from_secret(env::KAFKA_SSL_KEY_PEM, &secret.name, &secret.private_key_key),
        ]);
    }
    vars
}

fn postgres(postgres: &Postgres, pools: Pools) -> Vec<EnvVar> {
    let mut vars = vec![
        plain(env::POSTGRES_HOST, &postgres.host),
        plain(env::POSTGRES_PORT, postgres.port.to_string()),
        plain(env::POSTGRES_DATABASE, &postgres.database),
        plain(env::POSTGRES_SYNC_DATABASE, &postgres.sync_database),
        plain(env::POSTGRES_SCHEMA, &postgres.schema),
    ];
    vars.extend(credentials(
        &postgres.credentials_secret_ref,
        env::POSTGRES_USERNAME,
        env::POSTGRES_PASSWORD,
    ));
    vars.extend(size(env::POSTGRES_MAX_POOL_SIZE, pools.postgres));
    if let Some(tls) = &postgres.tls {
        vars.push(plain(env::POSTGRES_TLS_MODE, tls.mode.name()));
        vars.extend(
            tls.ca_secret_ref
                .as_ref()
                .map(|secret| from_secret(env::POSTGRES_TLS_CA_PEM, &secret.name, &secret.key)),
        );
    }
    vars
}

fn size(name: &str, connections: Option<i32>) -> Option<EnvVar> {
    connections.map(|connections| plain(name, connections.to_string()))
}

fn mongodb(mongodb: &Mongodb, pools: Pools) -> Vec<EnvVar> {
    let mut vars = vec![];
    if let Some(host) = &mongodb.host {
        vars.push(plain(env::MONGODB_HOST, host));
        vars.push(plain(env::MONGODB_PORT, mongodb.port.to_string()));
    }
    if let Some(secret) = &mongodb.uri_secret_ref {
        vars.push(from_secret(env::MONGODB_URI, &secret.name, &secret.key));
    }
    vars.push(plain(env::MONGODB_DATABASE, &mongodb.database));
    vars.push(plain(env::MONGODB_ENABLED_SOURCES, mongodb.enabled_sources.join(",")));
    if mongodb.tls {
        vars.push(plain(env::MONGODB_TLS, "true"));
    }
    vars.extend(size(env::MONGODB_MAX_POOL_SIZE, pools.mongodb));
    let least = mongodb.pool.map(|pool| pool.min.min(pools.mongodb.unwrap_or(pool.max)));
    vars.extend(size(env::MONGODB_MIN_POOL_SIZE, least));
    vars.extend(
        mongodb
            .auth_mechanism
            .map(|mechanism| plain(env::MONGODB_AUTH_MECHANISM, mechanism.name())),
    );
    vars.extend(
        mongodb
            .auth_source
            .as_ref()
            .map(|source| plain(env::MONGODB_AUTH_SOURCE, source)),
    );
    if let Some(secret) = &mongodb.credentials_secret_ref {
        vars.extend(credentials(secret, env::MONGODB_USERNAME, env::MONGODB_PASSWORD));
    }
    vars
}

fn plain(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.into()),
        value_from: None,
    }
}

fn credentials(secret: &CredentialsSecret, username: &str, password: &str) -> [EnvVar; 2] {
    [
        from_secret(username, &secret.name, &secret.username_key),
        from_secret(password, &secret.name, &secret.password_key),
    ]
}

/// What a Secret holds reaches a pod by reference only.
fn from_secret(name: &str, secret: &str, key: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.to_owned(),
                key: key.to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    }
}
