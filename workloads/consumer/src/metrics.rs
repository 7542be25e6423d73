//! The consumer's metrics. Records read = stored + duplicate + dead-lettered + erased, by source.

use crate::{
    account::Account,
    batch::{Batch, RejectClass, Rejection},
};
use chrono::{DateTime, Utc};
use contract::{Source, metric};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge};
use runtime::metrics::{MetricError, SECONDS, counter_vec, gauge, histogram_vec};

/// Bounds of batch sizes.
const RECORDS: &[f64] = &[
    1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0,
];

/// What becomes of a record.
const OUTCOMES: [&str; 4] = ["stored", "duplicate", "dead_lettered", "erased"];

/// All metrics of the consumer.
#[derive(Clone)]
pub struct Metrics {
    records: IntCounterVec,
    batch_records: HistogramVec,
    write_duration: HistogramVec,
    retries: IntCounterVec,
    fenced: IntCounter,
    partitions: IntGauge,
    expired: IntCounterVec,
    dead_letters: IntCounterVec,
    store_latency: HistogramVec,
    end_to_end: HistogramVec,
    pauses: IntCounter,
    breakers: IntGauge,
}

/// Counts an open breaker until it is dropped.
#[derive(Debug)]
pub struct BreakerIsOpen(IntGauge);

impl Drop for BreakerIsOpen {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers them.
    pub fn register() -> Result<Metrics, MetricError> {
        let records = counter_vec(
            metric::CONSUMER_RECORDS,
            "Records by source and outcome (stored, duplicate, dead_lettered, erased).",
            &["source", "outcome"],
        )?;
        let expired = counter_vec(
            metric::CONSUMER_EXPIRED,
            "Messages that Kafka had deleted before they were read, by source.",
            &["source"],
        )?;
        // There from the start, so that the first dead letter is an increase and not a beginning.
        for source in Source::ALL {
            for outcome in OUTCOMES {
                records.with_label_values(&[source.name(), outcome]);
            }
            expired.with_label_values(&[source.name()]);
        }
        let fenced = counter_vec(
            metric::CONSUMER_FENCED,
            "Batches dropped because another reader had moved the ledger on.",
            &[],
        )?;
        let dead_letters = counter_vec(
            metric::CONSUMER_DEAD_LETTERS,
            "Records given up, by source and class (decode, validation, data).",
            &["source", "class"],
        )?;
        for source in Source::ALL {
            for class in [RejectClass::Decode, RejectClass::Validation, RejectClass::Data] {
                dead_letters.with_label_values(&[source.name(), class.name()]);
            }
        }
        let pauses = counter_vec(
            metric::CONSUMER_PAUSES,
            "Times that partitions were paused because a store did not keep up.",
            &[],
        )?;
        let no_labels: [&str; 0] = [];
        Ok(Metrics {
            records,
            expired,
            dead_letters,
            pauses: pauses.with_label_values(&no_labels),
            breakers: gauge(
                metric::CONSUMER_BREAKERS,
                "Batches that are held back because nearly nothing of them can be stored.",
            )?,
            store_latency: histogram_vec(
                metric::CONSUMER_STORE_LATENCY,
                "Time from Kafka's timestamp of a message to its records being stored, by source, seconds.",
                &["source"],
                SECONDS,
            )?,
            end_to_end: histogram_vec(
                metric::CONSUMER_END_TO_END,
                "Time from the producer's taking an upload to its records being stored, by source, seconds.",
                &["source"],
                SECONDS,
            )?,
            batch_records: histogram_vec(
                metric::CONSUMER_BATCH_RECORDS,
                "Records in one write to the stores.",
                &[],
                RECORDS,
            )?,
            write_duration: histogram_vec(
                metric::CONSUMER_WRITE_DURATION,
                "Duration of one write by store, seconds.",
                &["store"],
                SECONDS,
            )?,
            retries: counter_vec(metric::CONSUMER_RETRIES, "Retries of a write by store.", &["store"])?,
            fenced: fenced.with_label_values(&no_labels),
            partitions: gauge(metric::CONSUMER_PARTITIONS, "Partitions assigned to this reader.")?,
        })
    }

    /// A batch is stored, but for what was given up.
    pub fn stored(&self, batch: &Batch, account: &Account, rejections: &[Rejection]) {
        let no_labels: [&str; 0] = [];
        let records = batch.records() as f64;
        self.batch_records.with_label_values(&no_labels).observe(records);
        for (source, counts) in account.by_source() {
            let values = [counts.stored, counts.duplicate(), counts.dead_lettered, counts.erased];
            for (outcome, count) in OUTCOMES.into_iter().zip(values) {
                // Never negative: they are parts of what was read.
                let count = u64::try_from(count).unwrap_or(0);
                self.records.with_label_values(&[source.name(), outcome]).inc_by(count);
            }
            let expired = u64::try_from(counts.expired).unwrap_or(0);
            self.expired.with_label_values(&[source.name()]).inc_by(expired);
        }
        for rejection in rejections {
            let labels = [rejection.partition.topic.source.name(), rejection.class.name()];
            self.dead_letters.with_label_values(&labels).inc();
        }
        let now = Utc::now();
        for message in &batch.messages {
            let source = message.delivery.partition.topic.source.name();
            let since = |time: DateTime<Utc>| (now - time).as_seconds_f64().max(0.0);
            self.end_to_end
                .with_label_values(&[source])
                .observe(since(message.taken_at));
            if let Some(time) = message.delivery.time() {
                self.store_latency.with_label_values(&[source]).observe(since(time));
            }
        }
    }

    /// A batch is not given up although nearly nothing of it can be stored. The breaker is open as long as the answer
    /// lives.
    pub fn breaker_opens(&self) -> BreakerIsOpen {
        self.breakers.inc();
        BreakerIsOpen(self.breakers.clone())
    }

    /// The partitions of a lane are paused, because a store does not keep up.
    pub fn paused(&self) {
        self.pauses.inc();
    }

    /// A store took a write in this time.
    pub fn written(&self, store: &str, took: std::time::Duration) {
        self.write_duration
            .with_label_values(&[store])
            .observe(took.as_secs_f64());
    }

    /// A write is tried again.
    pub fn retried(&self, store: &str) {
        self.retries.with_label_values(&[store]).inc();
    }

    /// A batch was dropped because of another reader.
    pub fn fenced(&self) {
        self.fenced.inc();
    }

    /// This reader has so many partitions.
    pub fn assigned(&self, partitions: usize) {
        self.partitions.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }
}
