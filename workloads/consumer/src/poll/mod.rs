//! The reader: one thread that polls Kafka, fills batches and hands them to the writer.
//!
//! - [`membership`]: what happens when partitions come and go
//! - [`start`]: from which offset a partition is read

pub mod membership;
pub mod start;

use crate::{
    batch::{Batch, Delivery},
    config::BatchLimits,
    decode::decode,
    topic::Partition,
    topic_ids::TopicIdsError,
};
use chrono::DateTime;
use membership::{Membership, State};
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
};
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Part of `/ready`.
pub const KAFKA: &str = "kafka";
/// Batches with the writer: one being written, one waiting.
pub const BATCHES_WITH_WRITER: usize = 2;
/// Longest poll.
const POLL: Duration = Duration::from_millis(100);
/// A writer that is busy for longer has a store that is away. Then partitions are paused and polling goes on, so
/// that the group does not think this reader dead. Pausing throws away what was fetched ahead: not for every batch.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between commits of offsets that Kafka did not acknowledge.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);
/// Longest wait for the stores at shutdown.
const LAST_WRITES: Duration = Duration::from_secs(14);

/// Why reading cannot go on. The process ends, and starts anew with what it finds then.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// librdkafka cannot work with these settings.
    #[error("Kafka consumer: {0}")]
    Kafka(#[from] KafkaError),
    /// A topic was deleted and created again.
    #[error("topic {topic} was recreated: its id was {before} and is {now}; restarting to read the new one")]
    Recreated {
        /// Name of the topic.
        topic: String,
        /// Its id when this process started.
        before: uuid::Uuid,
        /// Its id now.
        now: uuid::Uuid,
    },
    /// The bootstrap servers belong to another cluster than before.
    #[error("the brokers are those of cluster {now} now, and were those of {before}; restarting to read there")]
    OtherCluster {
        /// Cluster id when this process started.
        before: String,
        /// Cluster id now.
        now: String,
    },
    /// Offsets went back, and the brokers do not say whether the topic is still the same.
    #[error("offsets of {partition} went back, and the topic's id cannot be read: {source}")]
    Unknown {
        /// The partition.
        partition: String,
        /// Why the id is not known.
        source: TopicIdsError,
    },
    /// The writer ended before the reader.
    #[error("the writer of batches ended unexpectedly")]
    WriterGone,
    /// The reader's thread ended without a word.
    #[error("the reader of Kafka ended unexpectedly")]
    ReaderGone,
}

/// Settings of the group's member, on top of those of the brokers.
pub fn consumer_config(mut brokers: ClientConfig, group: &str) -> ClientConfig {
    brokers
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("allow.auto.create.topics", "false")
        // The partitions of a reader that was killed are read by another one after this time.
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "3000")
        .set("max.poll.interval.ms", "300000")
        .set("topic.metadata.refresh.interval.ms", "30000")
        // Bounds the memory of what is fetched ahead; the pause after which a full queue is looked at again is a
        // second by default, which would be the pace of a busy reader.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.queue.backoff.ms", "20")
        .set("fetch.error.backoff.ms", "100")
        .set("fetch.wait.max.ms", "100");
    brokers
}

/// The reader's thread.
pub struct Reader {
    consumer: BaseConsumer<Membership>,
    batches: mpsc::Sender<Batch>,
    stop: CancellationToken,
    give_up: CancellationToken,
    limits: BatchLimits,
    blocked_since: Option<Instant>,
    committed_at: Instant,
}

impl Reader {
    /// Joins the group.
    pub fn join(
        config: &ClientConfig,
        membership: Membership,
        limits: BatchLimits,
        batches: mpsc::Sender<Batch>,
        stop: CancellationToken,
        give_up: CancellationToken,
    ) -> Result<Reader, ReadError> {
        let topics: Vec<String> = membership
            .topics
            .topics
            .iter()
            .map(|topic| topic.name.clone())
            .collect();
        let consumer: BaseConsumer<Membership> = config.create_with_context(membership)?;
        consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(Reader {
            consumer,
            batches,
            stop,
            give_up,
            limits,
            blocked_since: None,
            committed_at: Instant::now(),
        })
    }

    /// Reads until told to stop, then leaves the group with everything written that was read, if time allows.
    pub fn run(mut self) -> Result<(), ReadError> {
        let outcome = self.read();
        if let Err(error) = &outcome {
            tracing::error!(%error, "reading stops");
        }
        self.finish();
        // Dropping the consumer leaves the group.
        outcome
    }

    fn read(&mut self) -> Result<(), ReadError> {
        while !self.stop.is_cancelled() {
            self.settle();
            if let Some(error) = self.state().failure.take() {
                return Err(error);
            }
            if std::mem::take(&mut self.state().fenced) {
                self.start_again();
            }
            self.commit(false);
            let due = self.state().batch.due_in();
            if due.is_none() {
                // A fence or a rebalance has taken all that waited for the writer: only what is read now ends the pause.
                self.blocked_since = None;
                self.resume();
            }
            if due == Some(Duration::ZERO) && !self.hand_over()? {
                continue;
            }
            let wait = due.filter(|due| !due.is_zero()).unwrap_or(POLL).min(POLL);
            match self.consumer.poll(wait) {
                None => {}
                Some(Ok(message)) => self.take(&message)?,
                Some(Err(error)) => self.heed(error)?,
            }
        }
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.consumer.context().state()
    }

    /// Gives the batch to the writer. `false` when the writer has no room, after some waiting.
    fn hand_over(&mut self) -> Result<bool, ReadError> {
        if self.state().in_flight.len() >= BATCHES_WITH_WRITER {
            let since = *self.blocked_since.get_or_insert_with(Instant::now);
            if since.elapsed() < PATIENCE {
                self.consumer.context().settle_one(POLL);
                return Ok(false);
            }
            self.pause();
            // Serves rebalances; a message that was on its way all the same is kept.
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => self.take(&message)?,
                Some(Err(error)) => self.heed(error)?,
                None => {}
            }
            return Ok(false);
        }
        let mut state = self.state();
        let epoch = state.epoch;
        let batch = std::mem::replace(&mut state.batch, Batch::new(self.limits, epoch));
        state.positions.hand_over(&batch.moves);
        state.in_flight.push_back(batch.moves.partitions().cloned().collect());
        drop(state);
        self.batches.try_send(batch).map_err(|_| ReadError::WriterGone)?;
        self.blocked_since = None;
        self.resume();
        Ok(true)
    }

    /// Takes note of what the writer has done.
    fn settle(&self) {
        while self.consumer.context().settle_one(Duration::ZERO) {}
    }

    /// Tells Kafka what is stored. A hint for those who measure the lag: the ledger is what counts, and nobody waits
    /// for the answer.
    fn commit(&mut self, now: bool) {
        let context = self.consumer.context();
        let fresh = std::mem::take(&mut context.state().fresh);
        if fresh || now || self.committed_at.elapsed() >= COMMIT_AGAIN {
            context.commit(&self.consumer);
            self.committed_at = Instant::now();
        }
    }

    fn take(&self, message: &BorrowedMessage<'_>) -> Result<(), ReadError> {
        let context = self.consumer.context();
        let Some(partition) = context.topics.partition(message.topic(), message.partition()) else {
            return Ok(());
        };
        // A message of a partition that has just gone belongs to its new reader.
        let Some(mut ledger) = context.state().positions.ledger(&partition) else {
            return Ok(());
        };
        let offset = message.offset();
        if context.state().read_before(&partition, offset) {
            context.check_identity(&partition)?;
            let mut state = context.state();
            tracing::error!(
                %partition, offset, ledger,
                "offsets went back: the topic's log was cut. Reading it again; what is stored already is recognised"
            );
            state.batch.forget(&[partition.clone()].into());
            state.positions.rewind(&partition, offset);
            ledger = state.positions.ledger(&partition).unwrap_or(ledger);
        }
        let decoded = decode(delivery(partition.clone(), message));
        let mut state = context.state();
        if let Err(error) = state.batch.push(decoded, ledger) {
            // Not to be expected: `read_before` looks at the same numbers. Reading the ledger again repairs it.
            tracing::error!(%error, "a message came out of order");
            state.fenced = true;
        }
        Ok(())
    }

    fn heed(&self, error: KafkaError) -> Result<(), ReadError> {
        let context = self.consumer.context();
        match error.rdkafka_error_code() {
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) => return Err(error.into()),
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed,
            ) => context.health.set(KAFKA, Err(context.diagnosis.explain(&error))),
            _ => tracing::warn!(%error, "Kafka"),
        }
        Ok(())
    }

    /// After a fence: forget everything read, and read on from where the ledger is.
    fn start_again(&mut self) {
        let context = self.consumer.context();
        let partitions = {
            let mut state = context.state();
            state.epoch += 1;
            context.epoch.store(state.epoch, Ordering::Release);
            state.batch = Batch::new(self.limits, state.epoch);
            state.positions.partitions()
        };
        if partitions.is_empty() {
            return;
        }
        let Some(starts) = context.starts_with_patience(&self.consumer, &partitions) else {
            return;
        };
        let list = membership::list(starts.iter().map(|(partition, offset)| (partition, *offset)));
        let sought = self
            .consumer
            .seek_partitions(list, Duration::from_secs(10))
            .and_then(|answer| answer.elements().iter().try_for_each(|element| element.error()));
        let mut state = context.state();
        match sought {
            Ok(()) => {
                for (partition, offset) in starts {
                    state.positions.assign(partition, offset);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot go back to the ledger's offsets; trying again");
                state.fenced = true;
            }
        }
    }

    fn pause(&self) {
        let mut state = self.state();
        if state.paused {
            return;
        }
        state.paused = true;
        drop(state);
        tracing::warn!("the stores do not keep up; partitions are paused");
        self.with_assignment("pause", |list| self.consumer.pause(list));
    }

    fn resume(&self) {
        if std::mem::take(&mut self.state().paused) {
            tracing::info!("partitions are read on");
            self.with_assignment("resume", |list| self.consumer.resume(list));
        }
    }

    fn with_assignment(&self, what: &str, act: impl FnOnce(&rdkafka::TopicPartitionList) -> Result<(), KafkaError>) {
        if let Err(error) = self.consumer.assignment().and_then(|list| act(&list)) {
            tracing::warn!(%error, what, "the assignment did not change");
        }
    }

    /// The end: what was read is written, if the stores take it in time, and committed.
    fn finish(&mut self) {
        let deadline = Instant::now() + LAST_WRITES;
        let context = self.consumer.context().clone();
        let mut handed_over = context.state().batch.is_empty() || context.state().failure.is_some();
        while Instant::now() < deadline {
            if !handed_over && context.state().in_flight.len() < BATCHES_WITH_WRITER {
                handed_over = self.hand_over().unwrap_or(true);
            }
            if handed_over && context.state().in_flight.is_empty() {
                break;
            }
            context.settle_one(POLL);
        }
        if !handed_over || !context.state().in_flight.is_empty() {
            tracing::warn!("the stores did not take the last batches in time; their records will be read again");
            self.give_up.cancel();
        }
        self.commit(true);
    }
}

fn delivery(partition: Partition, message: &BorrowedMessage<'_>) -> Delivery {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    });
    Delivery {
        partition,
        offset: message.offset(),
        timestamp: message
            .timestamp()
            .to_millis()
            .and_then(DateTime::from_timestamp_millis),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}
