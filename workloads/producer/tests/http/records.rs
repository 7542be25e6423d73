//! What becomes of each record.

use crate::api::{Api, body, event, sms};
use actix_web::http::StatusCode;
use contract::{Envelope, Receipt, Source, SyncResponse, identity::record_id};
use producer::kafka::WriteError;
use serde_json::json;

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
async fn what_is_too_large_is_told_as_it_was_sent() {
    let api = Api::over([Err(WriteError::TooLarge)]);
    let alone = |record| json!({"user": "u-1", "device": "d-1", "record": record}).to_string();
    let answer = api.post("events", alone(event(1))).await;
    assert_eq!(
        answer.body["results"][0],
        json!({"status": "invalid", "field": "record", "problem": "is too large for Kafka"})
    );
    let answer = api.post("sms", alone(sms("1"))).await;
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("it cannot be stored as it is"), "{message}");
    let answer = api.post("sms", body(&[sms("1"), sms("2")])).await;
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("send them in more than one upload"), "{message}");
}
