//! What the producer counts.

use contract::metric;
use prometheus::{HistogramVec, IntCounterVec};
use runtime::metrics::{MetricError, SECONDS, counter_vec, histogram_vec};
use std::time::Duration;

/// The producer's collectors. Clones share them.
#[derive(Clone)]
pub struct ProducerMetrics {
    accepted: IntCounterVec,
    refused: IntCounterVec,
    produce: HistogramVec,
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
        })
    }

    /// An upload of `records` was acknowledged after `duration`.
    pub fn accepted(&self, source: &str, topic: &str, records: usize, duration: Duration) {
        self.accepted.with_label_values(&[source]).inc_by(records as u64);
        self.produce.with_label_values(&[topic]).observe(duration.as_secs_f64());
    }

    /// An upload of `records` was refused.
    pub fn refused(&self, source: &str, reason: &str, records: usize) {
        self.refused.with_label_values(&[source, reason]).inc_by(records as u64);
    }
}
