//! What the operator sees of topics and groups of a real Kafka in states that have fooled others:
//! `cargo test -p e2e --test kafka_states`. Three brokers, each of which is killed once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod own_services;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kafka_identity::{Login, Mechanism};
use operator::kafka::offsets::{Company, Kept, Subject};
use operator::kafka::{Clusters, Connection};
use operator::scale::lag::{self, Lag, Partition};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// Longest wait for one answer of a client, and for something to become true.
const ANSWER: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn the_lag_is_right_or_unknown_in_every_odd_state() {
    own_services::with_brokers(3, async |running| every_state(&running.kafka).await);
}

async fn every_state(kafka: &services::Kafka) {
    let room = Room::new(kafka);
    println!("an open transaction holds nothing to read, an aborted one leaves what nobody can read away");
    transactions(&room).await;
    println!("a topic made anew is unread from its start");
    made_anew(&room).await;
    println!("nor does retention of the old one matter to the new one");
    made_anew_after_retention(&room).await;
    println!("partitions that were added are unread from their start");
    grown(&room).await;
    println!("messages that retention has removed are not waited for");
    expired(&room).await;
    println!("a group whose members come and go is seen to rebalance, and its lag stays right");
    storm(&room).await;
    println!("while a broker is away the lag is right or unknown, and known again soon");
    brokers_away(&room).await;
}

struct Room {
    client: ClientConfig,
    admin: AdminClient<DefaultClientContext>,
    clusters: Clusters,
    connection: Connection,
}

impl Room {
    fn new(kafka: &services::Kafka) -> Room {
        let brokers: Vec<String> = kafka.brokers.iter().map(ToString::to_string).collect();
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", brokers.join(","))
            .set("security.protocol", "SASL_PLAINTEXT")
            .set("sasl.mechanism", "SCRAM-SHA-512")
            .set("sasl.username", &kafka.username)
            .set("sasl.password", &kafka.password);
        Room {
            admin: client.create().unwrap(),
            client,
            clusters: Clusters::default(),
            connection: Connection {
                bootstrap_servers: brokers.join(","),
                login: Some(Login::Password {
                    mechanism: Mechanism::ScramSha512,
                    username: kafka.username.clone(),
                    password: kafka.password.clone(),
                }),
                tls: None,
            },
        }
    }

    fn with(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut client = self.client.clone();
        for (name, value) in settings {
            client.set(*name, *value);
        }
        client
    }

    async fn create(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(3)).set("min.insync.replicas", "2");
        // A topic of that name may still be on its way out.
        eventually("the topic is created", async || {
            let created = self.admin.create_topics([&new], &AdminOptions::new()).await.unwrap();
            created[0].is_ok()
        })
        .await;
    }

    async fn send(&self, topic: &str, partition: i32, count: usize) {
        let producer: FutureProducer = self.with(&[("acks", "all")]).create().unwrap();
        for _ in 0..count {
            let record: FutureRecord<'_, (), str> = FutureRecord::to(topic).partition(partition).payload("x");
            producer.send(record, ANSWER).await.map_err(|(error, _)| error).unwrap();
        }
    }

    /// Commits as a reader that is gone again.
    async fn commit(&self, group: &str, topic: &str, partition: i32, next: i64) {
        let consumer: BaseConsumer = self.with(&[("group.id", group)]).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(topic, partition, Offset::Offset(next))
            .unwrap();
        // A coordinator may not know a topic yet that is seconds old.
        eventually("the commit is taken", async || {
            consumer.commit(&offsets, CommitMode::Sync).is_ok()
        })
        .await;
    }

    /// Deletes the records of the first partition before an offset, as retention does.
    async fn delete_until(&self, topic: &str, offset: i64) {
        let mut until = TopicPartitionList::new();
        until.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
        let removed = self.admin.delete_records(&until, &AdminOptions::new()).await.unwrap();
        removed.elements()[0].error().unwrap();
    }

    /// What the operator reads at first.
    async fn read(&self, group: &str, topic: &str, partitions: i32) -> Vec<Partition> {
        self.read_with(group, topic, partitions, &mut Kept::default()).await
    }

    /// What the operator reads, with what it remembers of before.
    async fn read_with(&self, group: &str, topic: &str, partitions: i32, kept: &mut Kept) -> Vec<Partition> {
        let subject = Subject {
            topics: BTreeMap::from([(topic.to_owned(), partitions)]),
            groups: BTreeMap::from([(group.to_owned(), vec![topic.to_owned()])]),
        };
        let Ok(cluster) = self.clusters.get(&self.connection).await else {
            return vec![];
        };
        let reading = cluster.read_offsets(&subject, kept, Company::Alone).await;
        match reading {
            Ok(mut reading) => reading.remove(group).unwrap().remove(topic).unwrap(),
            Err(_) => {
                self.clusters.forget(&self.connection).await;
                vec![]
            }
        }
    }

    async fn lag(&self, group: &str, topic: &str, partitions: i32) -> Lag {
        lag::of_topic(&self.read(group, topic, partitions).await)
    }

    async fn expect(&self, group: &str, topic: &str, partitions: i32, lag: i64) {
        eventually(&format!("{lag} wait in {topic}"), async || {
            self.lag(group, topic, partitions).await == Lag::Known(lag)
        })
        .await;
    }
}

fn send_with(producer: &BaseProducer, topic: &str, partition: i32, count: usize) {
    for _ in 0..count {
        let record: BaseRecord<'_, (), str> = BaseRecord::to(topic).partition(partition).payload("x");
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
}

/// Waits until something is true.
async fn eventually(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_true().await {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn transactions(room: &Room) {
    let (group, topic) = ("transactions", "transactions");
    room.create(topic, 1).await;
    room.commit(group, topic, 0, 0).await;
    let producer: BaseProducer = room.with(&[("transactional.id", topic)]).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();

    producer.begin_transaction().unwrap();
    send_with(&producer, topic, 0, 5);
    producer.flush(ANSWER).unwrap();
    room.expect(group, topic, 1, 0).await;
    producer.abort_transaction(ANSWER).unwrap();
    // The marker is an offset, too.
    room.expect(group, topic, 1, 6).await;

    producer.begin_transaction().unwrap();
    send_with(&producer, topic, 0, 3);
    producer.commit_transaction(ANSWER).unwrap();
    room.expect(group, topic, 1, 10).await;
    room.commit(group, topic, 0, 9).await;
    // All is read, and yet one offset is not: the marker.
    room.expect(group, topic, 1, 1).await;

    producer.begin_transaction().unwrap();
    send_with(&producer, topic, 0, 5);
    producer.flush(ANSWER).unwrap();
    // Who reads what is not committed, too, gets past it.
    let uncommitted = "transactions-uncommitted";
    room.commit(uncommitted, topic, 0, 13).await;
    room.expect(uncommitted, topic, 1, 2).await;
    room.expect(group, topic, 1, 1).await;
    producer.commit_transaction(ANSWER).unwrap();
    room.expect(group, topic, 1, 7).await;
}

async fn made_anew(room: &Room) {
    let (group, topic) = ("made-anew", "made_anew");
    room.create(topic, 1).await;
    room.send(topic, 0, 10).await;
    room.commit(group, topic, 0, 10).await;
    room.expect(group, topic, 1, 0).await;
    let deleted = room.admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
    deleted[0].as_ref().unwrap();
    room.create(topic, 1).await;
    // Fewer than were committed, and more than that: Kafka forgets the commits with the topic, a little later.
    room.send(topic, 0, 4).await;
    room.expect(group, topic, 1, 4).await;
    room.send(topic, 0, 8).await;
    room.expect(group, topic, 1, 12).await;
}

/// What the operator remembers of the topic that is gone must not be taken for what the new one is like.
async fn made_anew_after_retention(room: &Room) {
    let (group, topic) = ("made-anew-short", "made_anew_short");
    room.create(topic, 1).await;
    room.send(topic, 0, 10).await;
    room.commit(group, topic, 0, 10).await;
    room.delete_until(topic, 8).await;
    let mut kept = Kept::default();
    eventually("what is left begins at 8", async || {
        let read = room.read_with(group, topic, 1, &mut Kept::default()).await;
        read.iter().all(|one| one.start == Some(8)) && !read.is_empty()
    })
    .await;
    room.read_with(group, topic, 1, &mut kept).await;
    let deleted = room.admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
    deleted[0].as_ref().unwrap();
    room.create(topic, 1).await;
    room.send(topic, 0, 3).await;
    room.expect(group, topic, 1, 3).await;
    // Whoever remembers the old one sees it at the first look, not when what he remembers is too old.
    let read = room.read_with(group, topic, 1, &mut kept).await;
    assert_eq!(lag::of_topic(&read), Lag::Known(3));
}

async fn grown(room: &Room) {
    let (group, topic) = ("grown", "grown");
    room.create(topic, 2).await;
    for partition in 0..2 {
        room.send(topic, partition, 3).await;
        room.commit(group, topic, partition, 3).await;
    }
    room.expect(group, topic, 2, 0).await;
    let four = NewPartitions::new(topic, 4);
    let created = room
        .admin
        .create_partitions([&four], &AdminOptions::new())
        .await
        .unwrap();
    created[0].as_ref().unwrap();
    room.expect(group, topic, 4, 0).await;
    room.send(topic, 3, 7).await;
    room.expect(group, topic, 4, 7).await;
}

async fn expired(room: &Room) {
    let (group, topic) = ("expired", "expired");
    room.create(topic, 1).await;
    room.send(topic, 0, 10).await;
    room.commit(group, topic, 0, 2).await;
    room.expect(group, topic, 1, 8).await;
    room.delete_until(topic, 7).await;
    room.expect(group, topic, 1, 3).await;
    eventually("five have expired", async || {
        let read = room.read(group, topic, 1).await;
        read.iter().map(lag::expired).sum::<i64>() == 5
    })
    .await;
}

async fn storm(room: &Room) {
    let (group, topic) = ("storm", "storm");
    room.create(topic, 6).await;
    for partition in 0..6 {
        room.send(topic, partition, 5).await;
        room.commit(group, topic, partition, 1).await;
    }
    let is_over = AtomicBool::new(false);
    let client = room.with(&[
        ("group.id", group),
        ("enable.auto.commit", "false"),
        ("session.timeout.ms", "6000"),
        ("heartbeat.interval.ms", "500"),
    ]);
    let cluster = room.clusters.get(&room.connection).await.unwrap();
    let mut rebalances = 0;
    std::thread::scope(|scope| {
        // Also when something below fails: the members end only then.
        let over = Over(&is_over);
        for member in 0..3 {
            let (client, is_over) = (&client, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let consumer: BaseConsumer = client.create().unwrap();
                    consumer.subscribe(&[topic]).unwrap();
                    let stays = Instant::now() + Duration::from_secs(4 + member);
                    while Instant::now() < stays && !is_over.load(Ordering::Relaxed) {
                        let _ = consumer.poll(Duration::from_millis(100));
                    }
                }
            });
        }
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let begun = Instant::now();
                let mut was_rebalancing = false;
                while begun.elapsed() < PATIENCE && rebalances < 3 {
                    right_or_unknown(room.lag(group, topic, 6).await, 24);
                    let groups = cluster.groups(vec![group.to_owned()]).await.unwrap_or_default();
                    let Some(state) = groups.get(group) else { continue };
                    rebalances += i32::from(state.is_rebalancing && !was_rebalancing);
                    was_rebalancing = state.is_rebalancing;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        });
        drop(over);
    });
    assert_eq!(rebalances, 3, "the group was not seen to rebalance again and again");
    room.expect(group, topic, 6, 24).await;
}

/// Ends the members of a group with itself.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A lag may be unknown, and must not be wrong. Whether it is known.
fn right_or_unknown(lag: Lag, truth: i64) -> bool {
    match lag {
        Lag::Known(lag) => assert_eq!(lag, truth),
        Lag::AtLeast(lag) => assert!(lag <= truth, "{lag} at least, where it is {truth}"),
        Lag::Unknown => {}
    }
    matches!(lag, Lag::Known(_))
}

async fn brokers_away(room: &Room) {
    let (group, topic) = ("brokers-away", "brokers_away");
    room.create(topic, 6).await;
    for partition in 0..6 {
        room.send(topic, partition, 10).await;
        room.commit(group, topic, partition, 4).await;
    }
    room.expect(group, topic, 6, 36).await;
    // Whichever of them has the group and leads partitions: in turn all of them.
    for broker in 0..3 {
        services::kafka::kill9(broker).unwrap();
        let mut known = 0;
        let begun = Instant::now();
        while known < 10 {
            known += i32::from(right_or_unknown(room.lag(group, topic, 6).await, 36));
            assert!(
                begun.elapsed() < PATIENCE,
                "the lag did not become known without broker {broker}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!(
            "    without broker {broker} after {:.1} s",
            begun.elapsed().as_secs_f64()
        );
        services::kafka::start(broker).unwrap();
        eventually("all copies are in sync again", async || {
            let metadata = room.admin.inner().fetch_metadata(None, ANSWER);
            metadata.is_ok_and(|metadata| {
                let mut partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
                metadata.brokers().len() == 3 && partitions.all(|partition| partition.isr().len() == 3)
            })
        })
        .await;
    }
}
