//! Memory that uploads take up is set aside before, whatever it is that makes them large.

use crate::api::{Api, body, sms};
use actix_web::http::StatusCode;
use futures::{StreamExt, stream::FuturesUnordered};
use producer::intake::Intake;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(30);

/// A record for Kafka, and as many errors to be told as fit.
fn many_errors() -> String {
    let mut records = vec![Value::from(1); 999];
    records.push(sms("1"));
    body(&records)
}

#[actix_web::test]
async fn answers_that_wait_for_kafka_take_up_room_and_give_it_back() {
    let mut api = Api::new();
    // A few of these answers. The bodies and the messages of all of them would fit.
    api.intake = Intake::new(1024, SOON, SOON);
    api.log.gate.send_replace(false);
    let mut uploads: FuturesUnordered<_> = (0..20).map(|_| api.post("sms", many_errors())).collect();
    let first = timeout(SOON, uploads.next()).await.unwrap().unwrap();
    assert_eq!((first.status, first.code()), (StatusCode::SERVICE_UNAVAILABLE, "busy"));
    assert_eq!(first.retry_after.as_deref(), Some("1"));

    api.log.gate.send_replace(true);
    let mut taken = 0;
    while let Some(answer) = uploads.next().await {
        match answer.status {
            StatusCode::MULTI_STATUS => taken += 1,
            StatusCode::SERVICE_UNAVAILABLE => assert_eq!(answer.code(), "busy"),
            other => panic!("{other}"),
        }
    }
    assert!(taken > 0);
    for _ in 0..5 {
        let answer = api.post("sms", many_errors()).await;
        assert_eq!(answer.status, StatusCode::MULTI_STATUS, "{}", answer.body);
    }
}

#[actix_web::test]
async fn a_field_is_named_by_the_beginning_of_a_long_path() {
    let api = Api::new();
    let mut bad = sms("1");
    bad["x".repeat(100_000)] = json!("\0");
    let answer = api.post("sms", body(&[bad])).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let field = answer.body["results"][0]["field"].as_str().unwrap();
    assert!(
        field.starts_with("records[0].xxx") && field.len() < 300,
        "{}",
        field.len()
    );
}
