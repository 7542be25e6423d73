//! Every answer of the API, over a Kafka that answers as the test says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use actix_web::{
    App,
    body::MessageBody,
    http::{StatusCode, header},
    test,
    web::Data,
};
use contract::{Envelope, Source, SyncResponse, identity::record_id, message::MAX_BODY};
use futures::{FutureExt, future::BoxFuture};
use producer::{
    api::{Producer, routes},
    intake::Intake,
    kafka::{MessageLog, Position, WriteError, Written},
    metrics::ProducerMetrics,
    openapi,
    topics::Topics,
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Keeps what is written and answers with `outcome`; each message gets the next offset of partition 3.
struct Scripted {
    outcome: Result<(), WriteError>,
    written: Mutex<Vec<(String, String, Vec<u8>)>>,
}

impl MessageLog for Scripted {
    fn write<'a>(
        &'a self,
        topic: &'a str,
        key: &'a str,
        messages: Vec<Vec<u8>>,
    ) -> BoxFuture<'a, Result<Written, WriteError>> {
        let positions = (0..messages.len() as i64)
            .map(|offset| Position { partition: 3, offset })
            .collect();
        let messages = messages
            .into_iter()
            .map(|message| (topic.to_owned(), key.to_owned(), message));
        self.written.lock().unwrap().extend(messages);
        let outcome = self.outcome.clone().map(|()| Written {
            cluster: "cluster-1".into(),
            positions,
        });
        async move { outcome }.boxed()
    }
}

struct Api {
    log: Arc<Scripted>,
    intake: Intake,
}

impl Api {
    fn new(outcome: Result<(), WriteError>) -> Api {
        Api {
            log: Arc::new(Scripted {
                outcome,
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
}

fn upload(source: &str) -> test::TestRequest {
    test::TestRequest::post()
        .uri(&format!("/v1/sync/{source}"))
        .insert_header((header::CONTENT_TYPE, "application/json"))
}

fn sms(id: &str) -> Value {
    json!({"id": id, "timestamp": 0, "sender": "BANK", "body": "debited"})
}

fn body(records: &[Value]) -> String {
    json!({"user": "u-1", "device": "d-1", "records": records}).to_string()
}

#[actix_web::test]
async fn an_upload_is_one_message_keyed_by_user_and_a_receipt_for_each_record() {
    let api = Api::new(Ok(()));
    let answer = api.post("sms", body(&[sms("1"), sms("2")])).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer: SyncResponse = serde_json::from_value(answer.body).unwrap();
    let receipts: Vec<_> = answer
        .receipts
        .iter()
        .map(|receipt| (receipt.offset, receipt.index))
        .collect();
    assert_eq!(receipts, [(0, 0), (0, 1)]);
    assert_eq!(answer.receipts[1].cluster, "cluster-1");
    assert_eq!(answer.receipts[1].topic, "sms_batched");
    assert_eq!(answer.receipts[1].partition, 3);
    assert_eq!(
        answer.receipts[1].record_id,
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
    let api = Api::new(Ok(()));
    let event = |id: u32| json!({"id": id, "timestamp": 0, "name": "app_open"});
    let answer = api.post("events", body(&[event(1), event(2)])).await;
    let answer: SyncResponse = serde_json::from_value(answer.body).unwrap();
    let receipts: Vec<_> = answer
        .receipts
        .iter()
        .map(|receipt| (receipt.offset, receipt.index))
        .collect();
    assert_eq!(receipts, [(0, 0), (1, 0)]);
    assert_eq!(api.messages().len(), 2);
    assert_eq!(Envelope::decode(&api.messages()[1].2).unwrap().records, [event(2)]);
}

#[actix_web::test]
async fn a_bad_body_is_400_and_names_the_field() {
    let api = Api::new(Ok(()));
    let mut records = vec![sms("1"); 4];
    records[3]["timestamp"] = json!("yesterday");
    let answer = api.post("sms", body(&records)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.body,
        json!({"error": {
            "code": "invalid_field",
            "message": "records[3].timestamp: must be RFC 3339 text or milliseconds since 1970, between 1970 and 9999",
            "field": "records[3].timestamp",
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
async fn only_json_in_utf8_and_not_encoded_is_read() {
    let api = Api::new(Ok(()));
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
    let encoded = typed("application/json").insert_header((header::CONTENT_ENCODING, "zstd"));
    let answer = api.call(encoded).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding")
    );
}

#[actix_web::test]
async fn a_long_body_is_413_whether_it_says_so_or_not() {
    let api = Api::new(Ok(()));
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
    let api = Api::new(Ok(()));
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
async fn what_kafka_does_not_acknowledge_is_never_200() {
    let cases = [
        (
            WriteError::QueueFull,
            StatusCode::SERVICE_UNAVAILABLE,
            "queue_full",
            Some("1"),
        ),
        (
            WriteError::Unavailable("x".to_owned()),
            StatusCode::SERVICE_UNAVAILABLE,
            "kafka_unavailable",
            Some("5"),
        ),
        (
            WriteError::TooLarge,
            StatusCode::PAYLOAD_TOO_LARGE,
            "message_too_large",
            None,
        ),
    ];
    for (error, status, code, retry_after) in cases {
        let answer = Api::new(Err(error)).post("sms", body(&[sms("1")])).await;
        assert_eq!((answer.status, answer.code()), (status, code));
        assert_eq!(answer.retry_after.as_deref(), retry_after);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let message = answer.body["error"]["message"].as_str().unwrap();
            assert!(message.contains("may or may not be stored"), "{message}");
        }
    }
}

#[actix_web::test]
async fn bodies_without_room_are_503_and_room_comes_back() {
    let mut api = Api::new(Ok(()));
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
    let api = Api::new(Ok(()));
    let answer = api.call(test::TestRequest::get().uri("/openapi.json")).await;
    assert_eq!(answer.body, serde_json::to_value(openapi::document()).unwrap());
    let codes: Vec<&String> = answer.body["paths"]["/v1/sync/{source}"]["post"]["responses"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(codes, ["200", "400", "404", "408", "413", "415", "503"]);
}
