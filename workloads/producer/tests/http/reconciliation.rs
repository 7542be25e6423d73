//! The account of everything, over accounts and a Kafka that are as the test says.

use crate::{
    api::{Answer, Api, Held},
    keys::{OneKey, key_of},
};
use actix_web::{
    http::{StatusCode, header},
    test,
};
use chrono::{DateTime, Utc};
use futures::{FutureExt, future::BoxFuture};
use producer::{
    database::Away,
    kafka::ends::Extent,
    keys::{Keys, token::Token},
    ledger::{
        Accounts, LedgerError,
        account::{Account, Range, Tally},
        message::{Place, Trace},
    },
    metrics::ProducerMetrics,
    reconciliation::MOST_HOURS,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// These accounts, and the ranges that were asked for.
struct Books {
    accounts: Result<Vec<Account>, LedgerError>,
    asked: Mutex<Vec<Range>>,
}

impl Accounts for Books {
    fn message(&self, _: Place) -> BoxFuture<'_, Result<Trace, LedgerError>> {
        async { panic!("only accounts are asked for") }.boxed()
    }

    fn accounts(&self, range: Range) -> BoxFuture<'_, Result<Vec<Account>, LedgerError>> {
        self.asked.lock().unwrap().push(range);
        let accounts = self.accounts.clone();
        async move { accounts }.boxed()
    }
}

fn over(accounts: Result<Vec<Account>, LedgerError>) -> (Api, Arc<Books>) {
    let books = Arc::new(Books {
        accounts,
        asked: Mutex::default(),
    });
    let mut api = Api::new();
    api.accounts = Some(books.clone());
    let partition = |number| ("sms_batched".to_owned(), number);
    let (events, empty) = ("events_log".to_owned(), Extent { start: 0, end: 0 });
    let extents = [
        (partition(0), Extent { start: 4, end: 25 }),
        (partition(1), Extent { start: 2, end: 7 }),
        (partition(2), empty),
        (partition(3), empty),
    ];
    let of_events = (0..4).map(|number| ((events.clone(), number), empty));
    api.held = Arc::new(Held {
        cluster: Some("cluster-1"),
        extents: extents.into_iter().chain(of_events).collect(),
    });
    (api, books)
}

/// Partition 0 of sms, read from 5 to 20.
fn account() -> Account {
    let all = Tally {
        messages: 13,
        expired: 1,
        absent: 1,
        records: 40,
        stored: 30,
        duplicate: 6,
        dead_lettered: 3,
        erased: 1,
    };
    Account {
        topic: "sms_batched".to_owned(),
        topic_id: Uuid::from_u128(1),
        partition: 0,
        group: "<readers>".to_owned(),
        first: 5,
        next: 20,
        moved_back: 0,
        updated_at: DateTime::UNIX_EPOCH,
        all,
        hours: vec![(hour(), all)],
    }
}

/// The one before the present.
fn hour() -> DateTime<Utc> {
    let now = Utc::now().timestamp();
    DateTime::from_timestamp(now - now % 3_600 - 3_600, 0).unwrap()
}

async fn page(api: &Api) -> Answer {
    let request = test::TestRequest::get().uri("/v1/reconciliation?hours=3");
    api.call(request.insert_header((header::ACCEPT, "text/html"))).await
}

#[actix_web::test]
async fn every_message_and_record_is_accounted_for() {
    let (api, books) = over(Ok(vec![account()]));
    let answer = api.get("/v1/reconciliation").await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.body;
    assert_eq!(
        (&body["balanced"], &body["complete"], &body["hours"]),
        (&json!(true), &json!(true), &json!(24))
    );
    let sms = &body["sources"][0];
    assert_eq!(
        (&sms["source"], &sms["topic"], &sms["group"]),
        (&json!("sms"), &json!("sms_batched"), &json!("<readers>"))
    );
    assert_eq!(
        sms["partitions"][0],
        json!({
            "partition": 0, "firstOffset": 5, "nextOffset": 20, "endOffset": 25,
            "messages": {"accepted": 20, "settled": 13, "expired": 1, "absent": 1, "inFlight": 5, "difference": 0},
            "records": records(),
            "byHour": [{"hour": account().hours[0].0, "messages": 13, "expired": 1, "absent": 1, "records": records()}],
        })
    );
    assert_eq!(
        sms["partitions"][1]["messages"],
        json!({"accepted": 5, "settled": 0, "expired": 0, "absent": 0, "inFlight": 5, "difference": 0}),
        "nobody has read it yet"
    );
    assert_eq!(
        sms["messages"],
        json!({"accepted": 25, "settled": 13, "expired": 1, "absent": 1, "inFlight": 10, "difference": 0})
    );
    assert_eq!(sms["records"], records());
    assert_eq!(body["sources"][1]["source"], "events");
    assert_eq!(body["sources"][1]["group"], Value::Null);
    assert_eq!(
        *books.asked.lock().unwrap(),
        [Range {
            cluster: "cluster-1".into(),
            topics: vec!["sms_batched".to_owned(), "events_log".to_owned()],
            hours: MOST_HOURS,
        }]
    );
}

fn records() -> Value {
    json!({"records": 40, "stored": 30, "deduplicated": 6, "deadLettered": 3, "erased": 1, "difference": 0})
}

#[actix_web::test]
async fn the_page_shows_the_same_and_what_is_wrong_in_red() {
    let (api, _) = over(Ok(vec![account()]));
    let answer = page(&api).await;
    assert_eq!(answer.status, StatusCode::OK);
    let text = answer.body.as_str().unwrap();
    assert!(text.contains("Everything is accounted for"), "{text}");
    assert!(text.contains("read by &lt;readers&gt;"), "{text}");
    assert!(!text.contains("<td class=\"wrong\">"), "{text}");
    assert!(
        text.contains("<tr class=\"all\"><td>all</td><td>25</td><td>13</td>"),
        "{text}"
    );
    let row = format!("<td>{}</td><td>13</td>", hour().format("%Y-%m-%d %H:%M"));
    assert!(text.contains(&row), "{text}");

    let mut wrong = account();
    wrong.all.stored -= 2;
    let (api, _) = over(Ok(vec![wrong]));
    let answer = page(&api).await;
    let text = answer.body.as_str().unwrap();
    assert!(text.contains("Something is missing"), "{text}");
    assert!(text.contains("<td class=\"wrong\">2</td>"), "{text}");
}

#[actix_web::test]
async fn hours_are_checked() {
    let (api, books) = over(Ok(vec![]));
    for hours in ["0", "169", "x", ""] {
        let answer = api.get(&format!("/v1/reconciliation?hours={hours}")).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::BAD_REQUEST, "invalid_field")
        );
        assert_eq!(answer.body["error"]["field"], "hours");
    }
    assert!(books.asked.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn what_cannot_be_told_is_503_and_a_pipeline_without_accounts_404() {
    let (api, _) = over(Err(LedgerError::Away(Away("test".to_owned()))));
    let answer = api.get("/v1/reconciliation").await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "accounts_unavailable")
    );
    assert_eq!(answer.retry_after.as_deref(), Some("5"));
    let (mut api, books) = over(Ok(vec![account()]));
    api.held = Arc::default();
    let answer = api.get("/v1/reconciliation").await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "kafka_unavailable")
    );
    assert!(books.asked.lock().unwrap().is_empty());
    let answer = Api::new().get("/v1/reconciliation").await;
    assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "no_accounts"));
}

#[actix_web::test]
async fn totals_of_all_tenants_are_not_for_the_key_of_one() {
    let token = Token::random();
    let own = "default";
    for (tenant, status) in [
        (Some("acme"), StatusCode::FORBIDDEN),
        (Some(own), StatusCode::OK),
        (None, StatusCode::OK),
    ] {
        let (mut api, _) = over(Ok(vec![account()]));
        let mut key = key_of(&token);
        key.tenant = tenant.map(str::to_owned);
        let store = Arc::new(OneKey(Mutex::new(Some(key))));
        api.keys = Some(Arc::new(Keys::new(store, ProducerMetrics::register().unwrap())));
        assert_eq!(api.get("/v1/reconciliation").await.status, StatusCode::UNAUTHORIZED);
        let bearer = format!("Bearer {}", token.reveal());
        let request = test::TestRequest::get().uri("/v1/reconciliation");
        let answer = api.call(request.insert_header((header::AUTHORIZATION, bearer))).await;
        assert_eq!(answer.status, status, "{tenant:?}");
        if status == StatusCode::FORBIDDEN {
            assert_eq!(answer.code(), "forbidden");
        }
    }
}
