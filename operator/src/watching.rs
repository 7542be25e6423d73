//! The watches of what the operator made: one a kind, for its triggers and for what a pass knows without asking.
//!
//! Deployments are watched whole and kept trimmed, everything else is watched by its metadata alone.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use crate::api::SyncPipeline;
use crate::deployments::{news, trimmed};
use crate::objects::{Objects, Seen, Table, Touched};
use crate::plan::naming;
use crate::scope::Scope;

/// Changes that may wait to be looked at; a watch waits for its turn beyond that.
const QUEUE: usize = 4096;
/// How long the answer to an own write may be behind the write's coming back through the watch.
const ECHO: Duration = Duration::from_millis(150);
/// How long the first pass waits until everything is seen. It could do without, and would ask for each object.
const FIRST_LIST: Duration = Duration::from_secs(30);

/// What the watches of one scope have to say.
pub struct Watched {
    /// The Deployments.
    pub deployments: Store<Deployment>,
    /// Pipelines that have to be looked at.
    pub touched: ReceiverStream<ObjectRef<SyncPipeline>>,
    first: Vec<oneshot::Receiver<()>>,
}

impl Watched {
    /// Waits until everything that there is has been seen once.
    pub fn seen_once(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let first = futures::future::join_all(std::mem::take(&mut self.first));
        async move {
            if tokio::time::timeout(FIRST_LIST, first).await.is_err() {
                warn!("not all kinds of objects can be watched; check the operator's role");
            }
        }
    }
}

/// Starts the watches of one scope in `tasks`, which enter what they see in `objects`.
pub fn start(client: &Client, scope: &Scope, objects: &Arc<Objects>, tasks: &mut JoinSet<()>) -> Watched {
    let (pipelines, touched) = mpsc::channel(QUEUE);
    let (store, mut writer) = reflector::store();
    let mut starting = Starting {
        client,
        scope,
        objects,
        pipelines,
        tasks,
        first: vec![],
    };
    starting.by_metadata::<ServiceAccount>(|objects| &objects.accounts);
    starting.by_metadata::<Service>(|objects| &objects.services);
    starting.by_metadata::<Ingress>(|objects| &objects.ingresses);
    starting.by_metadata::<HorizontalPodAutoscaler>(|objects| &objects.autoscalers);
    starting.by_metadata::<PodDisruptionBudget>(|objects| &objects.budgets);
    starting.by_metadata::<NetworkPolicy>(|objects| &objects.network_policies);
    starting.watch::<Deployment>(
        |objects| &objects.deployments,
        news,
        move |event| {
            writer.apply_watcher_event(&event.modify(|deployment| *deployment = trimmed(deployment)));
        },
    );
    Watched {
        first: starting.first,
        deployments: store,
        touched: ReceiverStream::new(touched),
    }
}

struct Starting<'a> {
    client: &'a Client,
    scope: &'a Scope,
    objects: &'a Arc<Objects>,
    pipelines: mpsc::Sender<ObjectRef<SyncPipeline>>,
    tasks: &'a mut JoinSet<()>,
    first: Vec<oneshot::Receiver<()>>,
}

/// The table of one kind.
type Of = fn(&Objects) -> &Table;

impl Starting<'_> {
    fn by_metadata<K>(&mut self, table: Of)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Send + Sync + 'static,
    {
        self.watch::<PartialObjectMeta<K>>(table, |_| 0, drop);
    }

    /// `news` stands for what a status tells of an object, `keep` gets every event after it was entered.
    fn watch<W>(&mut self, table: Of, news: fn(&W) -> u64, keep: impl FnMut(Event<W>) + Send + 'static)
    where
        W: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let (seen_once, first) = oneshot::channel();
        self.first.push(first);
        let (doubts, doubtful) = mpsc::channel(QUEUE);
        let entering = Entering {
            namespace: self.scope.namespace().map(str::to_owned),
            objects: self.objects.clone(),
            table,
            news,
            present: vec![],
            seen_once: Some(seen_once),
            pipelines: self.pipelines.clone(),
            doubts,
        };
        self.tasks.spawn(entering.run(self.scope.api::<W>(self.client), keep));
        self.tasks
            .spawn(settle(self.objects.clone(), table, doubtful, self.pipelines.clone()));
    }
}

/// One watch.
struct Entering<W> {
    namespace: Option<String>,
    objects: Arc<Objects>,
    table: Of,
    news: fn(&W) -> u64,
    /// What a list has had so far.
    present: Vec<Seen>,
    seen_once: Option<oneshot::Sender<()>>,
    pipelines: mpsc::Sender<ObjectRef<SyncPipeline>>,
    doubts: mpsc::Sender<Doubt>,
}

/// A change that may be nothing but an own write.
struct Doubt {
    since: Instant,
    namespace: String,
    name: String,
    pipelines: Vec<ObjectRef<SyncPipeline>>,
}

impl<W> Entering<W>
where
    W: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    async fn run(mut self, api: Api<W>, mut keep: impl FnMut(Event<W>) + Send) {
        let config = watcher::Config::default().labels(&naming::managed_selector());
        let mut events = watch(api, config).default_backoff().boxed();
        loop {
            match events.try_next().await {
                Ok(Some(event)) => {
                    let object = match &event {
                        Event::Apply(object) | Event::Delete(object) => {
                            Some(Seen::of(object.meta(), self.table().counts(), (self.news)(object)))
                        }
                        _ => None,
                    };
                    let touched = self.enter(&event, object.as_ref());
                    let is_whole = matches!(event, Event::InitDone);
                    keep(event);
                    self.tell(touched, object).await;
                    if let Some(seen_once) = self.seen_once.take_if(|_| is_whole) {
                        // Nobody waits any more where it has taken too long.
                        let _ = seen_once.send(());
                    }
                }
                Ok(None) => return,
                Err(error) => warn!(kind = %W::kind(&()), %error, "watching what the operator made"),
            }
        }
    }

    fn table(&self) -> &Table {
        (self.table)(&self.objects)
    }

    fn enter(&mut self, event: &Event<W>, object: Option<&Seen>) -> Touched {
        match (event, object) {
            (Event::Apply(_), Some(object)) => self.table().enter(object),
            (Event::Delete(_), Some(object)) => self.table().take_out(&object.namespace, &object.name),
            (Event::InitApply(object), _) => {
                let seen = Seen::of(object.meta(), self.table().counts(), (self.news)(object));
                self.present.push(seen);
                Touched::default()
            }
            (Event::InitDone, _) => {
                let present = std::mem::take(&mut self.present);
                let touched = self.table().replace(self.namespace.as_deref(), &present);
                // Every pipeline has its first pass anyway.
                let first = self.seen_once.is_some();
                if first { Touched::default() } else { touched }
            }
            _ => {
                self.present.clear();
                Touched::default()
            }
        }
    }

    /// Nobody listens only while the operator stops.
    async fn tell(&self, touched: Touched, object: Option<Seen>) {
        match object {
            Some(object) if touched.perhaps_own => {
                let doubt = Doubt {
                    since: Instant::now(),
                    namespace: object.namespace,
                    name: object.name,
                    pipelines: touched.pipelines,
                };
                let _ = self.doubts.send(doubt).await;
            }
            _ => {
                for pipeline in touched.pipelines {
                    let _ = self.pipelines.send(pipeline).await;
                }
            }
        }
    }
}

/// Asks for a pass for every change that is no own write after a moment.
async fn settle(
    objects: Arc<Objects>,
    table: Of,
    mut doubts: mpsc::Receiver<Doubt>,
    pipelines: mpsc::Sender<ObjectRef<SyncPipeline>>,
) {
    while let Some(doubt) = doubts.recv().await {
        tokio::time::sleep_until(doubt.since + ECHO).await;
        if table(&objects).is_in_doubt(&doubt.namespace, &doubt.name) {
            for pipeline in doubt.pipelines {
                // Nobody listens only while the operator stops.
                let _ = pipelines.send(pipeline).await;
            }
        }
    }
}
