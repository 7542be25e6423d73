//! What is told about receipts, over accounts that are as the test says.

use crate::{
    api::{Api, Held},
    keys::{OneKey, key_of},
};
use actix_web::{
    http::{StatusCode, header},
    test::TestRequest,
};
use contract::Source;
use futures::{FutureExt, future::BoxFuture};
use producer::{
    database::Away,
    kafka::ends::Extent,
    keys::{Keys, token::Token},
    ledger::{
        Accounts, LedgerError,
        account::{Account, Range},
        message::{Letter, Place, Reader, Stored, Trace},
    },
    metrics::ProducerMetrics,
};
use proptest::prelude::*;
use serde_json::json;
use std::sync::{Arc, Mutex};

/// One message, and what was asked.
struct One {
    trace: Result<Trace, LedgerError>,
    asked: Mutex<Vec<Place>>,
}

impl Accounts for One {
    fn message(&self, place: Place) -> BoxFuture<'_, Result<Trace, LedgerError>> {
        self.asked.lock().unwrap().push(place);
        let trace = self.trace.clone();
        async move { trace }.boxed()
    }

    fn accounts(&self, _: Range) -> BoxFuture<'_, Result<Vec<Account>, LedgerError>> {
        async { panic!("only the message is asked for") }.boxed()
    }
}

fn over(trace: Result<Trace, LedgerError>) -> (Api, Arc<One>) {
    let one = Arc::new(One {
        trace,
        asked: Mutex::default(),
    });
    let mut api = Api::new();
    api.accounts = Some(one.clone());
    (api, one)
}

fn read(next: i64) -> Trace {
    Trace {
        readers: vec![Reader {
            first: 0,
            next,
            mongodb_since: Some(0),
            messages: next,
            expired: 0,
        }],
        ..Trace::default()
    }
}

fn with_records() -> Trace {
    let row = |index| Stored {
        index,
        tenant: "acme".to_owned(),
    };
    Trace {
        rows: vec![row(0), row(3)],
        letters: vec![Letter {
            index: Some(1),
            class: "data".to_owned(),
            error: "SQLSTATE 22P05".to_owned(),
        }],
        ..read(8)
    }
}

#[actix_web::test]
async fn a_settled_message_tells_where_its_records_are() {
    let (api, one) = over(Ok(with_records()));
    let answer = api.get("/v1/receipts/sms_batched/3/7").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.body,
        json!({
            "topic": "sms_batched", "partition": 3, "offset": 7, "state": "settled",
            "postgresql": [0, 3], "mongodb": true,
            "deadLetters": [{"index": 1, "class": "data", "error": "SQLSTATE 22P05"}],
            "others": {"indexes": [2], "more": true},
        })
    );
    assert_eq!(
        *one.asked.lock().unwrap(),
        [Place {
            cluster: "cluster-1".into(),
            topic: "sms_batched".to_owned(),
            source: Source::Sms,
            partition: 3,
            offset: 7,
        }]
    );
}

#[actix_web::test]
async fn what_nobody_has_read_waits() {
    for trace in [Trace::default(), read(7)] {
        let (api, _) = over(Ok(trace));
        let answer = api.get("/v1/receipts/sms_batched/3/7").await;
        assert_eq!(
            (answer.status, answer.body),
            (
                StatusCode::OK,
                json!({"topic": "sms_batched", "partition": 3, "offset": 7, "state": "waiting"})
            )
        );
    }
}

#[actix_web::test]
async fn kafka_decides_between_repeats_and_what_may_have_expired() {
    let mut trace = read(8);
    trace.readers[0].expired = 2;
    for (start, state) in [(Some(8), "unknown"), (Some(7), "settled"), (None, "unknown")] {
        let (mut api, _) = over(Ok(trace.clone()));
        let partition = ("sms_batched".to_owned(), 3);
        let extent = start.map(|start| (partition, Extent { start, end: 9 }));
        api.held = Arc::new(Held {
            cluster: Some("cluster-1"),
            extents: extent.into_iter().collect(),
        });
        let answer = api.get("/v1/receipts/sms_batched/3/7").await;
        assert_eq!(answer.body["state"], state, "{start:?}");
    }
}

#[actix_web::test]
async fn what_is_no_receipt_is_refused_before_anybody_is_asked() {
    let (api, one) = over(Ok(read(8)));
    for (path, status, code) in [
        ("contacts_batched/0/0", StatusCode::NOT_FOUND, "unknown_topic"),
        ("sms/0/0", StatusCode::NOT_FOUND, "unknown_topic"),
        ("sms_batched/4/0", StatusCode::NOT_FOUND, "unknown_partition"),
        ("sms_batched/-1/0", StatusCode::BAD_REQUEST, "invalid_field"),
        ("sms_batched/0/x", StatusCode::BAD_REQUEST, "invalid_field"),
        (
            "sms_batched/0/9223372036854775808",
            StatusCode::BAD_REQUEST,
            "invalid_field",
        ),
        ("sms_batched/0", StatusCode::NOT_FOUND, "no_such_route"),
    ] {
        let answer = api.get(&format!("/v1/receipts/{path}")).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{path}");
    }
    let answer = api.get("/v1/receipts/sms_batched/0/x").await;
    assert_eq!(answer.body["error"]["field"], "offset");
    assert!(one.asked.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn what_cannot_be_told_is_503_and_a_pipeline_without_accounts_404() {
    for (error, code, seconds) in [
        (LedgerError::Away(Away("test".to_owned())), "accounts_unavailable", "5"),
        (LedgerError::OlderRelease, "consumers_outdated", "60"),
    ] {
        let (api, _) = over(Err(error));
        let answer = api.get("/v1/receipts/sms_batched/3/7").await;
        assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, code));
        assert_eq!(answer.retry_after.as_deref(), Some(seconds));
    }
    let (mut api, _) = over(Ok(read(8)));
    api.held = Arc::default();
    let answer = api.get("/v1/receipts/sms_batched/3/7").await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "kafka_unavailable")
    );
    let answer = Api::new().get("/v1/receipts/sms_batched/3/7").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "no_accounts"));
}

#[actix_web::test]
async fn with_keys_required_only_the_own_tenants_records_are_told() {
    let token = Token::random();
    for (tenant, status) in [
        (Some("acme"), StatusCode::OK),
        (Some("other"), StatusCode::NOT_FOUND),
        (None, StatusCode::NOT_FOUND),
    ] {
        let (mut api, one) = over(Ok(with_records()));
        let mut key = key_of(&token);
        key.tenant = tenant.map(str::to_owned);
        let store = Arc::new(OneKey(Mutex::new(Some(key))));
        api.keys = Some(Arc::new(Keys::new(store, ProducerMetrics::register().unwrap())));
        let answer = api.get("/v1/receipts/sms_batched/3/7").await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNAUTHORIZED, "unauthorized")
        );
        assert!(one.asked.lock().unwrap().is_empty());

        let request = TestRequest::get().uri("/v1/receipts/sms_batched/3/7");
        let bearer = format!("Bearer {}", token.reveal());
        let answer = api.call(request.insert_header((header::AUTHORIZATION, bearer))).await;
        assert_eq!(answer.status, status, "{tenant:?}");
        match status {
            StatusCode::OK => assert_eq!(answer.body["postgresql"], json!([0, 3])),
            _ => assert_eq!(answer.code(), "unknown_receipt"),
        }
    }
}

#[actix_web::test]
async fn a_key_that_cannot_be_checked_is_no_matter_of_an_upload() {
    let (mut api, one) = over(Ok(read(8)));
    let store = Arc::new(OneKey(Mutex::new(None)));
    api.keys = Some(Arc::new(Keys::new(store, ProducerMetrics::register().unwrap())));
    let bearer = format!("Bearer {}", Token::random().reveal());
    let request = TestRequest::get().uri("/v1/receipts/sms_batched/3/7");
    let answer = api.call(request.insert_header((header::AUTHORIZATION, bearer))).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable")
    );
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(!message.contains("upload") && !message.contains("stored"), "{message}");
    assert!(one.asked.lock().unwrap().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_path_is_answered(segments in prop::collection::vec("[a-z_%0-9.+-]{0,12}", 0..5)) {
        let path = format!("/v1/receipts/{}", segments.join("/"));
        let answer = actix_web::rt::System::new().block_on(async { over(Ok(read(8))).0.get(&path).await });
        prop_assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
        prop_assert!(answer.body["error"]["code"].is_string());
    }
}
