//! The running operator: watches, the controller and the HTTP endpoint.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Recorder, Reporter as EventSource};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Predicate, PredicateConfig, WatchStreamExt, predicates, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, error, info, warn};

use crate::api::SyncPipeline;
use crate::http;
use crate::kafka::Clusters;
use crate::metrics::Metrics;
use crate::plan::{Settings, naming};
use crate::reconcile::{Context, reconcile};
use crate::report::Reporter;
use crate::scale::follow::{Followers, Shared};

/// Passes that may be under way at once.
const CONCURRENCY: u16 = 16;
/// Changes within this time become one pass.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Reconciles that followers may have asked for and not got yet.
const NUDGES: usize = 1024;
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

/// Runs until a signal says stop.
pub async fn run(settings: Settings, port: u16) -> Result<(), StartError> {
    let client = Client::try_default().await?;
    let pipelines: Api<SyncPipeline> = Api::all(client.clone());
    pipelines
        .list(&kube::api::ListParams::default().limit(1))
        .await
        .map_err(StartError::Crd)?;
    let metrics = Metrics::register()?;
    let server = http::serve(port, metrics.clone()).map_err(|source| StartError::Listen { port, source })?;

    let recorder = Recorder::new(client.clone(), EventSource::from("syncpipeline-operator".to_owned()));
    let (deployments, watching) = watch_deployments(client.clone());
    let clusters = Arc::new(Clusters::default());
    let (nudge, nudges) = mpsc::channel(NUDGES);
    let followers = Followers::new(Shared {
        client: client.clone(),
        clusters: clusters.clone(),
        deployments,
        recorder: recorder.clone(),
        metrics: metrics.clone(),
        nudge,
    });
    let context = Arc::new(Context {
        client: client.clone(),
        clusters,
        followers,
        reporter: Reporter::new(client.clone(), recorder, metrics.clone()),
        settings,
        metrics,
        failures: Default::default(),
    });

    let mine = watcher::Config::default().labels(&naming::managed_selector());
    let (store, writer) = reflector::store();
    // A status that was written is no reason for another pass.
    let changed = watcher(pipelines, watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::annotations),
            PredicateConfig::default(),
        );
    let controller = Controller::for_stream(changed, store)
        .owns(Api::<Deployment>::all(client.clone()), mine.clone())
        .owns(Api::<Service>::all(client.clone()), mine.clone())
        .owns(Api::<ServiceAccount>::all(client.clone()), mine.clone())
        .owns(Api::<HorizontalPodAutoscaler>::all(client), mine)
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .reconcile_on(ReceiverStream::new(nudges))
        .shutdown_on_signal();
    let sweeping = tokio::spawn(sweep(controller.store(), context.clone()));
    info!(port, "operator running");
    controller
        .run(reconcile, on_error, context)
        .for_each(|outcome| async move {
            match outcome {
                Ok((object, _)) => debug!(pipeline = %object, "reconciled"),
                // An owned object outlives its pipeline for a moment: nothing to do.
                Err(kube::runtime::controller::Error::ObjectNotFound(_)) => {}
                Err(error) => warn!(%error, "reconcile"),
            }
        })
        .await;
    info!("operator stopping");
    sweeping.abort();
    watching.abort();
    server.stop(true).await;
    Ok(())
}

/// The API server failed in the middle of a pass.
fn on_error(object: Arc<SyncPipeline>, error: &kube::Error, _: Arc<Context>) -> Action {
    warn!(pipeline = %ObjectRef::from_obj(object.as_ref()), %error, "pass failed; trying again");
    Action::requeue(Duration::from_secs(2))
}

/// Keeps the Deployments that the operator made at hand.
fn watch_deployments(client: Client) -> (Store<Deployment>, tokio::task::JoinHandle<()>) {
    let (store, writer) = reflector::store();
    let config = watcher::Config::default().labels(&naming::managed_selector());
    let stream = watcher(Api::<Deployment>::all(client), config)
        .default_backoff()
        .reflect(writer);
    let task = tokio::spawn(async move {
        stream
            .for_each(|event| async move {
                if let Err(error) = event {
                    error!(%error, "watching Deployments");
                }
            })
            .await;
    });
    (store, task)
}

/// Ends the followers, and forgets the figures, of pipelines that are gone.
async fn sweep(pipelines: Store<SyncPipeline>, context: Arc<Context>) {
    let mut ticks = tokio::time::interval(SWEEP);
    if pipelines.wait_until_ready().await.is_err() {
        return;
    }
    loop {
        ticks.tick().await;
        let present = pipelines.state();
        let names = present
            .iter()
            .map(|pipeline| (pipeline.namespace().unwrap_or_default(), pipeline.name_any()));
        context.metrics.statuses.retain(&names.collect());
        let alive: BTreeSet<String> = present.iter().filter_map(|pipeline| pipeline.uid()).collect();
        context.followers.retain(&alive);
        if let Ok(mut failures) = context.failures.lock() {
            failures.retain(|uid, _| alive.contains(uid));
        }
    }
}
