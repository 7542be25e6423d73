//! Uploads that are sent again with the same idempotency key.

use crate::api::{Api, body, gzip, sms, upload};
use actix_web::{
    http::{StatusCode, header},
    test,
};
use contract::http::IDEMPOTENCY_KEY;
use futures::{FutureExt, future::BoxFuture};
use producer::{
    database::Away,
    idempotency::{
        Answers, Claim, Kept,
        request::{RepeatableRequest, Sender},
    },
    kafka::WriteError,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

/// Requests by sender and key, with their answers.
type Requests = HashMap<(Sender, String), (RepeatableRequest, Option<Kept>)>;

/// Keeps answers, or is away.
#[derive(Default)]
struct Memory {
    away: bool,
    /// Attempts to note an end that fail, from now on.
    lost: AtomicUsize,
    kept: Mutex<Requests>,
    /// Told of each end that is noted.
    ended: Notify,
}

impl Memory {
    fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut Requests) -> T) -> BoxFuture<'_, Result<T, Away>> {
        let outcome = match self.away {
            true => Err(Away("test".to_owned())),
            false => Ok(work(&mut self.kept.lock().unwrap())),
        };
        async move { outcome }.boxed()
    }
}

impl Memory {
    fn end(&self, work: impl FnOnce(&mut Requests)) -> BoxFuture<'_, Result<(), Away>> {
        let less = |lost: usize| lost.checked_sub(1);
        if self.lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return async { Err(Away("test".to_owned())) }.boxed();
        }
        let outcome = self.with(work);
        self.ended.notify_one();
        outcome
    }
}

impl Answers for Memory {
    fn claim(&self, request: RepeatableRequest) -> BoxFuture<'_, Result<Claim, Away>> {
        self.with(|kept| {
            let name = (request.sender.clone(), request.key.clone());
            match kept.get(&name) {
                None => {
                    kept.insert(name, (request, None));
                    Claim::Ours(Uuid::nil())
                }
                Some((first, _)) if first.fingerprint != request.fingerprint => Claim::OtherRequest,
                Some((_, Some(answer))) => Claim::Answered(answer.clone()),
                Some((_, None)) => Claim::UnderWay { seconds: 7 },
            }
        })
    }

    fn keep(&self, request: RepeatableRequest, _: Uuid, answer: Kept) -> BoxFuture<'_, Result<(), Away>> {
        self.end(|kept| {
            kept.insert((request.sender.clone(), request.key.clone()), (request, Some(answer)));
        })
    }

    fn release(&self, request: RepeatableRequest, _: Uuid) -> BoxFuture<'_, Result<(), Away>> {
        self.end(|kept| {
            kept.remove(&(request.sender, request.key));
        })
    }
}

fn called(key: &str, records: &[Value]) -> test::TestRequest {
    upload("sms")
        .insert_header((IDEMPOTENCY_KEY, key))
        .set_payload(body(records))
}

#[actix_web::test]
async fn a_repeat_is_answered_as_the_first_time() {
    let mut api = Api::new();
    api.answers = Some(Arc::new(Memory::default()));
    let first = api.call(called("a", &[sms("1"), json!(7)])).await;
    assert_eq!((first.status, first.replayed), (StatusCode::MULTI_STATUS, false));
    let packed = upload("sms")
        .insert_header((IDEMPOTENCY_KEY, "a"))
        .insert_header((header::CONTENT_ENCODING, "gzip"))
        .set_payload(gzip(&body(&[sms("1"), json!(7)])));
    for repeat in [called("a", &[sms("1"), json!(7)]), packed] {
        let again = api.call(repeat).await;
        assert_eq!(
            (again.status, again.replayed, &again.body),
            (StatusCode::MULTI_STATUS, true, &first.body)
        );
    }
    assert_eq!(api.messages().len(), 1, "written once");

    let other = api.call(called("a", &[sms("2")])).await;
    assert_eq!(
        (other.status, other.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused")
    );
    assert_eq!(api.call(called("b", &[sms("1")])).await.status, StatusCode::OK);
    let invalid = api.call(called("a b", &[sms("1")])).await;
    assert_eq!(
        (invalid.status, invalid.code()),
        (StatusCode::BAD_REQUEST, "invalid_idempotency_key")
    );
}

#[actix_web::test]
async fn devices_of_one_app_may_use_the_same_key() {
    let mut api = Api::new();
    api.answers = Some(Arc::new(Memory::default()));
    let of_device = |user: &str, device: &str| {
        let body = json!({"user": user, "device": device, "records": [sms("1")]});
        upload("sms")
            .insert_header((IDEMPOTENCY_KEY, "upload-7"))
            .set_payload(body.to_string())
    };
    for (user, device) in [("u-1", "d-1"), ("u-1", "d-2"), ("u-2", "d-1")] {
        let first = api.call(of_device(user, device)).await;
        assert_eq!((first.status, first.replayed), (StatusCode::OK, false));
        assert!(api.call(of_device(user, device)).await.replayed);
    }
    assert_eq!(api.messages().len(), 3);
}

#[actix_web::test]
async fn a_repeat_of_what_is_under_way_waits() {
    let mut api = Api::new();
    let memory = Arc::new(Memory::default());
    api.answers = Some(memory.clone());
    assert_eq!(api.call(called("a", &[sms("1")])).await.status, StatusCode::OK);
    // As it is while another replica is at it.
    memory
        .kept
        .lock()
        .unwrap()
        .values_mut()
        .for_each(|(_, answer)| *answer = None);
    let answer = api.call(called("a", &[sms("1")])).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::CONFLICT, "request_under_way")
    );
    assert_eq!(answer.retry_after.as_deref(), Some("7"));
}

#[actix_web::test]
async fn an_answer_with_a_retry_in_it_and_a_refusal_are_not_kept() {
    for error in [WriteError::QueueFull, WriteError::TooLarge] {
        let mut api = Api::over([Err(error)]);
        let memory = Arc::new(Memory::default());
        api.answers = Some(memory.clone());
        let answer = api.call(called("a", &[sms("1")])).await;
        assert!(
            answer.status.is_server_error() || answer.status == StatusCode::PAYLOAD_TOO_LARGE,
            "{}",
            answer.status
        );
        assert!(memory.kept.lock().unwrap().is_empty());
    }
}

#[actix_web::test]
async fn an_end_that_is_noted_late_is_noted_all_the_same() {
    let memory = Arc::new(Memory::default());
    let ended = || timeout(Duration::from_secs(20), memory.ended.notified());
    let mut api = Api::new();
    api.answers = Some(memory.clone());
    memory.lost.store(2, Ordering::SeqCst);
    let first = api.call(called("a", &[sms("1")])).await;
    assert_eq!((first.status, first.replayed), (StatusCode::OK, false));
    ended().await.unwrap();
    let again = api.call(called("a", &[sms("1")])).await;
    assert_eq!((again.replayed, again.body), (true, first.body));
    assert_eq!(api.messages().len(), 1, "written once");

    // As an upload that is refused, and sent again under its key when it is smaller.
    let mut full = Api::over([Err(WriteError::TooLarge)]);
    full.answers = Some(memory.clone());
    memory.lost.store(2, Ordering::SeqCst);
    let refused = full.call(called("b", &[sms("1"), sms("2")])).await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
    ended().await.unwrap();
    assert_eq!(api.call(called("b", &[sms("1")])).await.status, StatusCode::OK);
}

#[actix_web::test]
async fn an_answer_without_a_stored_record_is_not_kept() {
    let mut api = Api::new();
    let memory = Arc::new(Memory::default());
    api.answers = Some(memory.clone());
    for _ in 0..2 {
        let answer = api
            .call(called("a", &[json!(1), json!({"+49 170 5550142": "\0"})]))
            .await;
        assert_eq!((answer.status, answer.replayed), (StatusCode::BAD_REQUEST, false));
        assert_eq!(answer.statuses(), ["invalid", "invalid"]);
        assert!(
            memory.kept.lock().unwrap().is_empty(),
            "neither room nor words of the client"
        );
    }
    // What was mended may be sent under the same key.
    assert_eq!(api.call(called("a", &[sms("1")])).await.status, StatusCode::OK);
    assert_eq!(memory.kept.lock().unwrap().len(), 1);
}

#[actix_web::test]
async fn without_postgresql_only_what_needs_it_is_put_off() {
    let mut api = Api::new();
    api.answers = Some(Arc::new(Memory {
        away: true,
        ..Memory::default()
    }));
    let answer = api.call(called("a", &[sms("1")])).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable")
    );
    assert_eq!(answer.retry_after.as_deref(), Some("5"));
    assert_eq!(api.post("sms", body(&[sms("1")])).await.status, StatusCode::OK);

    api.answers = None;
    let answer = api.call(called("a", &[sms("1")])).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::BAD_REQUEST, "idempotency_not_available")
    );
}
