//! Accepted = stored + deduplicated + dead-lettered + expired + erased + in flight: whether that holds, for each
//! source, partition and hour.
//!
//! - [`report`]: the arithmetic
//! - [`route`]: `GET /v1/reconciliation`
//! - [`page`]: the same for a browser
//! - [`gauges`]: the same for Prometheus

pub mod gauges;
pub mod page;
pub mod report;
pub mod route;
#[cfg(test)]
mod tests;

use crate::{
    database::Away,
    kafka::ends::Extents,
    ledger::{Accounts, LedgerError, account::Range},
    topics::Topics,
};
use chrono::Utc;
use report::{Findings, Reconciliation};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Mutex, time::timeout};

/// How long an answer is given again.
const FRESH: Duration = Duration::from_secs(5);
/// Longest wait for an answer, one that somebody else waits for included.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The consumers' accounts cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Kafka has not been reached since this process started.
    #[error("Kafka has not told its cluster id yet")]
    KafkaAway,
}

/// Reads what the consumers have noted and what Kafka holds. Shared by all HTTP workers.
pub struct Reconciler {
    accounts: Arc<dyn Accounts>,
    extents: Arc<dyn Extents>,
    topics: Topics,
    /// Held while it is read, so that many who ask at once are told the same.
    last: Mutex<Option<(Instant, Arc<Reconciliation>)>>,
}

impl Reconciler {
    /// Of these topics. Nothing is read yet.
    pub fn new(accounts: Arc<dyn Accounts>, extents: Arc<dyn Extents>, topics: Topics) -> Reconciler {
        Reconciler {
            accounts,
            extents,
            topics,
            last: Mutex::default(),
        }
    }

    /// What has become of everything, at most a few seconds ago, and of the last `hours` one by one.
    pub async fn report(&self, hours: u32) -> Result<Arc<Reconciliation>, ReconcileError> {
        match timeout(TIMEOUT, self.report_of(hours)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(LedgerError::Away(Away(format!("no account within {} s", TIMEOUT.as_secs()))).into()),
        }
    }

    async fn report_of(&self, hours: u32) -> Result<Arc<Reconciliation>, ReconcileError> {
        let mut last = self.last.lock().await;
        if let Some((read, report)) = &*last
            && read.elapsed() < FRESH
            && report.hours == hours
        {
            return Ok(report.clone());
        }
        let report = Arc::new(self.read(hours).await?);
        *last = Some((Instant::now(), report.clone()));
        Ok(report)
    }

    async fn read(&self, hours: u32) -> Result<Reconciliation, ReconcileError> {
        let cluster = self.extents.cluster().ok_or(ReconcileError::KafkaAway)?;
        let topics: Vec<String> = self.topics.names().map(str::to_owned).collect();
        let partitions = topics
            .iter()
            .filter_map(|topic| Some((topic.clone(), self.extents.partitions(topic)?)))
            .collect();
        let range = Range { cluster, topics, hours };
        let at = Utc::now();
        let mut findings = Findings {
            accounts: self.accounts.accounts(range).await?,
            partitions,
            ..Findings::default()
        };
        // Afterwards: what is read meanwhile was written before.
        findings.extents = self.extents.extents(findings.wanted(&self.topics)).await;
        Ok(findings.report(&self.topics, hours, at))
    }
}
