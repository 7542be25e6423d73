//! Batches of text messages, as the consumer's reader hands them to its writer.

use anyhow::Result;
use chrono::{DateTime, Utc};
use consumer::{
    batch::Delivery,
    collected::Collected,
    config::BatchLimits,
    topic::{Partition, Topic},
};
use contract::{Envelope, Source, message::ENVELOPE_VERSION};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// Partitions of the topic, as many as the default has.
pub(crate) const PARTITIONS: i32 = 16;
/// Records of an upload, and uploads of a batch.
const UPLOAD: usize = 100;
const UPLOADS: usize = 50;
/// Records of a batch.
pub(crate) const BATCH: usize = UPLOAD * UPLOADS;
const LIMITS: BatchLimits = BatchLimits {
    records: BATCH,
    bytes: usize::MAX,
    linger: Duration::from_secs(1),
};

/// The topic with this number, as if it had just been made.
pub(crate) fn topic(number: usize) -> Arc<Topic> {
    Arc::new(Topic {
        name: Source::Sms.topic().to_owned(),
        id: Uuid::from_u128(number as u128 + 1),
        source: Source::Sms,
    })
}

/// The partitions of a topic.
pub(crate) fn partitions(topic: &Arc<Topic>) -> impl Iterator<Item = Partition> {
    (0..PARTITIONS).map(|number| Partition {
        topic: topic.clone(),
        number,
    })
}

/// What as many batches are made of, each of one partition, over all partitions in turn.
pub(crate) fn collected(topic: &Arc<Topic>, count: usize) -> Result<Vec<Collected>> {
    let now = Utc::now();
    let partitions: Vec<Partition> = partitions(topic).collect();
    (0..count)
        .map(|number| {
            let partition = &partitions[number % partitions.len()];
            let first = (number / partitions.len() * UPLOADS) as i64;
            let mut collected = Collected::new(LIMITS, UPLOAD as f64, 0);
            for upload in 0..UPLOADS {
                let value = envelope(number * UPLOADS + upload, now).encode(Source::Sms);
                let delivery = Delivery {
                    partition,
                    offset: first + upload as i64,
                    timestamp: Some(now.timestamp_millis()),
                    key: None,
                    value: Some(&value),
                    headers: &[],
                    expired: 0,
                };
                collected.push(delivery, first)?;
            }
            Ok(collected)
        })
        .collect()
}

fn envelope(upload: usize, now: DateTime<Utc>) -> Envelope {
    Envelope {
        version: ENVELOPE_VERSION,
        tenant: "default".to_owned(),
        user: format!("user-{}", upload % 4_999),
        device: "phone".to_owned(),
        batch_id: Uuid::from_u128(upload as u128),
        received_at: now,
        records: (0..UPLOAD).map(|record| sms(upload * UPLOAD + record, now)).collect(),
    }
}

fn sms(number: usize, now: DateTime<Utc>) -> Value {
    json!({
        "id": format!("message-{number}"),
        "timestamp": now.timestamp_millis() - (number % 100_000) as i64,
        "sender": "AX-BANKIN",
        "threadId": number % 50,
        "body": format!(
            "Rs {number}.00 debited from a/c XX{:04} on 21-Nov. Avl bal Rs {}.50. Not you? Call 1800-000-000 or SMS BLOCK \
             to 56161. Ref {number:012}",
            number % 10_000,
            number * 3
        ),
    })
}
