//! The environment contract: which variables a component's pods get, and from where.

use contract::env;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, SecretKeySelector};

use crate::api::spec::{CredentialsSecret, Kafka, Mongodb, Postgres, SecurityProtocol};
use crate::validate::{Consumer, Pipeline, Producer};

/// Variables of a producer.
pub fn of_producer(pipeline: &Pipeline, producer: &Producer) -> Vec<EnvVar> {
    let mut vars = of_every_workload(pipeline);
    vars.extend(kafka(&pipeline.kafka));
    vars.push(plain(env::ENABLED_TOPICS, producer.topics.join(",")));
    vars.extend(pipeline.postgres.iter().flat_map(postgres));
    vars
}

/// Variables of a consumer.
pub fn of_consumer(pipeline: &Pipeline, consumer: &Consumer) -> Vec<EnvVar> {
    let mut vars = of_every_workload(pipeline);
    vars.extend(kafka(&pipeline.kafka));
    vars.push(plain(env::ENABLED_TOPICS, consumer.topics.join(",")));
    vars.push(plain(env::KAFKA_CONSUMER_GROUP, &consumer.group));
    vars.push(plain(env::BATCH_MAX_RECORDS, consumer.batch_max_records.to_string()));
    vars.push(plain(env::BATCH_LINGER_MS, consumer.linger.as_millis().to_string()));
    vars.extend(pipeline.postgres.iter().flat_map(postgres));
    vars.extend(pipeline.mongodb.iter().flat_map(mongodb));
    vars
}

fn of_every_workload(pipeline: &Pipeline) -> Vec<EnvVar> {
    let mut vars = vec![plain(env::LAUNCH_ENVIRONMENT, pipeline.environment.name())];
    vars.extend(pipeline.region.map(|region| plain(env::REGION, region.name())));
    vars
}

fn kafka(kafka: &Kafka) -> Vec<EnvVar> {
    let mut vars = vec![plain(env::KAFKA_BROKER_ENDPOINT, kafka.bootstrap_servers.join(","))];
    if !kafka.topic_prefix.is_empty() {
        vars.push(plain(env::KAFKA_TOPIC_PREFIX, &kafka.topic_prefix));
    }
    let Some(security) = &kafka.security else { return vars };
    let protocol = match security.protocol {
        SecurityProtocol::Plaintext => "PLAINTEXT",
        SecurityProtocol::SaslPlaintext => "SASL_PLAINTEXT",
    };
    vars.push(plain(env::KAFKA_SECURITY_PROTOCOL, protocol));
    if let Some(sasl) = &security.sasl {
        vars.push(plain(env::KAFKA_SASL_MECHANISM, sasl.mechanism.name()));
        vars.extend(credentials(
            &sasl.credentials_secret_ref,
            env::KAFKA_USERNAME,
            env::KAFKA_PASSWORD,
        ));
    }
    vars
}

fn postgres(postgres: &Postgres) -> Vec<EnvVar> {
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
    vars
}

fn mongodb(mongodb: &Mongodb) -> Vec<EnvVar> {
    let mut vars = vec![
        plain(env::MONGODB_HOST, &mongodb.host),
        plain(env::MONGODB_PORT, mongodb.port.to_string()),
        plain(env::MONGODB_DATABASE, &mongodb.database),
        plain(env::MONGODB_ENABLED_SOURCES, mongodb.enabled_sources.join(",")),
    ];
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
    vars.extend(credentials(
        &mongodb.credentials_secret_ref,
        env::MONGODB_USERNAME,
        env::MONGODB_PASSWORD,
    ));
    vars
}

fn plain(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: Some(value.into()),
        value_from: None,
    }
}

/// User name and password reach a pod by reference only.
fn credentials(secret: &CredentialsSecret, username: &str, password: &str) -> [EnvVar; 2] {
    [(username, &secret.username_key), (password, &secret.password_key)].map(|(name, key)| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.name.clone(),
                key: key.clone(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    })
}
