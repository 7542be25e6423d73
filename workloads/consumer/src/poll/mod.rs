//! The reader: one thread that polls Kafka, collects messages and hands them to the writers, one for each lane.
//!
//! - [`lane`]: which partitions are written together
//! - [`membership`]: what happens when partitions come and go
//! - [`start`]: from which offset a partition is read
//! - [`expiry`]: what Kafka had deleted before it was read

mod expiry;
pub mod lane;
pub mod membership;
pub mod start;

use crate::{
    batch::{Delivery, Header},
    collected::Collected,
    topic::Partition,
    topic_ids::TopicIdsError,
};
use membership::{Membership, State};
use rdkafka::{
    ClientConfig, Message,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
};
use std::{
    ops::Range,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

/// Part of `/ready`.
pub const KAFKA: &str = "kafka";
/// Longest wait for an answer of a broker.
const BROKER_TIMEOUT: Duration = Duration::from_secs(10);
/// Most messages that are read before the reader looks at what else there is to do.
const RUN: usize = 256;
/// Longest poll.
const POLL: Duration = Duration::from_millis(100);
/// A writer that is busy for longer has a store that is away. Then the partitions of its lane are paused and polling goes
/// on, for the other lanes and so that the group does not think this reader dead. Pausing throws away what was fetched
/// ahead: not for every batch.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two commits to Kafka: of every batch its own, a busy reader would keep the group's coordinator as busy.
const COMMIT_EVERY: Duration = Duration::from_millis(50);
/// Time between commits of offsets that Kafka did not acknowledge.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at whether the ledger is where it was left, and the longest of them: nothing is read meanwhile.
pub const LEDGER_LOOKS: Duration = Duration::from_secs(3);
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
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
    /// To the writer of each lane.
    writers: Vec<mpsc::Sender<Collected>>,
    stop: CancellationToken,
    give_up: CancellationToken,
    committed_at: Instant,
    /// When the ledger was last looked at.
    looked_at: Instant,
}

impl Reader {
    /// Joins the group.
    pub fn join(
        config: &ClientConfig,
        membership: Membership,
        writers: Vec<mpsc::Sender<Collected>>,
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
            writers,
            stop,
            give_up,
            committed_at: Instant::now(),
            looked_at: Instant::now(),
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
            let fenced = std::mem::take(&mut self.state().fenced);
            if fenced || self.ledger_was_moved() {
                self.start_again();
            }
            self.commit(false);
            if !self.hand_over()? {
                self.consumer.context().settle_one(POLL);
                continue;
            }
            let batch = self.state().lanes.due_in().unwrap_or(POLL);
            let wait = batch.min(self.commit_in()).min(POLL);
            self.read_run(wait)?;
        }
        Ok(())
    }

    /// Reads what is there, as long as no lane has enough; only for the first message it waits.
    fn read_run(&self, wait: Duration) -> Result<(), ReadError> {
        let mut wait = wait;
        let mut latest = None;
        for _ in 0..RUN {
            match self.consumer.poll(wait) {
                Some(Ok(message)) if !self.take(&message, &mut latest)? => wait = Duration::ZERO,
                Some(Err(error)) => return self.heed(error),
                None | Some(Ok(_)) => break,
            }
        }
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.consumer.context().state()
    }

    /// Gives what each lane has collected to its writer, when that is due. `false` while a writer has no room that may
    /// soon have: what is read then could find none either.
    fn hand_over(&mut self) -> Result<bool, ReadError> {
        let mut may_read = true;
        for number in 0..self.writers.len() {
            let mut state = self.state();
            let lane = state.lanes.at(number);
            match lane.collected.due_in() {
                Some(Duration::ZERO) if lane.has_room() => {
                    drop(state);
                    self.send(number)?;
                    self.resume(number);
                }
                Some(Duration::ZERO) => {
                    let since = *lane.blocked_since.get_or_insert_with(Instant::now);
                    let waits = since.elapsed() < PATIENCE;
                    drop(state);
                    if !waits {
                        self.pause(number);
                    }
                    may_read &= !waits;
                }
                Some(_) => {}
                None => {
                    // A fence or a rebalance has taken all that waited: only what is read now ends the pause.
                    lane.blocked_since = None;
                    drop(state);
                    self.resume(number);
                }
            }
        }
        Ok(may_read)
    }

    /// Gives what the lane has collected to its writer, which has room.
    fn send(&self, number: usize) -> Result<(), ReadError> {
        let mut state = self.state();
        let epoch = state.epoch;
        let collected = state.lanes.take(number, epoch);
        state.positions.hand_over(&collected.moves);
        drop(state);
        self.writers[number]
            .try_send(collected)
            .map_err(|_| ReadError::WriterGone)
    }

    /// Takes note of what the writer has done.
    fn settle(&self) {
        while self.consumer.context().settle_one(Duration::ZERO) {}
    }

    /// Whether somebody else has moved the ledger: a rewind, or PostgreSQL was restored from a backup. A batch would be
    /// fenced, but there may be none for long.
    fn ledger_was_moved(&mut self) -> bool {
        let context = self.consumer.context();
        if self.looked_at.elapsed() < context.ledger_looks {
            return false;
        }
        let settled = context.state().positions.settled();
        let partitions = settled.keys().cloned().collect();
        let reading = context.postgres.read_ledger(&context.ledger, &partitions);
        // Within the runtime: a timeout begins where its clock is.
        let found = context.runtime.block_on(async { timeout(LOOK_TIMEOUT, reading).await });
        self.looked_at = Instant::now();
        // While PostgreSQL is away, others say so.
        let Ok(Ok(found)) = found else { return false };
        let moved = settled
            .iter()
            .find(|(partition, next)| found.get(partition) != Some(next));
        if let Some((partition, next)) = moved {
            tracing::warn!(
                %partition, expected = next, found = found.get(partition),
                "the ledger was moved by somebody else; reading once more from where it is"
            );
        }
        moved.is_some()
    }

    /// Tells Kafka what is stored, if it is time to. A hint for those who measure the lag: the ledger is what counts, and
    /// nobody waits for the answer.
    fn commit(&mut self, now: bool) {
        if now || self.commit_in().is_zero() {
            let context = self.consumer.context();
            context.state().fresh = false;
            context.commit(&self.consumer);
            self.committed_at = Instant::now();
        }
    }

    /// How long it is until the next commit.
    fn commit_in(&self) -> Duration {
        let interval = match self.state().fresh {
            true => COMMIT_EVERY,
            false => COMMIT_AGAIN,
        };
        interval.saturating_sub(self.committed_at.elapsed())
    }

    /// Takes a message to its lane. Answers whether the lane has enough then. `latest` is where the message before it was
    /// read: they come in runs of one partition.
    fn take(&self, message: &BorrowedMessage<'_>, latest: &mut Option<Partition>) -> Result<bool, ReadError> {
        let context = self.consumer.context();
        let (topic, number) = (message.topic(), message.partition());
        if !latest.as_ref().is_some_and(|latest| latest.is(topic, number)) {
            *latest = context.topics.partition(topic, number);
        }
        let Some(partition) = latest else { return Ok(false) };
        let mut state = context.state();
        // A message of a partition that has just gone belongs to its new reader.
        let Some(mut ledger) = state.positions.ledger(partition) else {
            return Ok(false);
        };
        let offset = message.offset();
        let expected = state.expected(partition).unwrap_or(offset);
        let mut expired = 0;
        if offset < expected {
            drop(state);
            context.check_identity(partition)?;
            state = context.state();
            tracing::error!(
                %partition, offset, ledger,
                "offsets went back: the topic's log was cut. Reading it again; what is stored already is recognised"
            );
            state.lanes.forget(&[partition.clone()].into());
            state.positions.rewind(partition, offset);
            ledger = state.positions.ledger(partition).unwrap_or(ledger);
        } else if offset > expected {
            let Some(count) = self.expired(&mut state, partition, expected..offset) else {
                tracing::warn!(%partition, expected, offset, "Kafka does not tell whether what is missing was deleted");
                state.fenced = true;
                return Ok(true);
            };
            expired = count;
        }
        let collected = &mut state.lanes.of(partition).collected;
        let delivery = Delivery {
            partition,
            offset,
            timestamp: message.timestamp().to_millis(),
            key: message.key(),
            value: message.payload(),
            headers: &headers(message),
            expired,
        };
        if let Err(error) = collected.push(delivery, ledger) {
            // Not to be expected: the same numbers were looked at before. Reading the ledger again repairs it.
            tracing::error!(%error, "a message came out of order");
            state.fenced = true;
            return Ok(true);
        }
        Ok(collected.is_full())
    }

    /// How many of the offsets that are missing before a message are those of messages that Kafka had deleted; `None`
    /// where it does not tell, and the message is to be read again.
    fn expired(&self, state: &mut State, partition: &Partition, missing: Range<i64>) -> Option<i64> {
        state.starts.expired(partition, missing, || {
            let start = self
                .consumer
                .fetch_watermarks(&partition.topic.name, partition.number, BROKER_TIMEOUT);
            start.map(|(start, _)| start).ok()
        })
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
            let epoch = state.epoch;
            state.lanes.clear(epoch);
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

    fn pause(&self, number: usize) {
        if std::mem::replace(&mut self.state().lanes.at(number).paused, true) {
            return;
        }
        self.consumer.context().metrics.paused();
        tracing::warn!(lane = number, "the stores do not keep up; partitions are paused");
        self.with_partitions_of(number, "pause", |list| self.consumer.pause(list));
    }

    fn resume(&self, number: usize) {
        if std::mem::take(&mut self.state().lanes.at(number).paused) {
            tracing::info!(lane = number, "partitions are read on");
            self.with_partitions_of(number, "resume", |list| self.consumer.resume(list));
        }
    }

    fn with_partitions_of(
        &self,
        number: usize,
        what: &str,
        act: impl FnOnce(&rdkafka::TopicPartitionList) -> Result<(), KafkaError>,
    ) {
        let state = self.state();
        let all = state.positions.partitions();
        let of_lane = all.iter().filter(|partition| state.lanes.number(partition) == number);
        let list = membership::list(of_lane.map(|partition| (partition, 0)));
        drop(state);
        if let Err(error) = act(&list) {
            tracing::warn!(%error, what, "the assignment did not change");
        }
    }

    /// The end: what was read is written, if the stores take it in time, and committed.
    fn finish(&mut self) {
        let deadline = Instant::now() + LAST_WRITES;
        let context = self.consumer.context().clone();
        if context.state().failure.is_some() {
            let epoch = context.state().epoch;
            context.state().lanes.clear(epoch);
        }
        while Instant::now() < deadline && !context.state().lanes.is_done() {
            for number in 0..self.writers.len() {
                let lane_is_due = {
                    let mut state = context.state();
                    let lane = state.lanes.at(number);
                    !lane.collected.is_empty() && lane.has_room()
                };
                if lane_is_due && self.send(number).is_err() {
                    break;
                }
            }
            context.settle_one(POLL);
        }
        if !context.state().lanes.is_done() {
            tracing::warn!("the stores did not take the last batches in time; their records will be read again");
            self.give_up.cancel();
        }
        self.commit(true);
    }
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    })
}
