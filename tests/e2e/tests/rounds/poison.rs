//! Messages that the producer would not have written, straight into the topics: no envelopes, wrong records among good
//! ones, and records that the stores refuse.

use crate::stage::{Stage, TENANT};
use anyhow::Result;
use chrono::Utc;
use contract::message::ENVELOPE_VERSION;
use contract::{Envelope, RecordId, Source, identity};
use generator::traffic::{Mix, Traffic};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use uuid::Uuid;

/// Between two messages: one in some 40 is bad.
const PAUSE: Duration = Duration::from_millis(1_000);
/// Longest wait for an acknowledgement. Whether the message is there after it shows in the topic.
const ACKNOWLEDGED: Duration = Duration::from_secs(20);
/// Keeps the traffic's people apart from those of the phones.
const SALT: u64 = 0x706f_6973_6f6e;

/// Good records that were sent along, whatever became of them.
type Along = Arc<Mutex<HashSet<(Source, RecordId)>>>;

/// Writes poison until it is dropped.
pub(crate) struct Poison {
    along: Along,
    is_on: watch::Sender<bool>,
    is_idle: watch::Receiver<bool>,
    writing: tokio::task::JoinHandle<()>,
}

impl Poison {
    /// Begins at once.
    pub(crate) fn start(stage: &Stage, seed: u64) -> Result<Poison> {
        let mut config = stage.kafka();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", ACKNOWLEDGED.as_millis().to_string());
        let producer: FutureProducer = config.create()?;
        let along = Along::default();
        let (is_on, on) = watch::channel(true);
        let (idle, is_idle) = watch::channel(false);
        let writing = tokio::spawn(write(producer, seed ^ SALT, along.clone(), on, idle));
        Ok(Poison {
            along,
            is_on,
            is_idle,
            writing,
        })
    }

    /// Nothing new; waits until what was sent is acknowledged or given up.
    pub(crate) async fn pause(&self) -> Result<()> {
        self.is_on.send_replace(false);
        self.is_idle.clone().wait_for(|idle| *idle).await?;
        Ok(())
    }

    /// Goes on.
    pub(crate) fn resume(&self) {
        self.is_on.send_replace(true);
    }

    /// Good records that were sent along.
    pub(crate) fn along(&self) -> HashSet<(Source, RecordId)> {
        self.along.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Poison {
    fn drop(&mut self) {
        self.writing.abort();
    }
}

async fn write(
    producer: FutureProducer,
    seed: u64,
    along: Along,
    mut on: watch::Receiver<bool>,
    idle: watch::Sender<bool>,
) {
    let traffic = Traffic::new(seed, Utc::now(), Mix::default());
    let mut rng = StdRng::seed_from_u64(seed);
    for number in 0.. {
        idle.send_replace(!*on.borrow());
        if on.wait_for(|on| *on).await.is_err() {
            return;
        }
        idle.send_replace(false);
        let Bad {
            source,
            key,
            value,
            good,
        } = bad(&traffic, number, &mut rng);
        along.lock().unwrap_or_else(PoisonError::into_inner).extend(good);
        let mut record = FutureRecord::to(source.topic()).key(&key);
        if let Some(value) = &value {
            record = record.payload(value);
        }
        // Unacknowledged, it may be there or not: the topic is what is judged by.
        let _ = producer.send(record, ACKNOWLEDGED).await;
        sleep(PAUSE).await;
    }
}

struct Bad {
    source: Source,
    key: String,
    value: Option<Vec<u8>>,
    /// Records in it that can be stored.
    good: Vec<(Source, RecordId)>,
}

fn bad(traffic: &Traffic, number: u64, rng: &mut StdRng) -> Bad {
    let upload = traffic.upload(number, None);
    let (source, request) = (upload.source, upload.request);
    let mut envelope = Envelope {
        version: ENVELOPE_VERSION,
        tenant: TENANT.to_owned(),
        user: request.user,
        device: request.device,
        batch_id: request.batch_id.unwrap_or_default(),
        received_at: Utc::now(),
        records: request.records,
    };
    let (key, mut good) = (envelope.user.clone(), Vec::new());
    let value = match rng.random_range(0..6) {
        0 => None,
        1 => Some((0..rng.random_range(1..200)).map(|_| rng.random()).collect()),
        2 => {
            let mut cut = envelope.encode(source);
            cut.truncate(cut.len() / 2);
            Some(cut)
        }
        3 => {
            envelope.version += 1;
            Some(envelope.encode(source))
        }
        4 => {
            // U+0000 in a text that neither store holds; all of the message's records go.
            envelope.user.push('\0');
            Some(envelope.encode(source))
        }
        _ => {
            good = envelope
                .records
                .iter()
                .map(|record| {
                    let id = identity::record_id(TENANT, source, &envelope.user, &envelope.device, record);
                    (source, id)
                })
                .collect();
            let place = rng.random_range(0..=envelope.records.len());
            envelope.records.insert(place, wrong(rng));
            Some(envelope.encode(source))
        }
    };
    Bad {
        source,
        key,
        value,
        good,
    }
}

/// A record of no source.
fn wrong(rng: &mut StdRng) -> Value {
    let id = Uuid::from_u128(rng.random()).to_string();
    match rng.random_range(0..4) {
        0 => json!(7),
        1 => json!({"id": id}),
        2 => json!({"id": id, "timestamp": "yesterday"}),
        _ => json!({"id": id, "timestamp": 0, "sender": 7, "name": ["x"], "number": null}),
    }
}
