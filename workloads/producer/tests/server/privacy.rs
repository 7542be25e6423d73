//! What clients send is theirs: none of it is in what the process writes down, whatever is wrong with it.

use crate::child::Producer;
use contract::{env, http::IDEMPOTENCY_KEY, message::MAX_BODY};
use flate2::{Compression, write::GzEncoder};
use rdkafka::mocking::MockCluster;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::{collections::BTreeSet, io::Write, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// What must not be found anywhere.
const PLANTED: [&str; 10] = [
    "Kunigunde Mustermann",
    "+49 170 5550142",
    "Your code is 905-117",
    "user-kunigunde-71",
    "device-imei-3520990017",
    "PLANTED-BANK",
    "planted-idempotency-key",
    "planted-header-value",
    "planted-path-segment",
    "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90",
];
const API_KEY: &str = "spk_0123456789abcdef_a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";

fn sms() -> Value {
    json!({"id": "device-imei-3520990017", "timestamp": 0, "sender": "PLANTED-BANK", "body": "Your code is 905-117"})
}

fn contact() -> Value {
    json!({"id": "1", "timestamp": 0, "name": "Kunigunde Mustermann", "phones": ["+49 170 5550142"]})
}

fn upload(records: Value) -> Value {
    json!({"user": "user-kunigunde-71", "device": "device-imei-3520990017", "records": records})
}

/// Bodies with what may be wrong with one.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let text = |value: Value| value.to_string().into_bytes();
    let good = || text(upload(json!([sms(), sms()])));
    let mut bodies = vec![
        ("sms", good()),
        ("contacts", text(upload(json!([contact()])))),
        ("sms", text(upload(json!([sms(), contact()])))),
        // Fields that are missing, of another type, or not known.
        (
            "sms",
            text(upload(
                json!([{"timestamp": "Kunigunde Mustermann", "sender": 1, "body": ["Your code is 905-117"]}]),
            )),
        ),
        ("sms", text(upload(json!([contact(), "Kunigunde Mustermann", 5_i64])))),
        (
            "contacts",
            text(upload(
                json!([{"timestamp": 0, "name": "Kunigunde Mustermann", "phones": "+49 170 5550142"}]),
            )),
        ),
        (
            "events",
            text(upload(
                json!([{"id": {"Kunigunde Mustermann": 1}, "timestamp": -1, "name": "\0"}]),
            )),
        ),
        (
            "sms",
            text(json!({"user": ["user-kunigunde-71"], "device": "device-imei-3520990017", "records": [sms()]})),
        ),
        (
            "sms",
            text(json!({"user": "user-kunigunde-71", "device": "\0Kunigunde Mustermann", "records": [sms()]})),
        ),
        (
            "sms",
            text(json!({"user": "user-kunigunde-71", "device": "d", "Kunigunde Mustermann": 1, "records": [sms()]})),
        ),
        (
            "sms",
            text(
                json!({"user": "user-kunigunde-71", "device": "d", "batchId": "Kunigunde Mustermann", "record": sms()}),
            ),
        ),
        ("sms", text(json!("Kunigunde Mustermann"))),
        ("sms", text(upload(json!("Kunigunde Mustermann")))),
        // Larger than is taken, larger than Kafka takes, and no UTF-8.
        ("sms", text(upload(json!(vec![sms(); MAX_BODY / 50])))),
        ("sms", {
            let long = "Kunigunde Mustermann ".repeat(49_000);
            text(upload(
                json!([{"timestamp": 0, "sender": "PLANTED-BANK", "body": long}]),
            ))
        }),
        ("sms", [good(), b"\xff\xfe".to_vec()].concat()),
        ("planted-path-segment", good()),
    ];
    // Cut off at several places.
    for part in 1..8 {
        let good = good();
        bodies.push(("sms", good[..good.len() * part / 8].to_vec()));
    }
    bodies
}

/// The request as it is, packed, said to be packed, and with whatever else a client may send along.
fn requests(client: &Client, producer: &Producer, source: &str, body: &[u8]) -> Vec<RequestBuilder> {
    let request = |kind: &str| {
        client
            .post(producer.url(&format!("/v1/sync/{source}?phone=planted-path-segment")))
            .header("content-type", kind)
            .header("user-agent", "planted-header-value")
            .header("x-device", "planted-header-value")
    };
    let json = || request("application/json");
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(body).unwrap();
    vec![
        json().body(body.to_vec()),
        json().header("content-encoding", "gzip").body(packed.finish().unwrap()),
        json().header("content-encoding", "zstd").body(body.to_vec()),
        json()
            .header("content-encoding", "planted-header-value")
            .body(body.to_vec()),
        request("text/planted-header-value").body(body.to_vec()),
        json().bearer_auth(API_KEY).body(body.to_vec()),
        json()
            .header(IDEMPOTENCY_KEY, "planted-idempotency-key")
            .body(body.to_vec()),
        json()
            .header(IDEMPOTENCY_KEY, "planted-idempotency-key planted-header-value")
            .body(body.to_vec()),
    ]
}

/// Requests that no client library would send.
async fn send_raw(producer: &Producer) {
    let key = API_KEY;
    for text in [
        format!(
            "POST /v1/sync/sms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nX-Name: Kunigunde Mustermann\r\n"
        ),
        format!("POST /v1/sync/sms HTTP/1.1\r\nHost: x\r\nKunigunde Mustermann: {key}\r\n\r\n"),
        format!(
            "KUNIGUNDE /planted-path-segment/%ff HTTP/1.1\r\nHost: planted-header-value\r\nAuthorization: {key}\r\n\r\n"
        ),
        "Kunigunde Mustermann +49 170 5550142\r\n\r\n".to_owned(),
        "POST /v1/sync/sms HTTP/1.1\r\nHost: x\r\nContent-Length: planted-header-value\r\n\r\n".to_owned(),
        "POST /v1/sync/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
         Kunigunde Mustermann\r\nYour code is 905-117"
            .to_owned(),
        "POST /v1/sync/sms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n\
         {\"user\": \"user-kunigunde-71\""
            .to_owned(),
        format!(
            "GET /{} HTTP/1.1\r\nHost: x\r\n\r\n",
            "planted-path-segment".repeat(9_000)
        ),
    ] {
        let mut stream = TcpStream::connect(producer.address()).await.unwrap();
        // A server that closes early may do so before all is sent.
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(Duration::from_secs(30), stream.read_to_end(&mut answer))
            .await
            .unwrap();
    }
}

async fn send_everything(client: &Client, producer: &Producer) -> BTreeSet<StatusCode> {
    let mut statuses = BTreeSet::new();
    for (source, body) in bodies() {
        for request in requests(client, producer, source, &body) {
            statuses.insert(request.send().await.unwrap().status());
        }
    }
    for path in [
        "/v1/receipts/planted-path-segment/0/0",
        "/v1/receipts/sms_batched/planted-path-segment/0",
        "/v1/receipts/sms_batched/0/0",
        "/v1/reconciliation?hours=planted-path-segment",
        "/v1/reconciliation",
        "/planted-path-segment",
    ] {
        let request = client.get(producer.url(path)).bearer_auth(API_KEY);
        statuses.insert(request.send().await.unwrap().status());
    }
    send_raw(producer).await;
    statuses
}

/// Sends all of it to a producer with these settings and ends it; its answers, and all that it wrote.
async fn told_by(brokers: &str, changes: &[(&str, &str)]) -> (BTreeSet<StatusCode>, String) {
    let producer = Producer::start(brokers, changes);
    let client = Client::new();
    producer.until(&client, "/healthz").await;
    if brokers != NO_KAFKA {
        producer.until(&client, "/ready").await;
    }
    let statuses = send_everything(&client, &producer).await;
    let metrics = client
        .get(producer.url("/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("syncpipeline_http_requests_total"), "{metrics}");
    let written = producer.end();
    assert!(written.contains("\"message\":\"shut down\""), "{written}");
    (statuses, format!("{written}\n{metrics}"))
}

const NO_KAFKA: &str = "127.0.0.1:1";

fn assert_nothing_planted(told: &str) {
    for line in told.lines() {
        for planted in PLANTED {
            assert!(
                !line.to_lowercase().contains(&planted.to_lowercase()),
                "{planted:?} is in {line}"
            );
        }
        assert!(!line.contains(API_KEY), "the API key is in {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_sends_is_written_down() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["sms_batched", "contacts_batched", "events_log"] {
        cluster.create_topic(topic, 4, 1).unwrap();
    }
    let brokers = cluster.bootstrap_servers();
    // A PostgreSQL that is away, so that keys and repeats are refused with all that is said about it.
    let away = [
        (env::POSTGRES_HOST, "127.0.0.1"),
        (env::POSTGRES_PORT, "1"),
        (env::POSTGRES_USERNAME, "u"),
        (env::POSTGRES_PASSWORD, "planted-header-value"),
        (env::POSTGRES_DATABASE, "api_insights_db"),
        (env::POSTGRES_SYNC_DATABASE, "sync_db"),
    ];
    let with_keys = [&away[..], &[(env::API_KEYS, "Required")]].concat();
    let ours = [("RUST_LOG", "info,producer=debug,runtime=debug")];

    let (statuses, told) = told_by(&brokers, &ours).await;
    for status in [200, 207, 400, 404, 413, 415] {
        assert!(
            statuses.contains(&StatusCode::from_u16(status).unwrap()),
            "{status}: {statuses:?}"
        );
    }
    assert_nothing_planted(&told);
    let (statuses, told) = told_by(&brokers, &[&away[..], &ours].concat()).await;
    assert!(statuses.contains(&StatusCode::SERVICE_UNAVAILABLE), "{statuses:?}");
    assert_nothing_planted(&told);
    let (statuses, told) = told_by(&brokers, &[&with_keys[..], &ours].concat()).await;
    assert!(statuses.contains(&StatusCode::UNAUTHORIZED), "{statuses:?}");
    assert_nothing_planted(&told);
    // As it is deployed, and with nowhere to put the records.
    let (statuses, told) = told_by(NO_KAFKA, &[]).await;
    assert!(statuses.contains(&StatusCode::SERVICE_UNAVAILABLE), "{statuses:?}");
    assert_nothing_planted(&told);
}
