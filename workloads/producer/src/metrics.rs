//! What the producer counts.

use crate::answer::{Answer, Told};
use contract::metric;
use prometheus::{HistogramVec, IntCounterVec};
use runtime::metrics::{MetricError, SECONDS, counter_vec, histogram_vec};
use std::time::Duration;

/// Reason of records that fail their own checks.
const INVALID: &str = "invalid_record";

/// The producer's collectors. Clones share them.
#[derive(Clone)]
pub struct ProducerMetrics {
    accepted: IntCounterVec,
    refused: IntCounterVec,
    produce: HistogramVec,
    key_lookups: IntCounterVec,
    replays: IntCounterVec,
}

impl ProducerMetrics {
    /// Registers the collectors.
    pub fn register() -> Result<ProducerMetrics, MetricError> {
        Ok(ProducerMetrics {
            accepted: counter_vec(
                metric::PRODUCER_ACCEPTED,
                "Records that Kafka acknowledged, by source.",
                &["source"],
            )?,
            refused: counter_vec(
                metric::PRODUCER_REFUSED,
                "Records refused, by source and reason. An upload that was not read counts as one.",
                &["source", "reason"],
            )?,
            produce: histogram_vec(
                metric::PRODUCE_DURATION,
                "Time from handing an upload to the Kafka client to its acknowledgement, by topic, seconds.",
                &["topic"],
                SECONDS,
            )?,
            key_lookups: counter_vec(
                metric::PRODUCER_KEY_LOOKUPS,
                "API keys looked up, by outcome.",
                &["outcome"],
            )?,
            replays: counter_vec(
                metric::PRODUCER_REPLAYS,
                "Uploads answered as the first time, by source.",
                &["source"],
            )?,
        })
    }

    /// An upload was answered for each of its records, `duration` after it was handed to the Kafka client.
    pub fn answered(&self, source: &str, answer: &Answer, duration: Duration) {
        let mut stored = 0;
        for result in answer.results() {
            match result {
                Told::Stored(_) => stored += 1,
                Told::Invalid(_) => self.refused(source, INVALID, 1),
                Told::Retry(reason) => self.refused(source, reason, 1),
            }
        }
        if stored > 0 {
            self.accepted.with_label_values(&[source]).inc_by(stored);
            self.produce
                .with_label_values(&[answer.topic()])
                .observe(duration.as_secs_f64());
        }
    }

    /// An upload of `records` was refused.
    pub fn refused(&self, source: &str, reason: &str, records: usize) {
        self.refused.with_label_values(&[source, reason]).inc_by(records as u64);
    }

    /// An upload was answered with the kept answer of an earlier one.
    pub fn replayed(&self, source: &str) {
        self.replays.with_label_values(&[source]).inc();
    }

    /// An API key was looked up.
    pub fn key_lookup(&self, outcome: &str) {
        self.key_lookups.with_label_values(&[outcome]).inc();
    }
}
