//! What happens when partitions come and go. The callbacks run on the reader's thread, within a poll, and may block:
//! the heartbeat is another thread's.

use super::{KAFKA, ReadError, expiry::LogStarts, lane::Lanes};
use crate::{
    config::BatchLimits,
    ledger::Positions,
    metrics::Metrics,
    sink::postgres::{Postgres, ledger::LedgerKey},
    topic::{Partition, Topics},
    topic_ids::TopicIds,
    writer::{Completion, Ending},
};
use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    client::OAuthToken,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult},
    types::RDKafkaRespErr,
};
use runtime::{
    health::Health,
    kafka::{Diagnosis, Tokens},
};
use std::{
    collections::BTreeSet,
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64, mpsc},
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Longest wait for writes in progress when partitions go to another reader. What is not written by then is fenced
/// off, or fences the other one off: nothing is lost or stored twice either way, only read twice.
const REVOKE_WAIT: Duration = Duration::from_secs(8);

/// This reader's part in the group.
pub struct Membership {
    pub(super) runtime: Handle,
    pub(super) postgres: Postgres,
    pub(super) ledger: LedgerKey,
    pub(super) topic_ids: TopicIds,
    pub(super) topics: Topics,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
    pub(super) diagnosis: Diagnosis,
    tokens: Tokens,
    pub(super) ledger_looks: Duration,
    pub(super) stop: CancellationToken,
    pub(super) epoch: Arc<AtomicU64>,
    state: Mutex<State>,
    completions: Mutex<mpsc::Receiver<Completion>>,
}

/// What the reader's thread knows. Only that thread uses it; the lock is for the compiler.
pub(super) struct State {
    /// Where this reader is.
    pub(super) positions: Positions,
    /// What is being collected and written.
    pub(super) lanes: Lanes,
    /// Something was written since the last commit.
    pub(super) fresh: bool,
    /// A batch was fenced: read the ledger again.
    pub(super) fenced: bool,
    /// Grows with each fence.
    pub(super) epoch: u64,
    /// Reading cannot go on.
    pub(super) failure: Option<ReadError>,
    /// Where the logs begin that had something missing.
    pub(super) starts: LogStarts,
}

impl State {
    /// The offset that is to come next; `None` when the partition is not this reader's.
    pub(super) fn expected(&self, partition: &Partition) -> Option<i64> {
        self.lanes.next(partition).or_else(|| self.positions.next(partition))
    }
}

/// What a [`Membership`] is made of.
pub struct Parts {
    /// Where asynchronous work runs.
    pub runtime: Handle,
    /// Holds the ledger.
    pub postgres: Postgres,
    /// Whose rows of the ledger.
    pub ledger: LedgerKey,
    /// Reads ids of topics.
    pub topic_ids: TopicIds,
    /// The topics, as they were when this process started.
    pub topics: Topics,
    /// Readiness of Kafka.
    pub health: Health,
    /// Metrics.
    pub metrics: Metrics,
    /// Cancelled at shutdown.
    pub stop: CancellationToken,
    /// The reader's epoch, for the writer to see.
    pub epoch: Arc<AtomicU64>,
    /// What the writer has done.
    pub completions: mpsc::Receiver<Completion>,
    /// When a batch is full, and how many bytes all of them may hold.
    pub limits: BatchLimits,
    /// Lanes of each topic.
    pub lanes_of_topic: usize,
    /// Between two looks at whether the ledger is where it was left: [`super::LEDGER_LOOKS`] where it is kept.
    pub ledger_looks: Duration,
    /// Tokens, where the brokers want one.
    pub tokens: Tokens,
}

impl Membership {
    /// A member that has no partitions yet.
    pub fn new(parts: Parts) -> Membership {
        let lanes = Lanes::new(&parts.topics, parts.lanes_of_topic, parts.limits);
        Membership {
            runtime: parts.runtime,
            postgres: parts.postgres,
            ledger: parts.ledger,
            topic_ids: parts.topic_ids,
            topics: parts.topics,
            health: parts.health,
            metrics: parts.metrics,
            diagnosis: Diagnosis::default(),
            tokens: parts.tokens,
            ledger_looks: parts.ledger_looks,
            stop: parts.stop,
            epoch: parts.epoch,
            state: Mutex::new(State {
                positions: Positions::default(),
                lanes,
                fresh: false,
                fenced: false,
                epoch: 0,
                failure: None,
                starts: LogStarts::default(),
            }),
            completions: Mutex::new(parts.completions),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the writer has done something, and takes note of it.
    pub(super) fn settle_one(&self, wait: Duration) -> bool {
        let completion = {
            let completions = self.completions.lock().unwrap_or_else(PoisonError::into_inner);
            if wait.is_zero() {
                completions.try_recv().ok()
            } else {
                completions.recv_timeout(wait).ok()
            }
        };
        let Some(completion) = completion else { return false };
        let Completion {
            lane,
            epoch,
            moves,
            density,
            ending,
        } = completion;
        let mut state = self.state();
        let lane = state.lanes.at(lane);
        lane.in_flight.pop_front();
        lane.density = density;
        match ending {
            Ending::Written => {
                state.positions.written(&moves);
                state.fresh = true;
            }
            Ending::Fenced if epoch == state.epoch => state.fenced = true,
            Ending::Fenced | Ending::Stale | Ending::Abandoned => {}
        }
        true
    }

    /// Commits what both stores hold and Kafka does not know.
    pub(super) fn commit(&self, consumer: &BaseConsumer<Membership>) {
        let due = self.state().positions.to_commit();
        if due.is_empty() {
            return;
        }
        let list = list(due.iter().map(|(partition, offset)| (partition, *offset)));
        if let Err(error) = consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "offsets are not committed yet");
        }
    }

    fn partitions(&self, list: &TopicPartitionList) -> BTreeSet<Partition> {
        list.elements()
            .iter()
            .filter_map(|element| self.topics.partition(element.topic(), element.partition()))
            .collect()
    }

    fn assigned(&self, consumer: &BaseConsumer<Membership>, list: &mut TopicPartitionList) -> KafkaResult<()> {
        let partitions = self.partitions(list);
        tracing::info!(count = partitions.len(), "partitions assigned");
        // Without their start offsets the partitions must not be read. They are answered for all the same, and what
        // comes of them is dropped: this reader is on its way out then, or out of the group.
        let starts = self.starts_with_patience(consumer, &partitions).unwrap_or_default();
        for (partition, offset) in &starts {
            list.set_partition_offset(&partition.topic.name, partition.number, Offset::Offset(*offset))?;
        }
        let mut state = self.state();
        for (partition, offset) in starts {
            state.positions.assign(partition, offset);
        }
        let (paused, read): (Vec<_>, Vec<_>) = partitions
            .iter()
            .map(|partition| (partition, 0))
            .partition(|(partition, _)| state.lanes.is_paused(partition));
        drop(state);
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(list)?,
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list)?,
        }
        // librdkafka remembers for a partition that it was paused, also when it went to another reader meanwhile: one
        // that comes back must be told either way.
        if !read.is_empty() {
            consumer.resume(&self::list(read.into_iter()))?;
        }
        if !paused.is_empty() {
            consumer.pause(&self::list(paused.into_iter()))?;
        }
        Ok(())
    }

    fn revoked(&self, consumer: &BaseConsumer<Membership>, list: &TopicPartitionList) -> KafkaResult<()> {
        let gone = self.partitions(list);
        let lost = consumer.assignment_lost();
        tracing::info!(count = gone.len(), lost, "partitions revoked");
        self.state().lanes.forget(&gone);
        if !lost {
            let deadline = Instant::now() + REVOKE_WAIT;
            while self.is_writing(&gone)
                && let Some(left) = deadline.checked_duration_since(Instant::now())
                && self.settle_one(left.max(Duration::from_millis(1)))
            {}
            self.commit(consumer);
        }
        let mut state = self.state();
        for partition in &gone {
            state.positions.revoke(partition);
        }
        drop(state);
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
        }
    }

    fn is_writing(&self, partitions: &BTreeSet<Partition>) -> bool {
        self.state().lanes.is_writing(partitions)
    }
}

impl ClientContext for Membership {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn error(&self, error: KafkaError, reason: &str) {
        self.diagnosis.record(&error, reason);
        tracing::warn!(%error, reason, "Kafka consumer");
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.answer()
    }
}

impl ConsumerContext for Membership {
    fn rebalance(&self, consumer: &BaseConsumer<Membership>, kind: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let outcome = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.health.set(KAFKA, Ok(()));
                self.assigned(consumer, list)
            }
            _ => self.revoked(consumer, list),
        };
        if let Err(error) = outcome {
            self.state().failure = Some(error.into());
        }
        self.metrics.assigned(self.state().positions.len());
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if let Err(error) = result {
            // Usual during a rebalance; what is still due is committed again.
            tracing::debug!(%error, "offsets are not committed yet");
            return;
        }
        let mut state = self.state();
        for element in offsets.elements() {
            if let (Ok(()), Offset::Offset(offset), Some(partition)) = (
                element.error(),
                element.offset(),
                self.topics.partition(element.topic(), element.partition()),
            ) {
                state.positions.committed(&partition, offset);
            }
        }
    }
}

/// A list for librdkafka.
pub(super) fn list<'a>(offsets: impl Iterator<Item = (&'a Partition, i64)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        let mut element = list.add_partition(&partition.topic.name, partition.number);
        // Offsets of the ledger are never negative; librdkafka refuses no other.
        let _ = element.set_offset(Offset::Offset(offset));
    }
    list
}
