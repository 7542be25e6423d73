//! The API over a Kafka that answers as the test says, and what is sent to it.

use actix_web::{
    App,
    body::to_bytes,
    http::{StatusCode, header},
    test,
    web::Data,
};
use contract::http::IDEMPOTENT_REPLAY;
use flate2::{Compression, write::GzEncoder};
use futures::{FutureExt, future::BoxFuture};
use producer::{
    api::{Producer, routes},
    idempotency::Answers,
    ingest::Ingest,
    intake::Intake,
    kafka::{
        MessageLog, Outcome, Position, WriteError,
        ends::{Extent, Extents, TopicPartition},
    },
    keys::Keys,
    ledger::Accounts,
    metrics::ProducerMetrics,
    quota::Quotas,
    reconciliation::Reconciler,
    topics::Topics,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::Write,
    sync::{Arc, Mutex},
};
use tokio::{runtime::Handle, sync::watch};
use tokio_util::task::TaskTracker;

/// Keeps what is written and answers as the test says; each message gets the next offset of partition 3.
pub(crate) struct Scripted {
    /// What becomes of the messages of a write; of those past its end what becomes of the last.
    pub(crate) outcomes: Vec<Result<(), WriteError>>,
    pub(crate) written: Mutex<Vec<(String, String, Vec<u8>)>>,
    /// Closed by a test in which Kafka answers later.
    pub(crate) gate: watch::Sender<bool>,
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
        let mut gate = self.gate.subscribe();
        async move {
            gate.wait_for(|is_open| *is_open).await.unwrap();
            outcomes
        }
        .boxed()
    }
}

/// A Kafka of one cluster, or of none yet, with 4 partitions a topic.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) cluster: Option<&'static str>,
    /// What is told when it is asked.
    pub(crate) extents: HashMap<TopicPartition, Extent>,
}

impl Extents for Held {
    fn cluster(&self) -> Option<Arc<str>> {
        self.cluster.map(Arc::from)
    }

    fn partitions(&self, _: &str) -> Option<i32> {
        self.cluster.map(|_| 4)
    }

    fn extents(&self, partitions: Vec<TopicPartition>) -> BoxFuture<'_, HashMap<TopicPartition, Extent>> {
        let told = partitions
            .into_iter()
            .filter_map(|one| self.extents.get(&one).map(|extent| (one.clone(), *extent)))
            .collect();
        async move { told }.boxed()
    }
}

pub(crate) struct Api {
    pub(crate) log: Arc<Scripted>,
    pub(crate) intake: Intake,
    pub(crate) keys: Option<Arc<Keys>>,
    pub(crate) quotas: Option<Arc<Quotas>>,
    pub(crate) answers: Option<Arc<dyn Answers>>,
    pub(crate) accounts: Option<Arc<dyn Accounts>>,
    pub(crate) held: Arc<Held>,
}

impl Api {
    /// Over a Kafka that acknowledges everything.
    pub(crate) fn new() -> Api {
        Api::over([Ok(())])
    }

    pub(crate) fn over(outcomes: impl Into<Vec<Result<(), WriteError>>>) -> Api {
        Api {
            log: Arc::new(Scripted {
                outcomes: outcomes.into(),
                written: Mutex::default(),
                gate: watch::Sender::new(true),
            }),
            intake: Intake::default(),
            keys: None,
            quotas: None,
            answers: None,
            accounts: None,
            held: Arc::new(Held {
                cluster: Some("cluster-1"),
                ..Held::default()
            }),
        }
    }

    pub(crate) async fn call(&self, request: test::TestRequest) -> Answer {
        let enabled = ["sms_batched", "events_log"].map(str::to_owned).to_vec();
        let topics = Topics::new(enabled, "", Some("India".to_owned())).unwrap();
        let reconciler = self
            .accounts
            .clone()
            .map(|accounts| Arc::new(Reconciler::new(accounts, self.held.clone(), topics.clone())));
        let producer = Data::new(Producer {
            topics,
            tenant: "default".to_owned(),
            intake: self.intake.clone(),
            keys: self.keys.clone(),
            ingest: Arc::new(Ingest {
                log: self.log.clone(),
                quotas: self.quotas.clone(),
                answers: self.answers.clone(),
                metrics: ProducerMetrics::register().unwrap(),
                tasks: TaskTracker::new(),
                runtime: Handle::current(),
            }),
            accounts: self.accounts.clone(),
            extents: self.held.clone(),
            reconciler,
            metrics: ProducerMetrics::register().unwrap(),
        });
        let app = test::init_service(App::new().configure(routes(producer))).await;
        let answer = test::call_service(&app, request.to_request()).await;
        let retry_after = answer
            .headers()
            .get(header::RETRY_AFTER)
            .map(|value| value.to_str().unwrap().to_owned());
        let status = answer.status();
        let replayed = answer.headers().contains_key(IDEMPOTENT_REPLAY);
        let kind = answer.headers().get(header::CONTENT_TYPE).unwrap();
        let kind = kind.to_str().unwrap().to_owned();
        let body = to_bytes(answer.into_body()).await.unwrap();
        Answer {
            status,
            retry_after,
            replayed,
            body: match kind.as_str() {
                "text/html; charset=utf-8" => std::str::from_utf8(&body).unwrap().into(),
                _ => serde_json::from_slice(&body).unwrap(),
            },
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(test::TestRequest::get().uri(path)).await
    }

    pub(crate) async fn post(&self, source: &str, body: impl Into<String>) -> Answer {
        self.call(upload(source).set_payload(body.into())).await
    }

    pub(crate) fn messages(&self) -> Vec<(String, String, Vec<u8>)> {
        self.log.written.lock().unwrap().clone()
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<String>,
    pub(crate) replayed: bool,
    /// JSON, or the text of a page.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap()
    }

    /// Of each record.
    pub(crate) fn statuses(&self) -> Vec<&str> {
        let results = self.body["results"].as_array().unwrap();
        results
            .iter()
            .map(|result| result["status"].as_str().unwrap())
            .collect()
    }
}

pub(crate) fn upload(source: &str) -> test::TestRequest {
    test::TestRequest::post()
        .uri(&format!("/v1/sync/{source}"))
        .insert_header((header::CONTENT_TYPE, "application/json"))
}

pub(crate) fn sms(id: &str) -> Value {
    json!({"id": id, "timestamp": 0, "sender": "BANK", "body": "debited"})
}

pub(crate) fn event(id: u32) -> Value {
    json!({"id": id, "timestamp": 0, "name": "app_open"})
}

pub(crate) fn body(records: &[Value]) -> String {
    json!({"user": "u-1", "device": "d-1", "records": records}).to_string()
}

pub(crate) fn gzip(plain: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(plain: &str) -> Vec<u8> {
    zstd::encode_all(plain.as_bytes(), 3).unwrap()
}
