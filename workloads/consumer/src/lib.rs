//! Kafka into PostgreSQL and MongoDB, each record once.
//!
//! ```text
//!      reader (a thread)                                  a writer (a thread) for each lane
//!  Kafka ─► poll ─► collect ─► bounded channel ─► decode ─► MongoDB ─► dead letters ─► PostgreSQL + ledger
//!    ▲                                                                                      │
//!    └────────────── commit, a hint for those who measure the lag ◄──── completion ◄────────┘
//! ```
//!
//! The ledger in PostgreSQL says what is stored, and moves in the transaction that stores it. Partitions are read
//! from where it stands; a reader that lost a partition without knowing finds it moved, and stores nothing.
//!
//! - [`config`]: what the environment decides
//! - [`topic`], [`topic_ids`]: topics by id, because a recreated topic keeps its name
//! - [`poll`]: the reader, and its part in the consumer group
//! - [`copies`], [`collected`], [`decode`], [`batch`], [`ledger`]: from messages to what is written together; [`account`]: what became
//!   of it
//! - [`writer`]: the order of writing, and its patience
//! - [`breaker`]: stops where nearly nothing can be stored
//! - [`sink`]: the two stores; [`isolate`]: finding what a store refuses; [`dead_letter`]: where that goes
//! - [`retry`], [`metrics`]: pauses and counters
//! - [`dlq`]: the commands on dead letters; [`rewind`]: reading once more; [`erase`]: a user's records; [`turn`]: waiting
//!   for the writes under way; [`moment`]: moments as people write them

pub mod account;
pub mod batch;
pub mod breaker;
pub mod candidates;
pub mod collected;
pub mod config;
pub mod copies;
pub mod dead_letter;
pub mod decode;
pub mod dlq;
pub mod erase;
pub mod isolate;
pub mod ledger;
pub mod metrics;
pub mod moment;
pub mod poll;
pub mod retry;
pub mod rewind;
pub mod sink;
mod start;
pub mod topic;
pub mod topic_ids;
pub mod turn;
pub mod writer;

use crate::{
    breaker::Breaker,
    config::Config,
    dead_letter::{DEAD_LETTERS, DeadLetters},
    metrics::Metrics,
    poll::{KAFKA, LEDGER_LOOKS, ReadError, Reader, consumer_config, lane, membership},
    sink::{
        MONGODB, POSTGRES, StoreError,
        health::StoreHealth,
        mongodb::Mongodb,
        postgres::{Postgres, ledger::LedgerKey},
    },
    topic_ids::TopicIds,
    writer::Writer,
};
use runtime::{
    env::{Env, EnvError},
    health::Health,
    metrics::MetricError,
};
use std::{
    future::pending,
    io,
    sync::{Arc, OnceLock, atomic::AtomicU64},
    thread,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

/// Longest shutdown; the pod is killed after 30 s.
const SHUTDOWN: Duration = Duration::from_secs(22);

/// Why the consumer ended, other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The environment is wrong.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// Metrics cannot be registered.
    #[error(transparent)]
    Metrics(#[from] MetricError),
    /// A store's settings are wrong.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reading cannot go on.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A Kafka client cannot be made with these settings.
    #[error("Kafka client: {0}")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// The port is taken, or a thread cannot be started.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The end took too long.
    #[error("shutdown did not end within {} s; what was not written is read again", SHUTDOWN.as_secs())]
    SlowShutdown,
}

/// Runs the consumer that the environment describes until `stop` is cancelled.
pub async fn run(environment: &Env, stop: CancellationToken) -> Result<(), ConsumerError> {
    consume(Config::from_env(environment)?, new_health(), stop).await
}

/// Readiness of all parts, none of which has been looked at.
fn new_health() -> Health {
    Health::new(&[KAFKA, POSTGRES, MONGODB, DEAD_LETTERS])
}

/// Reads and stores until `stop` is cancelled.
async fn consume(config: Config, health: Health, stop: CancellationToken) -> Result<(), ConsumerError> {
    let served = CancellationToken::new();
    let http = runtime::http::serve_operations(config.port, health.clone(), served.clone());
    let work = async {
        let outcome = work(&config, &health, &stop).await;
        served.cancel();
        outcome
    };
    let (http, work) = tokio::join!(
        async {
            let outcome = http.await;
            // Without its port the pod would never be ready.
            stop.cancel();
            outcome
        },
        work
    );
    work?;
    http.map_err(|source| ConsumerError::System {
        what: format!("HTTP on port {}", config.port),
        source,
    })
}

async fn work(config: &Config, health: &Health, stop: &CancellationToken) -> Result<(), ConsumerError> {
    let metrics = Metrics::register()?;
    let topic_ids = TopicIds::new(&config.kafka, config.topics.clone())?;
    let postgres = Postgres::new(&config.postgres, config.sources());
    let mongodb = Mongodb::new(&config.mongodb, &config.sources()).await?;
    let stores = StoreHealth::new(health.clone());
    tokio::spawn(start::greet(mongodb.clone(), stores.clone(), stop.clone()));

    let Some(topics) = start::prepare(config, &topic_ids, health, stop).await else {
        return Ok(());
    };
    let brokers = runtime::kafka::client_config(&config.kafka)?;
    let tokens = runtime::kafka::Tokens::from_env(&config.kafka)?;
    let cluster = topics.cluster.clone();
    let dead_letters = DeadLetters::new(brokers.clone(), tokens.clone(), cluster, config.sends_dead_letters)?;
    health.set(DEAD_LETTERS, Ok(()));
    let ledger = LedgerKey {
        cluster: topics.cluster.clone(),
        group: config.group.clone(),
        mongodb: Arc::new(config.mongodb.sources.clone()),
    };
    let epoch = Arc::new(AtomicU64::new(0));
    let give_up = CancellationToken::new();
    let (done, completions) = std::sync::mpsc::channel();
    let writer = Writer {
        lane: 0,
        postgres: postgres.clone(),
        mongodb,
        dead_letters,
        ledger: ledger.clone(),
        health: stores,
        metrics: metrics.clone(),
        give_up: give_up.clone(),
        epoch: epoch.clone(),
        breaker: Breaker::new(config.dead_letter_limit),
    };
    let (mut writers, mut writing) = (Vec::new(), Vec::new());
    for lane in 0..lane::count(&topics, config.lanes_of_topic()) {
        let (batches, waiting) = mpsc::channel(lane::BATCHES_WITH_WRITER);
        let writer = Writer { lane, ..writer.clone() };
        let (runtime, done) = (Handle::current(), done.clone());
        writing.push(on_thread("writer", move || {
            runtime.block_on(writer.run(waiting, done))
        })?);
        writers.push(batches);
    }
    drop(done);
    let member = membership::Membership::new(membership::Parts {
        runtime: Handle::current(),
        postgres: postgres.clone(),
        ledger: ledger.clone(),
        topic_ids: topic_ids.clone(),
        topics: topics.clone(),
        health: health.clone(),
        metrics,
        stop: stop.clone(),
        epoch,
        completions,
        limits: config.limits,
        lanes_of_topic: config.lanes_of_topic(),
        ledger_looks: LEDGER_LOOKS,
        tokens,
    });
    let reader = Reader::join(
        &consumer_config(brokers, &config.group),
        member,
        writers,
        stop.clone(),
        give_up,
    )?;

    let read = on_thread("reader", move || reader.run())?;

    let changed = OnceLock::new();
    let work = async {
        let outcome = read.await.unwrap_or(Err(ReadError::ReaderGone));
        stop.cancel();
        // The writers end when the reader has closed the channels between them.
        for written in writing {
            let _ = written.await;
        }
        postgres.close().await;
        outcome
    };
    let slow = async {
        stop.cancelled().await;
        health.drain();
        tokio::time::sleep(SHUTDOWN).await;
    };
    let watch = async {
        let _ = changed.set(start::watch(&topic_ids, &topics, health).await);
        stop.cancel();
        pending::<()>().await;
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = slow => return Err(ConsumerError::SlowShutdown),
        () = watch => Ok(()),
        () = start::look_after_months(&postgres, config.postgres.retention_months) => Ok(()),
    };
    match changed.into_inner() {
        Some(error) => Err(error.into()),
        None => outcome.map_err(ConsumerError::from),
    }
}

/// Runs blocking work on a thread of its own; the receiver gets what it returns, or an error when it panicked.
fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, ConsumerError> {
    let (done, ended) = oneshot::channel();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // Nobody waits for it any more when the shutdown took too long.
            let _ = done.send(work());
        })
        .map_err(|source| ConsumerError::System {
            what: format!("thread {name}"),
            source,
        })?;
    Ok(ended)
}
