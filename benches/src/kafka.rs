//! Kafka of a benchmark: its topics, and what clients of both sides need to reach it.

use anyhow::{Context, Result, anyhow};
use contract::env;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use runtime::env::Env;
use services::Kafka;
use std::{path::PathBuf, time::Duration};

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// All brokers, separated by commas.
pub fn bootstrap_servers(kafka: &Kafka) -> String {
    let brokers: Vec<String> = kafka.brokers.iter().map(ToString::to_string).collect();
    brokers.join(",")
}

/// The environment by which a workload reaches Kafka.
pub fn environment(kafka: &Kafka) -> Vec<(&'static str, String)> {
    vec![
        (env::KAFKA_BROKER_ENDPOINT, bootstrap_servers(kafka)),
        (env::KAFKA_SECURITY_PROTOCOL, "SASL_PLAINTEXT".to_owned()),
        (env::KAFKA_SASL_MECHANISM, "SCRAM-SHA-512".to_owned()),
        (env::KAFKA_USERNAME, kafka.username.clone()),
        (env::KAFKA_PASSWORD, kafka.password.clone()),
    ]
}

/// A file of settings for a client in Java, which only its owner can read. `more` are settings beside the way to Kafka.
pub fn java_settings(kafka: &Kafka, name: &str, more: &[(&str, &str)]) -> Result<PathBuf> {
    let login = format!(
        "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{}\" password=\"{}\";",
        kafka.username, kafka.password
    );
    let servers = bootstrap_servers(kafka);
    let base = [
        ("bootstrap.servers", servers.as_str()),
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.jaas.config", &login),
    ];
    let lines: String = base
        .iter()
        .chain(more)
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    let path = host::state::dir().join(format!("{name}.properties"));
    host::secret::write_private(&path, lines.as_bytes())?;
    Ok(path)
}

/// A topic of one copy.
pub async fn create(kafka: &Kafka, topic: &str, partitions: i32) -> Result<()> {
    create_with(kafka, topic, partitions, &[]).await
}

/// The same, with settings.
pub async fn create_with(kafka: &Kafka, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let topic = settings.iter().fold(new, |topic, (name, value)| topic.set(name, value));
    let created = admin(kafka)?.create_topics([&topic], &options()).await?;
    let created = created.into_iter().next().context("nothing was created")?;
    created
        .map(drop)
        .map_err(|(topic, code)| anyhow!("create topic {topic}: {code}"))
}

/// Removes a topic with its messages.
pub async fn delete(kafka: &Kafka, topic: &str) -> Result<()> {
    let deleted = admin(kafka)?.delete_topics(&[topic], &options()).await?;
    let deleted = deleted.into_iter().next().context("nothing was deleted")?;
    deleted
        .map(drop)
        .map_err(|(topic, code)| anyhow!("delete topic {topic}: {code}"))
}

fn admin(kafka: &Kafka) -> Result<AdminClient<DefaultClientContext>> {
    let config = runtime::kafka::client_config(&Env::from_pairs(environment(kafka)))?;
    Ok(config.create()?)
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ANSWER))
        .operation_timeout(Some(ANSWER))
}
