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

/// Hours that may be shown one by one: a week. As many are read, whoever asks.
pub const MOST_HOURS: u32 = 168;
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

    /// What has become of everything, at most a few seconds ago, and of the last `hours` one by one, [`MOST_HOURS`] at
    /// most. However many ask for however many hours, it is read once.
    pub async fn report(&self, hours: u32) -> Result<Reconciliation, ReconcileError> {
        let report = within_bound(self.last_or_new()).await?;
        Ok(report.of_last(hours))
    }

    /// The same without hours, and without waiting for others who ask.
    pub async fn totals(&self) -> Result<Reconciliation, ReconcileError> {
        within_bound(self.read(0)).await
    }

    async fn last_or_new(&self) -> Result<Arc<Reconciliation>, ReconcileError> {
        let mut last = self.last.lock().await;
        if let Some((read, report)) = &*last
            && read.elapsed() < FRESH
        {
            return Ok(report.clone());
        }
        let report = Arc::new(self.read(MOST_HOURS).await?);
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

async fn within_bound<T>(reading: impl Future<Output = Result<T, ReconcileError>>) -> Result<T, ReconcileError> {
    match timeout(TIMEOUT, reading).await {
        Ok(outcome) => outcome,
        Err(_) => Err(LedgerError::Away(Away(format!("no account within {} s", TIMEOUT.as_secs()))).into()),
    }
}
