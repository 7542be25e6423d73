//! Who may upload, and how much.

use crate::api::{Api, body, sms, upload};
use actix_web::{
    FromRequest,
    http::{StatusCode, header},
    test,
    web::Payload,
};
use contract::Envelope;
use futures::{FutureExt, future::BoxFuture, poll};
use producer::{
    database::Away,
    intake::Intake,
    kafka::WriteError,
    keys::{Key, Keys, store::KeyStore, token::Token},
    metrics::ProducerMetrics,
    quota::{
        Quotas,
        store::{QuotaStore, Reservation, Reserved},
    },
};
use serde_json::{Value, json};
use std::{
    num::NonZeroU32,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Has one key, or is away.
pub(crate) struct OneKey(pub(crate) Mutex<Option<Key>>);

impl KeyStore for OneKey {
    fn find(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Vec<Key>, Away>> {
        let key = self.0.lock().unwrap().clone();
        async move {
            let key = key.ok_or_else(|| Away("test".to_owned()))?;
            Ok(ids.contains(&key.id).then_some(key).into_iter().collect())
        }
        .boxed()
    }
}

pub(crate) fn key_of(token: &Token) -> Key {
    Key {
        id: token.id().to_owned(),
        hash: token.hash(),
        client: "phones".to_owned(),
        tenant: Some("acme".to_owned()),
        quota: None,
    }
}

fn with_key(token: &str) -> test::TestRequest {
    upload("sms")
        .insert_header((header::AUTHORIZATION, format!("Bearer {token}")))
        .set_payload(body(&[sms("1")]))
}

#[actix_web::test]
async fn with_keys_required_only_a_valid_one_is_taken() {
    let (token, other) = (Token::random(), Token::random());
    let store = Arc::new(OneKey(Mutex::new(Some(key_of(&token)))));
    let mut api = Api::new();
    api.keys = Some(Arc::new(Keys::new(store, ProducerMetrics::register().unwrap())));
    assert_eq!(api.call(with_key(&token.reveal())).await.status, StatusCode::OK);
    let envelope = Envelope::decode(&api.messages()[0].2).unwrap();
    assert_eq!(envelope.tenant, "acme", "the key's tenant");

    let secret = other.reveal().rsplit_once('_').unwrap().1.to_owned();
    let wrong_secret = format!("spk_{}_{secret}", token.id());
    let refused = [
        with_key(&other.reveal()),
        with_key(&wrong_secret),
        with_key("spk_"),
        upload("sms").set_payload(body(&[sms("1")])),
        upload("sms").insert_header((header::AUTHORIZATION, token.reveal())),
        with_key(&token.reveal()).append_header((header::AUTHORIZATION, format!("Bearer {}", token.reveal()))),
    ];
    for request in refused {
        let answer = api.call(request).await;
        assert_eq!(
            (answer.status, answer.code()),
            (StatusCode::UNAUTHORIZED, "unauthorized")
        );
    }
    assert_eq!(api.messages().len(), 1);
}

#[actix_web::test]
async fn without_postgresql_known_keys_go_on_and_others_come_back() {
    let (token, other) = (Token::random(), Token::random());
    let store = Arc::new(OneKey(Mutex::new(Some(key_of(&token)))));
    let mut api = Api::new();
    let keys = Arc::new(Keys::new(store.clone(), ProducerMetrics::register().unwrap()));
    api.keys = Some(keys.clone());
    assert_eq!(api.call(with_key(&token.reveal())).await.status, StatusCode::OK);
    *store.0.lock().unwrap() = None;
    keys.refresh().await;
    assert_eq!(api.call(with_key(&token.reveal())).await.status, StatusCode::OK);
    let answer = api.call(with_key(&other.reveal())).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "database_unavailable")
    );
    assert_eq!(answer.retry_after.as_deref(), Some("5"));

    // Back, and revoked meanwhile.
    *store.0.lock().unwrap() = Some(key_of(&other));
    keys.refresh().await;
    let answer = api.call(with_key(&token.reveal())).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

/// One minute that never ends.
struct Count {
    used: Mutex<u32>,
}

impl QuotaStore for Count {
    fn reserve(&self, wanted: Reservation) -> BoxFuture<'_, Result<Reserved, Away>> {
        let mut used = self.used.lock().unwrap();
        let remaining = wanted.quota - *used;
        let granted = match wanted.needed > remaining {
            true => 0,
            false => wanted.chunk.min(remaining),
        };
        *used += granted;
        let reserved = Reserved {
            granted,
            remaining: remaining - granted,
            lasts: Duration::from_millis(41_500),
        };
        async move { Ok(reserved) }.boxed()
    }
}

#[actix_web::test]
async fn a_key_uploads_its_quota_and_no_more() {
    let token = Token::random();
    let mut key = key_of(&token);
    key.quota = NonZeroU32::new(3);
    let mut api = Api::new();
    let store = Arc::new(OneKey(Mutex::new(Some(key))));
    api.keys = Some(Arc::new(Keys::new(store, ProducerMetrics::register().unwrap())));
    let counts = Arc::new(Count { used: Mutex::new(0) });
    api.quotas = Some(Arc::new(Quotas::new(counts.clone())));
    let records = |count: usize| {
        let records: Vec<Value> = (0..count).map(|id| sms(&id.to_string())).collect();
        with_key(&token.reveal()).set_payload(body(&records))
    };
    assert_eq!(api.call(records(2)).await.status, StatusCode::OK);
    // What is not uploaded costs nothing.
    let invalid = with_key(&token.reveal()).set_payload(body(&[json!(1), json!(2)]));
    assert_eq!(api.call(invalid).await.status, StatusCode::BAD_REQUEST);
    let answer = api.call(records(2)).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::TOO_MANY_REQUESTS, "quota_exhausted")
    );
    assert_eq!(answer.retry_after.as_deref(), Some("42"));
    assert_eq!(api.call(records(1)).await.status, StatusCode::OK);
    assert_eq!(api.call(records(1)).await.status, StatusCode::TOO_MANY_REQUESTS);
    let answer = api.call(records(4)).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::PAYLOAD_TOO_LARGE, "quota_too_small")
    );
    assert_eq!(*counts.used.lock().unwrap(), 3);
    assert_eq!(api.messages().len(), 2);
}

#[actix_web::test]
async fn what_is_not_stored_costs_nothing_of_the_quota() {
    let token = Token::random();
    let mut key = key_of(&token);
    key.quota = NonZeroU32::new(3);
    let counts = Arc::new(Count { used: Mutex::new(0) });
    let quotas = Arc::new(Quotas::new(counts.clone()));
    let keys = Arc::new(Keys::new(
        Arc::new(OneKey(Mutex::new(Some(key)))),
        ProducerMetrics::register().unwrap(),
    ));
    let over = |outcomes: [Result<(), WriteError>; 1]| {
        let mut api = Api::over(outcomes);
        (api.keys, api.quotas) = (Some(keys.clone()), Some(quotas.clone()));
        api
    };
    let upload = || with_key(&token.reveal()).set_payload(body(&[sms("1"), sms("2")]));
    for (error, status) in [
        (WriteError::QueueFull, StatusCode::SERVICE_UNAVAILABLE),
        (
            WriteError::Unavailable("test".to_owned()),
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (WriteError::TooLarge, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        assert_eq!(over([Err(error)]).call(upload()).await.status, status);
    }
    let api = over([Ok(())]);
    assert_eq!(api.call(upload()).await.status, StatusCode::OK);
    assert_eq!(api.call(upload()).await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[actix_web::test]
async fn a_key_that_is_revoked_while_the_body_arrives_is_refused() {
    let token = Token::random();
    let store = Arc::new(OneKey(Mutex::new(Some(key_of(&token)))));
    let keys = Arc::new(Keys::new(store.clone(), ProducerMetrics::register().unwrap()));
    let mut api = Api::new();
    api.keys = Some(keys.clone());
    let soon = Duration::from_secs(20);
    api.intake = Intake::new(4, soon, soon);
    assert_eq!(api.call(with_key(&token.reveal())).await.status, StatusCode::OK);

    // Somebody else's body, which takes up all the room.
    let (other, mut payload) = upload("sms").set_payload(vec![b' '; 4096]).to_http_parts();
    let payload = Payload::from_request(&other, &mut payload).await.unwrap();
    let room = api.intake.read(&other, payload).await.unwrap();
    let mut upload = pin!(api.call(with_key(&token.reveal())));
    assert!(poll!(upload.as_mut()).is_pending());
    *store.0.lock().unwrap() = Some(key_of(&Token::random()));
    keys.refresh().await;
    drop(room);
    let answer = upload.await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNAUTHORIZED, "unauthorized")
    );
    assert_eq!(api.messages().len(), 1);
}
