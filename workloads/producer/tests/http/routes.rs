//! Routes, and their description.

use crate::api::{Api, body, sms};
use actix_web::{
    http::{Method, StatusCode},
    test,
};
use producer::openapi;
use serde_json::json;

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
async fn what_is_only_read_is_asked_with_get() {
    let api = Api::new();
    for path in ["/v1/receipts/sms_batched/0/0", "/v1/reconciliation", "/openapi.json"] {
        let answer = api.call(test::TestRequest::post().uri(path)).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
        );
    }
}

#[actix_web::test]
async fn what_is_read_with_get_is_read_with_head() {
    let api = Api::new();
    for (path, status) in [
        ("/openapi.json", StatusCode::OK),
        ("/v1/receipts/sms_batched/0/0", StatusCode::NOT_FOUND),
        ("/v1/reconciliation", StatusCode::NOT_FOUND),
    ] {
        let request = test::TestRequest::with_uri(path).method(Method::HEAD);
        // Without PostgreSQL the last two have nothing to tell, by whatever method.
        assert_eq!(api.call(request).await.status, status, "{path}");
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
    assert_eq!(
        codes,
        [
            "200", "207", "400", "401", "404", "408", "409", "413", "415", "422", "429", "503"
        ]
    );
}
