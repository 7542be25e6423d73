//! The account as metrics. They are set in the background: a scrape never waits for PostgreSQL or Kafka.

use super::{Reconciler, report::Reconciliation};
use contract::metric;
use prometheus::IntGaugeVec;
use runtime::metrics::{MetricError, gauge_vec};
use std::{sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// Between two readings.
const INTERVAL: Duration = Duration::from_secs(30);
/// Readings in a row that may fail before the old figures are taken away.
const PATIENCE: u32 = 3;

/// What of an account is exported, by source.
#[derive(Clone)]
pub struct Gauges {
    messages: IntGaugeVec,
}

impl Gauges {
    /// Registers them, without a figure.
    pub fn register() -> Result<Gauges, MetricError> {
        Ok(Gauges {
            messages: gauge_vec(
                metric::RECONCILIATION,
                "Messages by source and outcome (settled, expired, in_flight, unaccounted).",
                &["source", "outcome"],
            )?,
        })
    }

    /// Sets them. Sources of which Kafka did not tell everything keep what they had.
    pub fn show(&self, report: &Reconciliation) {
        for source in &report.sources {
            let Some(in_flight) = source.messages.in_flight else {
                continue;
            };
            // Without their signs: what is missing in one partition does not make up for too much in another.
            let differences = source
                .partitions
                .iter()
                .map(|one| one.messages.difference.abs() + one.records.difference.abs());
            for (outcome, messages) in [
                ("settled", source.messages.settled),
                ("expired", source.messages.expired),
                ("in_flight", in_flight),
                ("unaccounted", differences.sum()),
            ] {
                self.messages.with_label_values(&[source.source, outcome]).set(messages);
            }
        }
    }

    /// Takes all figures away: they are too old.
    pub fn forget(&self) {
        self.messages.reset();
    }

    /// Sets them again and again. Never returns.
    pub async fn keep_fresh(&self, reconciler: Arc<Reconciler>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failed = 0;
        loop {
            ticks.tick().await;
            match reconciler.totals().await {
                Ok(report) => {
                    failed = 0;
                    self.show(&report);
                }
                Err(error) => {
                    failed += 1;
                    tracing::debug!(%error, failed, "the account of all messages is not read");
                    if failed == PATIENCE {
                        self.forget();
                    }
                }
            }
        }
    }
}
