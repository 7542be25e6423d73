//! Which bodies are read, and how.

use crate::api::{Api, body, gzip, sms, upload, zstd};
use actix_web::{
    http::{StatusCode, header},
    test,
};
use contract::message::MAX_BODY;
use producer::intake::Intake;
use std::time::Duration;

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
async fn bodies_without_room_are_503_and_room_comes_back() {
    let mut api = Api::new();
    api.intake = Intake::new(1, Duration::from_millis(10), Duration::from_secs(1));
    let longer = upload("sms")
        .insert_header((header::CONTENT_LENGTH, 4096))
        .set_payload(vec![b' '; 4096]);
    let answer = api.call(longer).await;
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
