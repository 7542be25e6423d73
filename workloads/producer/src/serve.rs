//! From start to graceful end of the process.

use crate::{
    api::{self, Producer},
    connections::{self, Connections},
    database::Database,
    idempotency::{Answers, store::KeptAnswers},
    ingest::Ingest,
    intake::Intake,
    kafka::{CheckError, Kafka},
    keys::Keys,
    ledger::{Accounts, Ledger},
    metrics::ProducerMetrics,
    quota::Quotas,
    reconciliation::{Reconciler, gauges::Gauges},
    settings::{ApiKeys, Settings, SettingsError},
};
use actix_web::{
    App, HttpServer,
    dev::{Server, ServerHandle},
    middleware::from_fn,
    web::Data,
};
use rdkafka::error::KafkaError;
use runtime::{
    health::Health,
    http::{RequestMetrics, close_while_draining, operations},
    metrics::MetricError,
};
use std::{io, net::Ipv4Addr, num::NonZeroUsize, sync::Arc, thread::available_parallelism, time::Duration};
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The only part that can be unready.
const KAFKA: &str = "kafka";
/// Between two checks of Kafka while it is ready, and while it is not.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);
/// HTTP workers, where the machine has as many cores. Each unpacks and parses one body at a time, so that their number
/// bounds the memory of it; a pod without a limit of CPU sees all cores of its node.
const MOST_WORKERS: usize = 8;
/// Connections that are kept, by all workers together; further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 8192;

/// Longest wait for the head of a connection's first request, and for its next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Longest wait for the end of a connection that is closed.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// From the signal to the end of the process, whatever happens: less than Kubernetes' grace period of 30 seconds.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(25);
/// Longest wait for requests under way: the longest wait for Kafka (10 s and its grace) and a little more.
const HTTP_DRAIN: Duration = Duration::from_secs(13);
/// Longest wait for uploads whose clients have gone away, and for their messages.
const FLUSH: Duration = Duration::from_secs(5);

/// Why the producer ended other than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The environment is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The Kafka client does not take its settings.
    #[error("the Kafka client cannot be created: {0}")]
    Client(#[from] KafkaError),
    /// The Kafka client gave up.
    #[error(transparent)]
    Kafka(#[from] CheckError),
    /// A metric cannot be registered.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// The port is taken, or the server failed.
    #[error("HTTP server on port {port}: {source}")]
    Http {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// A task of the process panicked.
    #[error("a task ended unexpectedly: {0}")]
    Task(#[from] JoinError),
    /// The graceful shutdown took too long.
    #[error("shutdown did not end within {} seconds", SHUTDOWN_DEADLINE.as_secs())]
    Deadline,
}

/// Serves uploads until `stop` is cancelled, and then shuts down gracefully. Kafka need not be there: until it is,
/// the producer listens and is not ready.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<(), RunError> {
    let port = settings.port;
    let drain_delay = settings.drain_delay;
    let health = Health::new(&[KAFKA]);
    let kafka = Arc::new(Kafka::new(&settings)?);
    let metrics = ProducerMetrics::register()?;
    let database = settings.database.map(Database::new);
    let keys = match (settings.api_keys, &database) {
        (ApiKeys::Required, Some(database)) => Some(Arc::new(Keys::new(Arc::new(database.clone()), metrics.clone()))),
        _ => None,
    };
    // Ends with this function.
    let mut background = JoinSet::new();
    if let Some(database) = database.clone() {
        background.spawn(async move { database.look_after().await });
    }
    if let Some(keys) = keys.clone() {
        background.spawn(async move { keys.keep_fresh().await });
    }
    let kept = database.clone().map(|database| KeptAnswers {
        database,
        window: settings.idempotency_window,
    });
    if let Some(kept) = kept.clone() {
        background.spawn(async move { kept.keep_small().await });
    }
    let ledger = settings.ledger.as_ref().map(Ledger::new);
    let accounts = ledger.clone().map(|ledger| Arc::new(ledger) as Arc<dyn Accounts>);
    let reconciler = accounts
        .clone()
        .map(|accounts| Arc::new(Reconciler::new(accounts, kafka.clone(), settings.topics.clone())));
    if let Some(reconciler) = reconciler.clone() {
        let gauges = Gauges::register()?;
        background.spawn(async move { gauges.keep_fresh(reconciler).await });
    }
    let tasks = TaskTracker::new();
    let quotas = database.clone().filter(|_| keys.is_some());
    let producer = Data::new(Producer {
        topics: settings.topics,
        tenant: settings.tenant,
        intake: Intake::default(),
        keys,
        ingest: Arc::new(Ingest {
            log: kafka.clone(),
            quotas: quotas.map(|database| Arc::new(Quotas::new(Arc::new(database)))),
            answers: kept.map(|kept| Arc::new(kept) as Arc<dyn Answers>),
            metrics: metrics.clone(),
            tasks: tasks.clone(),
            runtime: Handle::current(),
        }),
        accounts,
        extents: kafka.clone(),
        reconciler,
        metrics,
    });

    let watched = Connections::default();
    let connections = watched.clone();
    background.spawn(async move { connections.keep_moving().await });
    let server = server(port, producer, &health, watched)?;
    tracing::info!(port, "listening");

    let http = server.handle();
    let serving = tokio::spawn(server);
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        error = watch(kafka.clone(), health.clone()) => Err(error),
        ended = serving => {
            ended?.map_err(|source| RunError::Http { port, source })?;
            return Ok(());
        }
    };
    let ending = async {
        shut_down(&health, http, tasks, kafka, drain_delay).await?;
        if let Some(database) = database {
            database.close().await;
        }
        if let Some(ledger) = ledger {
            ledger.close().await;
        }
        tracing::info!("shut down");
        Ok::<_, RunError>(())
    };
    timeout(SHUTDOWN_DEADLINE, ending)
        .await
        .map_err(|_| RunError::Deadline)??;
    outcome
}

/// The HTTP server over `producer`, listening on `port` and not running yet. Signals do not end it, its handle does.
/// Whoever runs it keeps `connections` moving.
pub fn server(
    port: u16,
    producer: Data<Producer>,
    health: &Health,
    connections: Connections,
) -> Result<Server, RunError> {
    let requests = RequestMetrics::register()?;
    let health = health.clone();
    let workers = available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_WORKERS);
    let server = HttpServer::new(move || {
        let requests = requests.clone();
        let draining = health.clone();
        App::new()
            .wrap(from_fn(move |request, next| {
                close_while_draining(draining.clone(), request, next)
            }))
            .wrap(from_fn(move |request, next| requests.clone().measure(request, next)))
            .wrap(from_fn(Connections::watch))
            .configure(operations(health.clone()))
            .configure(api::routes(producer.clone()))
    })
    .disable_signals()
    .workers(workers)
    .max_connections(connections::room(MAX_CONNECTIONS) / workers)
    .on_connect(move |stream, extensions| connections.opened(stream, extensions))
    .client_request_timeout(HEAD_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    .client_disconnect_timeout(DISCONNECT_TIMEOUT)
    .shutdown_timeout(HTTP_DRAIN.as_secs())
    .bind((Ipv4Addr::UNSPECIFIED, port))
    .map_err(|source| RunError::Http { port, source })?
    .run();
    Ok(server)
}

/// Keeps readiness in step with Kafka. Returns only when the client can never work again.
async fn watch(kafka: Arc<Kafka>, health: Health) -> RunError {
    loop {
        let client = kafka.clone();
        let outcome = match spawn_blocking(move || client.check()).await {
            Ok(outcome) => outcome,
            Err(error) => return error.into(),
        };
        let ready = outcome.is_ok();
        health.set(KAFKA, outcome.clone().map_err(|error| error.to_string()));
        if let Err(error @ CheckError::Fatal(_)) = outcome {
            return error.into();
        }
        sleep(if ready { CHECK_INTERVAL } else { RECHECK_INTERVAL }).await;
    }
}

/// No new traffic, then no new connections, then no request under way, then no message under way.
async fn shut_down(
    health: &Health,
    http: ServerHandle,
    tasks: TaskTracker,
    kafka: Arc<Kafka>,
    drain_delay: Duration,
) -> Result<(), RunError> {
    health.drain();
    sleep(drain_delay).await;
    http.stop(true).await;
    tasks.close();
    let flush = spawn_blocking(move || kafka.flush(FLUSH));
    let (left, _) = tokio::join!(flush, timeout(FLUSH, tasks.wait()));
    let left = left?;
    if left > 0 {
        tracing::warn!(
            messages = left,
            "not acknowledged at the end; their clients have not been told that they are stored"
        );
    }
    Ok(())
}
