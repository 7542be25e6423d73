//! The real Kafka client against the protocol-level broker that librdkafka brings along for tests.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use contract::env;
use futures::future::join_all;
use producer::{
    Settings,
    kafka::{
        CheckError, Kafka, MessageLog, Outcome, WriteError,
        ends::{Extent, Extents},
    },
};
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use runtime::env::Env;
use std::time::{Duration, Instant};

const TOPIC: &str = "sms_batched";

fn settings(brokers: &str) -> Settings {
    let mut settings = Settings::from_env(&Env::from_pairs([
        (env::KAFKA_BROKER_ENDPOINT, brokers),
        (env::ENABLED_TOPICS, TOPIC),
    ]))
    .unwrap();
    settings.delivery_timeout = Duration::from_secs(1);
    settings
}

/// What becomes of one message.
async fn write(kafka: &Kafka, message: &[u8]) -> Outcome {
    kafka.write(TOPIC, "u", vec![message.to_vec()]).await.remove(0)
}

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    MockCluster::new(1).unwrap()
}

/// A client that has seen the cluster.
fn ready(cluster: &MockCluster<'_, DefaultProducerContext>, change: impl FnOnce(&mut Settings)) -> Kafka {
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let mut settings = settings(&cluster.bootstrap_servers());
    change(&mut settings);
    let kafka = Kafka::new(&settings).unwrap();
    assert_eq!(kafka.check(), Ok(()));
    kafka
}

#[tokio::test]
async fn acknowledged_messages_have_their_positions_in_order() {
    let cluster = cluster();
    let kafka = ready(&cluster, |_| {});
    let outcomes = kafka.write(TOPIC, "u", vec![b"a".to_vec(), b"b".to_vec()]).await;
    let places: Vec<(bool, i32, i64)> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap())
        .map(|position| (position.cluster.is_empty(), position.partition, position.offset))
        .collect();
    assert_eq!(places, [(false, 0, 0), (false, 0, 1)]);
    assert_eq!(kafka.flush(Duration::from_secs(1)), 0);
}

#[tokio::test]
async fn a_missing_topic_is_named_and_not_created() {
    let cluster = cluster();
    let kafka = Kafka::new(&settings(&cluster.bootstrap_servers())).unwrap();
    for _ in 0..2 {
        assert_eq!(
            kafka.check(),
            Err(CheckError::NotReady("topic sms_batched does not exist".to_owned()))
        );
    }
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    assert_eq!(kafka.check(), Ok(()));
}

#[tokio::test]
async fn nothing_is_queued_before_kafka_was_reached() {
    let kafka = Kafka::new(&settings("127.0.0.1:1")).unwrap();
    let Err(CheckError::NotReady(reason)) = kafka.check() else {
        panic!("ready without Kafka")
    };
    assert!(reason.contains("Connection refused"), "{reason}");
    let started = Instant::now();
    let error = write(&kafka, b"a").await.unwrap_err();
    assert!(matches!(error, WriteError::Unavailable(_)), "{error}");
    assert!(
        started.elapsed() < Duration::from_millis(500),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn extents_are_told_as_far_as_brokers_tell_them() {
    let cluster = cluster();
    let kafka = Kafka::new(&settings(&cluster.bootstrap_servers())).unwrap();
    assert_eq!((kafka.partitions(TOPIC), Extents::cluster(&kafka)), (None, None));
    cluster.create_topic(TOPIC, 3, 1).unwrap();
    assert_eq!(kafka.check(), Ok(()));
    assert_eq!(kafka.partitions(TOPIC), Some(3));
    let position = write(&kafka, b"a").await.unwrap();
    assert_eq!(Extents::cluster(&kafka), Some(position.cluster));

    let wanted: Vec<(String, i32)> = (0..3).map(|number| (TOPIC.to_owned(), number)).collect();
    let told = kafka.extents(wanted.clone()).await;
    for partition in &wanted {
        let end = i64::from(partition.1 == position.partition);
        assert_eq!(told.get(partition), Some(&Extent { start: 0, end }), "{partition:?}");
    }

    cluster.broker_down(1).unwrap();
    let started = Instant::now();
    assert_eq!(kafka.extents(wanted).await, Default::default());
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_topic_without_any_leader_is_not_ready_and_one_with_some_is() {
    let cluster = cluster();
    cluster.create_topic(TOPIC, 2, 1).unwrap();
    let kafka = Kafka::new(&settings(&cluster.bootstrap_servers())).unwrap();
    cluster.partition_leader(TOPIC, 0, None).unwrap();
    assert_eq!(kafka.check(), Ok(()), "others can be written to");
    cluster.partition_leader(TOPIC, 1, None).unwrap();
    let reason = "topic sms_batched: none of its partitions has a leader".to_owned();
    assert_eq!(kafka.check(), Err(CheckError::NotReady(reason)));
    cluster.partition_leader(TOPIC, 0, Some(1)).unwrap();
    assert_eq!(kafka.check(), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_for_extents_are_answered_within_the_bound() {
    let cluster = cluster();
    let kafka = ready(&cluster, |_| {});
    cluster.broker_down(1).unwrap();
    let started = Instant::now();
    let asked = (0..100).map(|_| kafka.extents(vec![(TOPIC.to_owned(), 0)]));
    assert!(join_all(asked).await.iter().all(|told| told.is_empty()));
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_broker_that_goes_away_ends_the_wait_within_the_bound() {
    let cluster = cluster();
    let kafka = ready(&cluster, |_| {});
    cluster.broker_down(1).unwrap();
    let started = Instant::now();
    let error = write(&kafka, b"a").await.unwrap_err();
    assert!(matches!(error, WriteError::Unavailable(_)), "{error}");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert!(matches!(kafka.check(), Err(CheckError::NotReady(_))));

    cluster.broker_up(1).unwrap();
    assert_eq!(kafka.check(), Ok(()));
    write(&kafka, b"b").await.unwrap();
}

#[tokio::test]
async fn a_full_queue_is_told_at_once() {
    let cluster = cluster();
    let kafka = ready(&cluster, |settings| settings.queue_kbytes = 8);
    cluster.broker_down(1).unwrap();
    let started = Instant::now();
    let (filling, at_once) = tokio::join!(kafka.write(TOPIC, "u", vec![vec![0; 4096]; 8]), async {
        let outcome = write(&kafka, b"a").await;
        (outcome, started.elapsed())
    });
    let full: Vec<bool> = filling
        .iter()
        .map(|outcome| *outcome == Err(WriteError::QueueFull))
        .collect();
    assert!(full.is_sorted(), "nothing overtakes what has no room: {full:?}");
    assert_eq!((full[0], full[7]), (false, true));
    assert!(
        matches!(filling[0], Err(WriteError::Unavailable(_))),
        "{:?}",
        filling[0]
    );
    let (outcome, after) = at_once;
    assert_eq!(outcome, Err(WriteError::QueueFull));
    assert!(after < Duration::from_millis(500), "{after:?}");
}

#[tokio::test]
async fn a_message_too_large_for_client_or_broker_says_so() {
    let cluster = cluster();
    let kafka = ready(&cluster, |_| {});
    assert_eq!(write(&kafka, &[0; 1_000_001]).await, Err(WriteError::TooLarge));
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE],
    );
    assert_eq!(write(&kafka, b"a").await, Err(WriteError::TooLarge));
}

#[tokio::test]
async fn an_acknowledgement_without_an_offset_is_no_receipt() {
    let cluster = cluster();
    let kafka = ready(&cluster, |_| {});
    let ten = vec![b"a".to_vec(); 10];
    assert!(kafka.write(TOPIC, "u", ten).await.iter().all(Result::is_ok));
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER],
    );
    let outcomes = kafka.write(TOPIC, "u", vec![b"b".to_vec(); 3]).await;
    for outcome in &outcomes {
        assert!(matches!(outcome, Err(WriteError::Unavailable(_))), "{outcome:?}");
    }
    // What comes later is told by its own offset again.
    assert_eq!(kafka.check(), Ok(()));
    assert!(write(&kafka, b"c").await.unwrap().offset >= 10);
}

#[tokio::test]
async fn a_client_that_cannot_go_on_is_fatal() {
    let cluster = cluster();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refused; 10]);
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let kafka = Kafka::new(&settings(&cluster.bootstrap_servers())).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !matches!(kafka.check(), Err(CheckError::Fatal(_))) {
        assert!(Instant::now() < deadline, "not fatal after 10 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
