//! What the rounds are played on: three brokers, two databases, relays in front of all of them, two producers and three
//! consumers.

use crate::relay::Relay;
use crate::workload::{Kind, Workload};
use anyhow::{Context, Result, ensure};
use contract::{Source, env, header};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use services::Running;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub(crate) const BROKERS: usize = 3;
pub(crate) const PRODUCERS: usize = 2;
pub(crate) const CONSUMERS: usize = 3;
/// Partitions of each topic but those of dead letters, which have one.
pub(crate) const PARTITIONS: i32 = 4;
/// Consumer group, schema and database alike.
pub(crate) const NAME: &str = "rounds";
pub(crate) const TENANT: &str = "default";

/// Below the ports that the kernel gives to clients, so that one that is stopped finds its own free when it comes back.
const FIRST_PORT: u16 = 26080;
/// Longest wait for an answer of Kafka.
pub(crate) const KAFKA_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) struct Stage {
    pub(crate) running: Running,
    pub(crate) workloads: Vec<Workload>,
    /// In front of each broker.
    pub(crate) to_kafka: Vec<Relay>,
    /// Of each workload, in their order.
    pub(crate) to_postgres: Vec<Relay>,
    /// Of each consumer.
    pub(crate) to_mongodb: Vec<Relay>,
    /// Kafka's ids.
    pub(crate) cluster: String,
    pub(crate) topics: BTreeMap<Source, Uuid>,
    /// Asks the brokers, past the relays.
    pub(crate) observer: BaseConsumer,
}

impl Stage {
    /// Relays and topics; the workloads are not started.
    pub(crate) async fn set(running: &Running) -> Result<Stage> {
        let mut to_kafka = Vec::new();
        for broker in &running.kafka.relayed {
            to_kafka.push(Relay::between(broker.relay, broker.listener).await?);
        }
        ensure!(to_kafka.len() == BROKERS, "the brokers have no listeners for relays");
        let (mut to_postgres, mut to_mongodb, mut workloads) = (Vec::new(), Vec::new(), Vec::new());
        let mut port = FIRST_PORT;
        let kinds = [Kind::Producer; PRODUCERS]
            .into_iter()
            .chain([Kind::Consumer; CONSUMERS]);
        for (place, kind) in kinds.enumerate() {
            port = host::ports::free_from(Ipv4Addr::UNSPECIFIED.into(), port)?;
            let postgres = Relay::before(running.postgres.address).await?;
            let mut environment = common_environment(running, postgres.address());
            to_postgres.push(postgres);
            let number = match kind {
                Kind::Producer => {
                    environment.extend(environment_of_producer(port));
                    place
                }
                Kind::Consumer => {
                    let mongodb = Relay::before(running.mongodb.address).await?;
                    environment.extend(environment_of_consumer(running, mongodb.address(), port));
                    to_mongodb.push(mongodb);
                    place - PRODUCERS
                }
            };
            let address = (Ipv4Addr::LOCALHOST, port).into();
            workloads.push(Workload::new(kind, number, address, environment));
            port += 1;
        }
        create_topics(running).await?;
        let kafka = e2e::kafka::Kafka::connect(&running.kafka).await?;
        let names = Source::ALL.map(|source| source.topic().to_owned());
        let found = kafka.topics(&names).await?;
        let id = |source: Source| Ok((source, found.get(source.topic()).context("a topic is missing")?.id));
        let observer: BaseConsumer = client(running).create()?;
        let cluster = tokio::task::block_in_place(|| observer.client().fetch_cluster_id(KAFKA_TIMEOUT));
        Ok(Stage {
            running: running.clone(),
            workloads,
            to_kafka,
            to_postgres,
            to_mongodb,
            cluster: cluster.context("Kafka does not tell its cluster id")?,
            topics: Source::ALL.into_iter().map(id).collect::<Result<_>>()?,
            observer,
        })
    }

    pub(crate) fn producers(&self) -> &[Workload] {
        &self.workloads[..PRODUCERS]
    }

    pub(crate) fn consumers(&self) -> &[Workload] {
        &self.workloads[PRODUCERS..]
    }

    /// Settings of a client that goes past the relays.
    pub(crate) fn kafka(&self) -> ClientConfig {
        client(&self.running)
    }
}

fn client(running: &Running) -> ClientConfig {
    let kafka = &running.kafka;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", list(kafka.brokers.iter()))
        .set("security.protocol", "SASL_PLAINTEXT")
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", &kafka.username)
        .set("sasl.password", &kafka.password);
    config
}

fn list<'a>(addresses: impl Iterator<Item = &'a SocketAddr>) -> String {
    addresses.map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
}

/// As the operator makes them: three copies, of which two must have a message before it is acknowledged.
async fn create_topics(running: &Running) -> Result<()> {
    let admin: Arc<AdminClient<DefaultClientContext>> = Arc::new(client(running).create()?);
    let names: Vec<(String, i32)> = Source::ALL
        .into_iter()
        .flat_map(|source| {
            let topic = source.topic().to_owned();
            [(header::dead_letter_topic(&topic), 1), (topic, PARTITIONS)]
        })
        .collect();
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|(name, partitions)| {
            NewTopic::new(name, *partitions, TopicReplication::Fixed(3)).set("min.insync.replicas", "2")
        })
        .collect();
    let options = AdminOptions::new()
        .operation_timeout(Some(KAFKA_TIMEOUT))
        .request_timeout(Some(KAFKA_TIMEOUT));
    for created in admin.create_topics(&topics, &options).await? {
        created.map_err(|(topic, code)| anyhow::anyhow!("create topic {topic}: {code}"))?;
    }
    Ok(())
}

fn common_environment(running: &Running, postgres: SocketAddr) -> Vec<(&'static str, String)> {
    let kafka = &running.kafka;
    vec![
        (
            env::KAFKA_BROKER_ENDPOINT,
            list(kafka.relayed.iter().map(|broker| &broker.relay)),
        ),
        (env::KAFKA_SECURITY_PROTOCOL, "SASL_PLAINTEXT".to_owned()),
        (env::KAFKA_SASL_MECHANISM, "SCRAM-SHA-512".to_owned()),
        (env::KAFKA_USERNAME, kafka.username.clone()),
        (env::KAFKA_PASSWORD, kafka.password.clone()),
        (env::ENABLED_TOPICS, Source::ALL.map(Source::topic).join(",")),
        (env::TENANT, TENANT.to_owned()),
        (env::POSTGRES_HOST, postgres.ip().to_string()),
        (env::POSTGRES_PORT, postgres.port().to_string()),
        (env::POSTGRES_USERNAME, running.postgres.username.clone()),
        (env::POSTGRES_PASSWORD, running.postgres.password.clone()),
        (env::POSTGRES_SCHEMA, NAME.to_owned()),
        (env::POSTGRES_SYNC_DATABASE, "sync_db".to_owned()),
    ]
}

fn environment_of_producer(port: u16) -> Vec<(&'static str, String)> {
    vec![
        (producer::settings::PORT, port.to_string()),
        (producer::settings::DRAIN_DELAY_MS, "0".to_owned()),
        (env::POSTGRES_DATABASE, "api_insights_db".to_owned()),
    ]
}

fn environment_of_consumer(running: &Running, mongodb: SocketAddr, port: u16) -> Vec<(&'static str, String)> {
    vec![
        (env::HTTP_PORT, port.to_string()),
        (env::KAFKA_CONSUMER_GROUP, NAME.to_owned()),
        (env::MONGODB_HOST, mongodb.ip().to_string()),
        (env::MONGODB_PORT, mongodb.port().to_string()),
        (env::MONGODB_DATABASE, NAME.to_owned()),
        (env::MONGODB_USERNAME, running.mongodb.username.clone()),
        (env::MONGODB_PASSWORD, running.mongodb.password.clone()),
        (env::MONGODB_AUTH_MECHANISM, "PLAIN".to_owned()),
        (env::MONGODB_AUTH_SOURCE, "$external".to_owned()),
        (env::MONGODB_MIN_POOL_SIZE, "0".to_owned()),
        // A pod's limits of time, shortened as far as faults of seconds want it.
        (env::MONGODB_SERVER_SELECTION_TIMEOUT_MS, "3000".to_owned()),
        (env::MONGODB_SOCKET_TIMEOUT_MS, "5000".to_owned()),
    ]
}
