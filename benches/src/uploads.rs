//! What phones would send, from a seed: the generator's uploads as HTTP bodies, and as the messages that the producer
//! makes of them.

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use contract::Source;
use generator::traffic::{Mix, Traffic};
use producer::upload::Upload;

const SEED: u64 = 20_261_122;

/// A Kafka message.
#[derive(Debug, Clone)]
pub struct Message {
    /// The user.
    pub key: String,
    /// The envelope.
    pub value: Vec<u8>,
}

/// Bodies of uploads of so many `records` of one source, no two the same.
pub fn bodies(source: Source, records: u32, count: u64, now: DateTime<Utc>) -> Result<Vec<Vec<u8>>> {
    let mix: Mix = format!("{source}=1").parse().context("a mix of one source")?;
    let traffic = Traffic::new(SEED, now, mix);
    (0..count)
        .map(|number| {
            let upload = traffic.upload(number, Some(records));
            serde_json::to_vec(&upload.request).context("write an upload")
        })
        .collect()
}

/// The messages of such uploads, as the producer writes them.
pub fn messages(source: Source, records: u32, count: u64, now: DateTime<Utc>) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    for body in bodies(source, records, count, now)? {
        let upload = Upload::parse(source, "default", &body, now).context("read an upload")?;
        let key = upload.user;
        messages.extend(upload.messages.into_iter().map(|value| Message {
            key: key.clone(),
            value,
        }));
    }
    Ok(messages)
}
