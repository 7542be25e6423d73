//! The consumer's metrics. Accepted records = stored + duplicate + dead-lettered, by source.

use contract::{Source, metric};
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge};
use runtime::metrics::{MetricError, SECONDS, counter_vec, gauge, histogram_vec};
use std::collections::BTreeMap;

/// Bounds of batch sizes.
const RECORDS: &[f64] = &[
    1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0,
];

/// What becomes of a record.
const OUTCOMES: [&str; 3] = ["stored", "duplicate", "dead_lettered"];

/// What became of the records of a batch, by source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// New, or newer than what was there.
    pub stored: BTreeMap<Source, u64>,
    /// There already.
    pub duplicate: BTreeMap<Source, u64>,
    /// Given up.
    pub dead_lettered: BTreeMap<Source, u64>,
}

/// All metrics of the consumer.
#[derive(Clone)]
pub struct Metrics {
    records: IntCounterVec,
    batch_records: HistogramVec,
    write_duration: HistogramVec,
    retries: IntCounterVec,
    fenced: IntCounter,
    partitions: IntGauge,
}

impl Metrics {
    /// Registers them.
    pub fn register() -> Result<Metrics, MetricError> {
        let records = counter_vec(
            metric::CONSUMER_RECORDS,
            "Records by source and outcome (stored, duplicate, dead_lettered).",
            &["source", "outcome"],
        )?;
        // There from the start, so that the first dead letter is an increase and not a beginning.
        for source in Source::ALL {
            for outcome in OUTCOMES {
                records.with_label_values(&[source.name(), outcome]);
            }
        }
        let fenced = counter_vec(
            metric::CONSUMER_FENCED,
            "Batches dropped because another reader had moved the ledger on.",
            &[],
        )?;
        let no_labels: [&str; 0] = [];
        Ok(Metrics {
            records,
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

    /// A batch is stored.
    pub fn stored(&self, records: usize, tally: &Tally) {
        let no_labels: [&str; 0] = [];
        self.batch_records.with_label_values(&no_labels).observe(records as f64);
        let counts = [&tally.stored, &tally.duplicate, &tally.dead_lettered];
        for (outcome, counts) in OUTCOMES.into_iter().zip(counts) {
            for (source, count) in counts {
                self.records.with_label_values(&[source.name(), outcome]).inc_by(*count);
            }
        }
    }

    /// A store took a write that began at `started`.
    pub fn written(&self, store: &str, started: std::time::Instant) {
        self.write_duration
            .with_label_values(&[store])
            .observe(started.elapsed().as_secs_f64());
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
