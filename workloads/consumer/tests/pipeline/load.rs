//! Uploads written to Kafka as the producer writes them, and what must come of them.

use crate::stage::Stage;
use anyhow::Result;
use chrono::{DateTime, Utc};
use contract::{Envelope, RecordId, Source, identity, message::ENVELOPE_VERSION};
use futures::{StreamExt, TryStreamExt, stream};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use uuid::Uuid;

pub(crate) const TENANT: &str = "default";

/// What was acknowledged, by source.
pub(crate) type Expected = BTreeMap<Source, BTreeSet<RecordId>>;

pub(crate) struct Load {
    producer: FutureProducer,
    topics: BTreeMap<Source, String>,
    pub(crate) expected: Expected,
    next: u64,
}

impl Load {
    pub(crate) fn new(stage: &Stage) -> Result<Load> {
        let producer = stage
            .kafka()
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "zstd")
            .set("linger.ms", "5")
            .set("message.timeout.ms", "60000")
            .create()?;
        let topics = Source::ALL
            .into_iter()
            .map(|source| (source, stage.topic(source)))
            .collect();
        Ok(Load {
            producer,
            topics,
            expected: Expected::new(),
            next: 0,
        })
    }

    /// New uploads of `records` records each, acknowledged when this returns.
    pub(crate) async fn upload(&mut self, source: Source, uploads: usize, records: usize) -> Result<()> {
        let mut messages = Vec::new();
        for _ in 0..uploads {
            let numbers: Vec<u64> = (self.next..).take(records).collect();
            self.next += records as u64;
            let user = format!("user-{}", numbers[0] % 97);
            let all: Vec<Value> = numbers.iter().map(|number| record(source, *number)).collect();
            messages.extend(self.envelopes(source, &user, all));
        }
        self.send(source, messages).await
    }

    /// These records, as one upload of this user.
    pub(crate) async fn upload_records(&mut self, source: Source, user: &str, records: Vec<Value>) -> Result<()> {
        let messages = self.envelopes(source, user, records);
        self.send(source, messages).await
    }

    fn envelopes(&mut self, source: Source, user: &str, records: Vec<Value>) -> Vec<(String, Vec<u8>)> {
        let expected = self.expected.entry(source).or_default();
        for record in &records {
            expected.insert(identity::record_id(TENANT, source, user, "device", record));
        }
        let pieces: Vec<Vec<Value>> = if source.batched() {
            vec![records]
        } else {
            records.into_iter().map(|record| vec![record]).collect()
        };
        pieces
            .into_iter()
            .map(|records| (user.to_owned(), envelope(user, Utc::now(), records).encode(source)))
            .collect()
    }

    /// Messages as they are.
    pub(crate) async fn send(&self, source: Source, messages: Vec<(String, Vec<u8>)>) -> Result<()> {
        let topic = &self.topics[&source];
        let sends = messages.iter().map(|(key, value)| async move {
            let record = FutureRecord::to(topic).key(key).payload(value);
            self.producer
                .send(record, Duration::from_secs(60))
                .await
                .map(drop)
                .map_err(|(error, _)| error)
        });
        let sends: Vec<_> = sends.collect();
        stream::iter(sends).buffer_unordered(5_000).try_collect::<()>().await?;
        Ok(())
    }
}

pub(crate) fn envelope(user: &str, received_at: DateTime<Utc>, records: Vec<Value>) -> Envelope {
    Envelope {
        version: ENVELOPE_VERSION,
        tenant: TENANT.to_owned(),
        user: user.to_owned(),
        device: "device".to_owned(),
        batch_id: Uuid::from_u128(1),
        received_at,
        records,
    }
}

/// A record of the size that phones send.
pub(crate) fn record(source: Source, number: u64) -> Value {
    let id = format!("record-{number}");
    let timestamp = Utc::now().timestamp_millis() - i64::try_from(number % 1_000).unwrap_or_default();
    match source {
        Source::Sms => json!({
            "id": id, "timestamp": timestamp, "sender": "AX-BANKIN", "threadId": number % 50,
            "body": format!("Rs {number}.00 debited from a/c XX{:04} on 21-Nov. Avl bal Rs {}.50. Not you? Call 1800-000-000 \
                     or SMS BLOCK to 56161. Ref {number:012}", number % 10_000, number * 3),
        }),
        Source::Events => json!({
            "id": id, "timestamp": timestamp, "name": "screen_view", "session": number / 10,
            "properties": {"screen": "home", "duration": number % 300, "network": "4g", "battery": 0.5},
        }),
        Source::AppsAndDevice => json!({
            "id": id, "timestamp": timestamp, "kind": "app", "name": format!("com.example.app{number}"), "version": "1.2.3",
        }),
        Source::Contacts => json!({
            "id": id, "timestamp": timestamp, "name": format!("Contact {number}"), "phones": ["+911234567890", "+15550100"],
        }),
        Source::CallLogs => json!({
            "id": id, "timestamp": timestamp, "number": "+911234567890", "direction": "incoming", "durationSeconds": number % 600,
        }),
    }
}
