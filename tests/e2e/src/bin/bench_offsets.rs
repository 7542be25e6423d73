//! How long the operator takes to read what many groups have read of many partitions, from a real Kafka of one broker.
//!
//! `cargo xtask bench offsets` builds what this program needs; it starts a broker of its own.

use anyhow::{Context, Result, anyhow, ensure};
use benches::figures::{Bound, Figures};
use benches::own_services;
use clap::Parser;
use host::progress::Progress;
use kafka_identity::{Login, Mechanism};
use operator::kafka::offsets::{Company, Kept, Subject};
use operator::kafka::{Clusters, Connection};
use operator::scale::lag::{self, Lag};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The most that a reading may take, in seconds.
const MOST: f64 = 1.0;
/// Topics, each with a group of its own, and the partitions of each.
const GROUPS: usize = 200;
const QUICK_GROUPS: usize = 10;
const PARTITIONS: i32 = 50;
/// Readings that are measured.
const READINGS: usize = 20;
/// Topics that are created with one request.
const AT_ONCE: usize = 10;
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(120);

/// Measures how long a reading of all offsets takes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Fewer groups
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let groups = if arguments.quick { QUICK_GROUPS } else { GROUPS };
    own_services::bench("offsets", 1, async |running, progress| {
        let (mut times, partitions, groups) = measure(&running.kafka, groups, progress).await?;
        times.sort_by(f64::total_cmp);
        let mut figures = Figures::new("offsets");
        let what = format!("a reading of {partitions} partitions of {groups} groups");
        let half = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
        let most = times.last().copied().unwrap_or(f64::NAN);
        figures.add(format!("{what}, p50"), half, "s", Bound::AtMost(MOST));
        figures.add(format!("{what}, longest"), most, "s", Bound::AtMost(MOST));
        Ok(figures)
    })
}

/// Seconds of each reading, and how many partitions and groups were read.
async fn measure(kafka: &services::Kafka, groups: usize, progress: &Progress) -> Result<(Vec<f64>, usize, usize)> {
    let broker = kafka.brokers.first().context("there is no broker")?.to_string();
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &broker)
        .set("security.protocol", "SASL_PLAINTEXT")
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", &kafka.username)
        .set("sasl.password", &kafka.password);
    let names: Vec<String> = (0..groups).map(|number| format!("offsets-{number}")).collect();
    create(&client, &names, progress).await?;
    commit(&client, &names, progress)?;
    // A group that has read everything need not be asked.
    send(&client, &names, progress)?;

    let subject = Subject {
        topics: names.iter().map(|name| (name.clone(), PARTITIONS)).collect(),
        groups: names.iter().map(|name| (name.clone(), vec![name.clone()])).collect(),
    };
    let connection = Connection {
        bootstrap_servers: broker,
        login: Some(Login::Password {
            mechanism: Mechanism::ScramSha512,
            username: kafka.username.clone(),
            password: kafka.password.clone(),
        }),
        tls: None,
    };
    let clusters = Clusters::default();
    let cluster = clusters.get(&connection).await?;
    let mut kept = Kept::default();
    let mut times = vec![];
    let step = progress.step("readings");
    for reading in 0..=READINGS {
        let begun = Instant::now();
        let read = cluster.read_offsets(&subject, &mut kept, Company::Alone).await?;
        let took = begun.elapsed().as_secs_f64();
        check(&read, groups)?;
        // The first one also reads where the partitions begin, as is done twice a minute.
        step.update(&format!("{reading} of {READINGS}: {took:.3} s"));
        times.push(took);
    }
    step.done("");
    Ok((times, groups * usize::try_from(PARTITIONS)?, groups))
}

/// Everything is known, and what waits is what was left.
fn check(read: &operator::kafka::offsets::Reading, groups: usize) -> Result<()> {
    ensure!(read.len() == groups, "{} groups were read", read.len());
    for (group, topics) in read {
        for partitions in topics.values() {
            let lag = lag::of_topic(partitions);
            let wanted = Lag::Known(i64::from(PARTITIONS));
            ensure!(lag == wanted, "the lag of {group} is {lag:?}");
        }
    }
    Ok(())
}

async fn create(client: &ClientConfig, names: &[String], progress: &Progress) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = client.create()?;
    let step = progress.step("topics");
    for (number, some) in names.chunks(AT_ONCE).enumerate() {
        let topics = some
            .iter()
            .map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1)));
        let topics: Vec<NewTopic<'_>> = topics.collect();
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER))
            .operation_timeout(Some(ANSWER));
        for created in admin.create_topics(&topics, &options).await? {
            created.map_err(|(topic, code)| anyhow!("create {topic}: {code}"))?;
        }
        step.update(&format!("{} of {}", (number + 1) * AT_ONCE, names.len()));
    }
    step.done("");
    Ok(())
}

/// A committed offset on each partition.
fn commit(client: &ClientConfig, names: &[String], progress: &Progress) -> Result<()> {
    let step = progress.step("commits");
    for (number, name) in names.iter().enumerate() {
        let mut client = client.clone();
        let consumer: BaseConsumer = client.set("group.id", name).create()?;
        let mut offsets = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            offsets.add_partition_offset(name, partition, Offset::Offset(0))?;
        }
        // A coordinator may not know its group yet, while the broker is still busy with the topics.
        let begun = Instant::now();
        while let Err(error) = consumer.commit(&offsets, CommitMode::Sync) {
            if begun.elapsed() > ANSWER {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        step.update(&format!("{} of {}", number + 1, names.len()));
    }
    step.done("");
    Ok(())
}

/// A message in each partition.
fn send(client: &ClientConfig, names: &[String], progress: &Progress) -> Result<()> {
    let step = progress.step("messages");
    let producer: BaseProducer = client.clone().set("acks", "all").create()?;
    for name in names {
        for partition in 0..PARTITIONS {
            let record: BaseRecord<'_, (), str> = BaseRecord::to(name).partition(partition).payload("x");
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(ANSWER)?;
    step.done("");
    Ok(())
}
