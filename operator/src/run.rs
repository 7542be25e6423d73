//! The running operator: watches, the controller and the HTTP endpoint.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Recorder, Reporter as EventSource};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::api::{SyncPipeline, SyncPipelineSpec};
use crate::claims::Claims;
use crate::deployments::Deployments;
use crate::kafka::Clusters;
use crate::leader::{Candidate, Leadership};
use crate::metrics::Metrics;
use crate::objects::Objects;
use crate::plan::Settings;
use crate::reconcile::{Context, reconcile};
use crate::report::Reporter;
use crate::scale::followers::{Followers, Shared};
use crate::scope::Scope;
use crate::watching::{self, Watched};
use crate::{api_client, fault, http, resolve, topics};

/// Passes that may be under way at once.
const CONCURRENCY: u16 = 16;
/// Changes within this time become one pass.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Reconciles that followers may have asked for and not got yet.
const NUDGES: usize = 1024;
/// Between two attempts to stand by.
const STAND_BY_AGAIN: Duration = Duration::from_secs(2);
/// How often followers of deleted pipelines are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// What goes wrong before the operator runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No API server.
    #[error("cannot reach the API server: {0}")]
    Kubernetes(#[from] kube::Error),
    /// No CRD.
    #[error("cannot list SyncPipelines: {0}; install the CRD (the Helm chart does) and check the operator's role")]
    Crd(kube::Error),
    /// The Lease cannot be had.
    #[error("leader election: {0}; check that the operator's role allows leases in its own namespace")]
    Election(#[from] kube_lease_manager::LeaseManagerError),
    /// A metric cannot be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The port is taken.
    #[error("cannot listen on port {port}: {source}")]
    Listen {
        /// Port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
}

/// What the operator looks after, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Default images, and what else the plan needs.
    pub settings: Settings,
    /// Port of health and metrics.
    pub port: u16,
    /// Namespaces that are looked after; empty for all.
    pub namespaces: Vec<String>,
    /// Who stands for election; absent for an operator that is known to be the only one.
    pub candidate: Option<Candidate>,
}

/// Runs until a signal says stop.
pub async fn run(options: Options) -> Result<(), StartError> {
    fault::started();
    let metrics = Metrics::register()?;
    let client = api_client::connect(metrics.api_requests.clone()).await?;
    let scopes = Scope::of(&options.namespaces);
    for scope in &scopes {
        let first = kube::api::ListParams::default().limit(1);
        scope
            .api::<SyncPipeline>(&client)
            .list(&first)
            .await
            .map_err(StartError::Crd)?;
    }
    let port = options.port;
    let server = http::serve(port, metrics.clone()).map_err(|source| StartError::Listen { port, source })?;
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(stop.clone()));
    let outcome = match &options.candidate {
        None => {
            work(client, &scopes, &options.settings, metrics, stop).await;
            Ok(())
        }
        Some(candidate) => work_when_leading(client, &scopes, &options.settings, metrics, stop, candidate).await,
    };
    server.stop(true).await;
    outcome
}

/// Stands by until this operator is chosen, works until another one is, and stands by again, until told to stop. It does
/// not end in between: Kubernetes would start it later and later.
async fn work_when_leading(
    client: Client,
    scopes: &[Scope],
    settings: &Settings,
    metrics: Metrics,
    stop: CancellationToken,
    candidate: &Candidate,
) -> Result<(), StartError> {
    let mut has_led = false;
    while !stop.is_cancelled() {
        let won = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            won = Leadership::win(client.clone(), candidate) => won,
        };
        let mut leadership = match won {
            Ok(leadership) => leadership,
            // What worked once works again when the API server does.
            Err(error) if has_led => {
                warn!(%error, "cannot stand by");
                tokio::time::sleep(STAND_BY_AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        has_led = true;
        tokio::select! {
            () = work(client.clone(), scopes, settings, metrics.clone(), stop.clone()) => {}
            () = leadership.lost() => warn!("another operator may lead now: standing by again"),
        }
        leadership.release().await;
        // Whoever leads says what there is.
        metrics.statuses.retain(&BTreeSet::new());
    }
    Ok(())
}

/// Looks after the pipelines of all scopes until told to stop.
async fn work(client: Client, scopes: &[Scope], settings: &Settings, metrics: Metrics, stop: CancellationToken) {
    let recorder = Recorder::new(client.clone(), EventSource::from("syncpipeline-operator".to_owned()));
    let clusters = Arc::new(Clusters::default());
    let objects = Arc::new(Objects::default());
    let mut deployments = Deployments::default();
    let mut tasks = JoinSet::new();
    let mut watched = vec![];
    for scope in scopes {
        let of_scope = watching::start(&client, scope, &objects, &mut tasks);
        deployments.add(of_scope.deployments.clone());
        watched.push(of_scope);
    }
    let (nudge, nudges) = broadcast::channel(NUDGES);
    let followers = Followers::new(Shared {
        client: client.clone(),
        clusters: clusters.clone(),
        deployments: deployments.clone(),
        recorder: recorder.clone(),
        metrics: metrics.clone(),
        nudge,
        epoch: Instant::now(),
    });
    let context = Arc::new(Context {
        client: client.clone(),
        clusters,
        objects,
        deployments: deployments.clone(),
        followers,
        reporter: Reporter::new(client.clone(), recorder, metrics.clone(), deployments),
        settings: settings.clone(),
        metrics,
        claims: Claims::default(),
        failures: Default::default(),
    });
    let controllers = scopes.iter().zip(watched).map(|(scope, watched)| {
        let nudges = BroadcastStream::new(nudges.resubscribe());
        control(&client, scope, watched, nudges, context.clone(), stop.clone())
    });
    let (stores, controllers): (Vec<_>, Vec<_>) = controllers.unzip();
    tasks.spawn(sweep(stores, context));
    info!(scopes = scopes.len(), "operator running");
    futures::future::join_all(controllers).await;
    info!("operator stopping");
    tasks.shutdown().await;
}

type Pipelines = Store<SyncPipeline>;

/// The controller of one scope: its pipelines, and a future that ends when told to stop.
fn control(
    client: &Client,
    scope: &Scope,
    mut watched: Watched,
    nudges: BroadcastStream<ObjectRef<SyncPipeline>>,
    context: Arc<Context>,
    stop: CancellationToken,
) -> (Pipelines, BoxFuture<'static, ()>) {
    let (store, writer) = reflector::store();
    // A status that was written is no reason for another pass.
    let changed = watcher(scope.api::<SyncPipeline>(client), watcher::Config::default())
        .default_backoff()
        // Who wrote which field is kept in the larger part of a small object.
        .modify(|pipeline| pipeline.managed_fields_mut().clear())
        .reflect(writer)
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::annotations),
            PredicateConfig::default(),
        );
    let (of_secrets, of_config_maps, known) = (store.clone(), store.clone(), store.clone());
    let remembered = OnceLock::new();
    let seen_once = watched.seen_once();
    let controller = Controller::for_stream(changed, store.clone())
        .watches(
            scope.api::<PartialObjectMeta<Secret>>(client),
            watcher::Config::default(),
            move |secret| users_of(&of_secrets, &secret.metadata, resolve::secrets_of),
        )
        .watches(
            scope.api::<PartialObjectMeta<ConfigMap>>(client),
            watcher::Config::default(),
            move |map| users_of(&of_config_maps, &map.metadata, resolve::config_maps_of),
        )
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .reconcile_on(watched.touched)
        // One that came too late for a slow listener is asked for again with the next reading.
        .reconcile_on(nudges.filter_map(|nudge| std::future::ready(nudge.ok())))
        .graceful_shutdown_on(stop.clone().cancelled_owned());
    let running = async move {
        tokio::select! {
            () = seen_once => {}
            () = stop.cancelled() => return,
        }
        controller
            .run(
                move |object, context: Arc<Context>| {
                    remembered.get_or_init(|| topics::remember_claims(&context.claims, &known.state()));
                    reconcile(object, context)
                },
                on_error,
                context,
            )
            .for_each(|outcome| async move {
                match outcome {
                    Ok((object, _)) => debug!(pipeline = %object, "reconciled"),
                    // An owned object outlives its pipeline for a moment: nothing to do.
                    Err(kube::runtime::controller::Error::ObjectNotFound(_)) => {}
                    Err(error) => warn!(%error, "reconcile"),
                }
            })
            .await;
    };
    (store, running.boxed())
}

/// Pipelines that refer to this object, of whose kind `names` tells the names that a spec refers to.
fn users_of(
    pipelines: &Pipelines,
    object: &ObjectMeta,
    names: impl Fn(&SyncPipelineSpec) -> Vec<&str>,
) -> Vec<ObjectRef<SyncPipeline>> {
    let name = object.name.as_deref().unwrap_or_default();
    let users = pipelines
        .state()
        .into_iter()
        .filter(|pipeline| pipeline.namespace() == object.namespace && names(&pipeline.spec).contains(&name));
    users.map(|pipeline| ObjectRef::from_obj(pipeline.as_ref())).collect()
}

/// The API server failed in the middle of a pass.
fn on_error(object: Arc<SyncPipeline>, error: &kube::Error, _: Arc<Context>) -> Action {
    warn!(pipeline = %ObjectRef::from_obj(object.as_ref()), %error, "pass failed; trying again");
    Action::requeue(Duration::from_secs(2))
}

/// Forgets what is kept, and shown, of pipelines that are gone.
async fn sweep(scopes: Vec<Pipelines>, context: Arc<Context>) {
    // Not after `wait_until_ready`, which wakes only one of several waiters, and the controller is another. Before the
    // stores are ready nothing was reconciled, so there is nothing to forget.
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        let present: Vec<_> = scopes.iter().flat_map(Store::state).collect();
        let names = present
            .iter()
            .map(|pipeline| (pipeline.namespace().unwrap_or_default(), pipeline.name_any()));
        context.metrics.statuses.retain(&names.collect());
        let alive: BTreeSet<String> = present.iter().filter_map(|pipeline| pipeline.uid()).collect();
        context.followers.retain(&alive);
        context.claims.retain(&alive);
        if let Ok(mut failures) = context.failures.lock() {
            failures.retain(|uid, _| alive.contains(uid));
        }
    }
}

/// Cancels `stop` on SIGTERM, as Kubernetes sends it, or Ctrl-C.
async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        error!("cannot listen for SIGTERM: the operator stops only when it is killed");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    stop.cancel();
}
