//! Every answer of the API, over a Kafka that answers as the test says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use actix_web::{
    App,
    body::MessageBody,
    http::{StatusCode, header},
    test,
    web::Data,
};
use contract::{Envelope, Receipt, Source, SyncResponse, identity::record_id, message::MAX_BODY};
use flate2::{Compression, write::GzEncoder};
use futures::{FutureExt, future::BoxFuture};
use producer::{
    api::{Producer, routes},
    intake::Intake,
    kafka::{MessageLog, Outcome, Position, WriteError},
    metrics::ProducerMetrics,
    openapi,
    topics::Topics,
};
use serde_json::{Value, json};
use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Keeps what is written and answers as the test says; each message gets the next offset of partition 3.
struct Scripted {
    /// What becomes of the messages of a write; of those past its end what becomes of the last.
    outcomes: Vec<Result<(), WriteError>>,
    written: Mutex<Vec<(String, String, Vec<u8>)>>,
}

impl MessageLog for Scripted {
    fn write<'a>(&'a self, topic: &'a str, key: &'a str, messages: Vec<Vec<u8>>) -> BoxFuture<'a, Vec<Outcome>> {
        let last = self.outcomes.last().unwrap();
        let outcomes = (0..messages.len())
            .map(|number| {
                self.outcomes.get(number).unwrap_or(last).clone().map(|()| Position {
                    cluster: "cluster-1".into(),
                    partition: 3,
                    offset: number as i64,
                })
            })
            .collect();
        let messages = messages
            .into_iter()
            .map(|message| (topic.to_owned(), key.to_owned(), message));
        self.written.lock().unwrap().extend(messages);
        async move { outcomes }.boxed()
    }
}

struct Api {
    log: Arc<Scripted>,
    intake: Intake,
}

impl Api {
    /// Over a Kafka that acknowledges everything.
    fn new() -> Api {
        Api::over([Ok(())])
    }

    fn over(outcomes: impl Into<Vec<Result<(), WriteError>>>) -> Api {
        Api {
            log: Arc::new(Scripted {
                outcomes: outcomes.into(),
                written: Mutex::default(),
            }),
            intake: Intake::default(),
        }
    }

    async fn call(&self, request: test::TestRequest) -> Answer {
        let enabled = ["sms_batched", "events_log"].map(str::to_owned).to_vec();
        let producer = Data::new(Producer {
            topics: Topics::new(enabled, "", Some("India".to_owned())).unwrap(),
            tenant: "default".to_owned(),
            intake: self.intake.clone(),
            log: self.log.clone(),
            metrics: ProducerMetrics::register().unwrap(),
        });
        let app = test::init_service(App::new().configure(routes(producer))).await;
        let answer = test::call_service(&app, request.to_request()).await;
        let retry_after = answer
            .headers()
            .get(header::RETRY_AFTER)
            .map(|value| value.to_str().unwrap().to_owned());
        let status = answer.status();
        let body = answer.into_body().try_into_bytes().unwrap();
        Answer {
            status,
            retry_after,
            body: serde_json::from_slice(&body).unwrap(),
        }
    }

    async fn post(&self, source: &str, body: impl Into<String>) -> Answer {
        self.call(upload(source).set_payload(body.into())).await
    }

    fn messages(&self) -> Vec<(String, String, Vec<u8>)> {
        self.log.written.lock().unwrap().clone()
    }
}

struct Answer {
    status: StatusCode,
    retry_after: Option<String>,
    body: Value,
}

impl Answer {
    fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap()
    }

    /// Of each record.
    fn statuses(&self) -> Vec<&str> {
        let results = self.body["results"].as_array().unwrap();
        results
            .iter()
            .map(|result| result["status"].as_str().unwrap())
            .collect()
    }
}

fn upload(source: &str) -> test::TestRequest {
    test::TestRequest::post()
        .uri(&format!("/v1/sync/{source}"))
        .insert_header((header::CONTENT_TYPE, "application/json"))
}

fn sms(id: &str) -> Value {
    json!({"id": id, "timestamp": 0, "sender": "BANK", "body": "debited"})
}

fn event(id: u32) -> Value {
    json!({"id": id, "timestamp": 0, "name": "app_open"})
}

fn body(records: &[Value]) -> String {
    json!({"user": "u-1", "device": "d-1", "records": records}).to_string()
}

fn gzip(plain: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(plain: &str) -> Vec<u8> {
    zstd::encode_all(plain.as_bytes(), 3).unwrap()
}

#[actix_web::test]
async fn an_upload_is_one_message_keyed_by_user_and_a_receipt_for_each_record() {
    let api = Api::new();
    let answer = api.post("sms", body(&[sms("1"), sms("2")])).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer: SyncResponse = serde_json::from_value(answer.body).unwrap();
    let receipts: Vec<&Receipt> = answer.receipts().collect();
    let places: Vec<_> = receipts.iter().map(|receipt| (receipt.offset, receipt.index)).collect();
    assert_eq!(places, [(0, 0), (0, 1)]);
    assert_eq!(receipts[1].cluster, "cluster-1");
    assert_eq!(receipts[1].topic, "sms_batched");
    assert_eq!(receipts[1].partition, 3);
    assert_eq!(
        receipts[1].record_id,
        record_id("default", Source::Sms, "u-1", "d-1", &sms("2"))
    );

    let messages = api.messages();
    let [(topic, key, message)] = messages.as_slice() else {
        panic!("{} messages", messages.len())
    };
    assert_eq!((topic.as_str(), key.as_str()), ("sms_batched", "u-1"));
    let envelope = Envelope::decode(message).unwrap();
    assert_eq!(envelope.batch_id, answer.batch_id);
    assert_eq!(envelope.records, [sms("1"), sms("2")]);
}

#[actix_web::test]
async fn events_are_a_message_each() {
    let api = Api::new();
    let answer = api.post("events", body(&[event(1), event(2)])).await;
    let answer: SyncResponse = serde_json::from_value(answer.body).unwrap();
    let receipts: Vec<_> = answer
        .receipts()
        .map(|receipt| (receipt.offset, receipt.index))
        .collect();
    assert_eq!(receipts, [(0, 0), (1, 0)]);
    assert_eq!(api.messages().len(), 2);
    assert_eq!(Envelope::decode(&api.messages()[1].2).unwrap().records, [event(2)]);
}

#[actix_web::test]
async fn a_single_record_needs_no_array() {
    let api = Api::new();
    let body = json!({"user": "u-1", "device": "d-1", "record": sms("1")});
    let answer = api.post("sms", body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.statuses(), ["stored"]);
    assert_eq!(Envelope::decode(&api.messages()[0].2).unwrap().records, [sms("1")]);
}

#[actix_web::test]
async fn a_bad_record_does_not_keep_the_good_ones_back() {
    let api = Api::new();
    let mut bad = sms("2");
    bad["timestamp"] = json!("yesterday");
    let answer = api.post("sms", body(&[sms("1"), bad, sms("3")])).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS);
    assert_eq!(answer.retry_after, None);
    assert_eq!(answer.statuses(), ["stored", "invalid", "stored"]);
    assert_eq!(
        answer.body["results"][1],
        json!({
            "status": "invalid",
            "field": "records[1].timestamp",
            "problem": "must be RFC 3339 text or milliseconds since 1970, between 1970 and 9999",
        })
    );
    // The place in the message, by which dead letters name it, and not the one in the request.
    assert_eq!(answer.body["results"][2]["receipt"]["index"], 1);
    assert_eq!(
        Envelope::decode(&api.messages()[0].2).unwrap().records,
        [sms("1"), sms("3")]
    );
}

#[actix_web::test]
async fn an_upload_of_bad_records_only_is_400_and_lists_each() {
    let api = Api::new();
    let answer = api.post("sms", body(&[json!(7), json!({"timestamp": 0})])).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.body["results"],
        json!([
            {"status": "invalid", "field": "records[0]", "problem": "a record is a JSON object"},
            {"status": "invalid", "field": "records[1].sender", "problem": "is missing"},
        ])
    );
    assert!(api.messages().is_empty());
}

#[actix_web::test]
async fn what_is_wrong_with_the_upload_itself_is_one_refusal() {
    let api = Api::new();
    let unknown = json!({"user": "u", "device": "d", "records": [sms("1")], "extra": 1});
    let answer = api.post("sms", unknown.to_string()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.body,
        json!({"error": {
            "code": "invalid_field",
            "message": "extra: is not known; the fields are user, device, batchId, and records or record",
            "field": "extra",
        }})
    );
    let answer = api.post("sms", "{").await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::BAD_REQUEST, "malformed_json")
    );
    assert!(api.messages().is_empty(), "nothing of a refused upload is written");
}

#[actix_web::test]
async fn only_json_in_utf8_and_a_known_encoding_is_read() {
    let api = Api::new();
    let typed = |content_type: &str| {
        let request = test::TestRequest::post()
            .uri("/v1/sync/sms")
            .set_payload(body(&[sms("1")]));
        request.insert_header((header::CONTENT_TYPE, content_type))
    };
    for good in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON; charset=UTF-8",
    ] {
        assert_eq!(api.call(typed(good)).await.status, StatusCode::OK, "{good}");
    }
    for bad in [
        "text/plain",
        "application/x-ndjson",
        "application/json; charset=latin1",
        "nonsense",
    ] {
        let answer = api.call(typed(bad)).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
        );
    }
    let untyped = test::TestRequest::post()
        .uri("/v1/sync/sms")
        .set_payload(body(&[sms("1")]));
    assert_eq!(api.call(untyped).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let encoded = typed("application/json").insert_header((header::CONTENT_ENCODING, "br"));
    let answer = api.call(encoded).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding")
    );
}

#[actix_web::test]
async fn a_packed_body_is_unpacked_within_the_limit() {
    let api = Api::new();
    let packed = |encoding: &str, bytes: Vec<u8>| {
        upload("sms")
            .insert_header((header::CONTENT_ENCODING, encoding))
            .insert_header((header::CONTENT_LENGTH, bytes.len()))
            .set_payload(bytes)
    };
    let plain = body(&[sms("1")]);
    let bomb = " ".repeat(MAX_BODY + 1);
    for (encoding, pack) in [("gzip", gzip as fn(&str) -> Vec<u8>), ("zstd", zstd)] {
        let answer = api.call(packed(encoding, pack(&plain))).await;
        assert_eq!((answer.status, answer.statuses()), (StatusCode::OK, vec!["stored"]));
        let answer = api.call(packed(encoding, pack(&bomb))).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
        );
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains("1048576 bytes"), "{message}");
        let answer = api.call(packed(encoding, plain.clone().into_bytes())).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::BAD_REQUEST, "malformed_encoding")
        );
    }
    assert_eq!(api.messages().len(), 2);
}

#[actix_web::test]
async fn a_long_body_is_413_whether_it_says_so_or_not() {
    let api = Api::new();
    let announced = upload("sms").insert_header((header::CONTENT_LENGTH, MAX_BODY + 1));
    let answer = api.call(announced).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
    );
    let answer = api.post("sms", " ".repeat(MAX_BODY + 1)).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
    );
    let longest = body(&[sms("1")]);
    let padded = format!("{longest}{}", " ".repeat(MAX_BODY - longest.len()));
    assert_eq!(api.post("sms", padded).await.status, StatusCode::OK);
}

#[actix_web::test]
async fn an_unknown_source_is_404_and_one_left_out_names_the_region() {
    let api = Api::new();
    let answer = api.post("location", body(&[sms("1")])).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::NOT_FOUND, "unknown_source")
    );
    let answer = api.post("contacts", body(&[sms("1")])).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(
        answer.body,
        json!({"error": {
            "code": "source_not_enabled",
            "message": "source contacts is not enabled in region India",
        }})
    );
    let answer = api.call(test::TestRequest::get().uri("/v1/sync/sms")).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
    );
    let answer = api.call(test::TestRequest::get().uri("/elsewhere")).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "no_such_route"));
}

#[actix_web::test]
async fn what_kafka_does_not_acknowledge_is_never_stored() {
    let cases = [
        (WriteError::QueueFull, "queue_full", "1"),
        (WriteError::Unavailable("x".to_owned()), "kafka_unavailable", "5"),
    ];
    for (error, reason, retry_after) in cases {
        let api = Api::over([Err(error)]);
        let answer = api.post("sms", body(&[sms("1"), json!(7)])).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.retry_after.as_deref(), Some(retry_after));
        assert_eq!(answer.body["results"][0], json!({"status": "retry", "reason": reason}));
        assert_eq!(answer.statuses(), ["retry", "invalid"]);
    }
    let answer = Api::over([Err(WriteError::TooLarge)])
        .post("sms", body(&[sms("1")]))
        .await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::PAYLOAD_TOO_LARGE, "message_too_large")
    );
    assert_eq!(answer.retry_after, None);
}

#[actix_web::test]
async fn each_event_has_the_outcome_of_its_own_message() {
    let api = Api::over([Ok(()), Err(WriteError::TooLarge), Err(WriteError::QueueFull)]);
    let answer = api.post("events", body(&[event(1), event(2), event(3)])).await;
    assert_eq!(answer.status, StatusCode::MULTI_STATUS);
    assert_eq!(answer.statuses(), ["stored", "invalid", "retry"]);
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    assert_eq!(
        answer.body["results"][1],
        json!({"status": "invalid", "field": "records[1]", "problem": "is too large for Kafka"})
    );
}

#[actix_web::test]
async fn bodies_without_room_are_503_and_room_comes_back() {
    let mut api = Api::new();
    api.intake = Intake::new(1, Duration::from_millis(10), Duration::from_secs(1));
    let answer = api
        .call(upload("sms").insert_header((header::CONTENT_LENGTH, 4096)))
        .await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "busy")
    );
    assert_eq!(answer.retry_after.as_deref(), Some("1"));
    for _ in 0..3 {
        let body = body(&[sms("1")]);
        let request = upload("sms")
            .insert_header((header::CONTENT_LENGTH, body.len()))
            .set_payload(body);
        assert_eq!(api.call(request).await.status, StatusCode::OK);
    }
}

#[actix_web::test]
async fn the_description_is_served() {
    let api = Api::new();
    let answer = api.call(test::TestRequest::get().uri("/openapi.json")).await;
    assert_eq!(answer.body, serde_json::to_value(openapi::document()).unwrap());
    let codes: Vec<&String> = answer.body["paths"]["/v1/sync/{source}"]["post"]["responses"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(codes, ["200", "207", "400", "404", "408", "413", "415", "503"]);
}
