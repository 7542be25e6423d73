//! The whole producer, from start to graceful end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use contract::{SyncResponse, env};
use producer::{Settings, run, serve::RunError};
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use reqwest::{Client, StatusCode};
use runtime::env::Env;
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    time::{Duration, Instant},
};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

struct Running {
    base: String,
    client: Client,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), RunError>>,
}

fn start(brokers: &str, drain_delay: Duration) -> Running {
    let port = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let mut settings = Settings::from_env(&Env::from_pairs([
        (env::KAFKA_BROKER_ENDPOINT, brokers),
        (env::ENABLED_TOPICS, "sms_batched"),
    ]))
    .unwrap();
    settings.port = port;
    settings.drain_delay = drain_delay;
    let stop = CancellationToken::new();
    Running {
        base: format!("http://127.0.0.1:{port}"),
        client: Client::new(),
        ended: tokio::spawn(run(settings, stop.clone())),
        stop,
    }
}

impl Running {
    /// Status and body of `/ready`, once the server answers.
    async fn ready(&self) -> (StatusCode, Value) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match self.client.get(format!("{}/ready", self.base)).send().await {
                Ok(answer) => return (answer.status(), answer.json().await.unwrap()),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let (status, body) = self.ready().await;
            if status == StatusCode::OK {
                return;
            }
            assert!(Instant::now() < deadline, "{body}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn upload(&self) -> impl Future<Output = reqwest::Result<reqwest::Response>> + Send + use<> {
        let body = json!({
            "user": "u",
            "device": "d",
            "records": [{"timestamp": 0, "sender": "BANK", "body": "debited"}],
        });
        self.client
            .post(format!("{}/v1/sync/sms", self.base))
            .json(&body)
            .send()
    }
}

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("sms_batched", 4, 1).unwrap();
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_under_way_is_answered_before_the_end() {
    let cluster = cluster();
    let running = start(&cluster.bootstrap_servers(), Duration::from_millis(300));
    running.until_ready().await;
    assert_eq!(running.upload().await.unwrap().status(), StatusCode::OK);

    cluster.broker_round_trip_time(1, Duration::from_secs(2)).unwrap();
    let under_way = tokio::spawn(running.upload());
    sleep(Duration::from_millis(200)).await;
    running.stop.cancel();
    sleep(Duration::from_millis(50)).await;
    let (status, body) = running.ready().await;
    assert_eq!(
        (status, &body["draining"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!(true))
    );

    let answer = under_way.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: SyncResponse = answer.json().await.unwrap();
    assert_eq!(answer.receipts().count(), 1);
    let after_the_end = running.upload();
    running.ended.await.unwrap().unwrap();
    assert!(after_the_end.await.is_err(), "the port is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_it_listens_and_is_not_ready() {
    let running = start("127.0.0.1:1", Duration::ZERO);
    let (status, body) = running.ready().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["notReady"][0]["part"], "kafka");
    let answer = running.upload().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "5");
    running.stop.cancel();
    running.ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cannot_go_on_ends_the_process_with_an_error() {
    let cluster = cluster();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refused; 10]);
    let running = start(&cluster.bootstrap_servers(), Duration::ZERO);
    let error = running.ended.await.unwrap().unwrap_err();
    assert!(matches!(error, RunError::Kafka(_)), "{error}");
}
