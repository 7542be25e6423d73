//! The followers of all pipelines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kube::runtime::events::Recorder;
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource, ResourceExt};
use tokio::sync::{broadcast, watch};

use super::follow::Follower;
use super::seen::Snapshot;
use super::target::Target;
use crate::api::SyncPipeline;
use crate::deployments::Deployments;
use crate::kafka::Clusters;
use crate::metrics::Metrics;

/// What all followers share.
pub struct Shared {
    /// Client of the API server.
    pub client: Client,
    /// Connections to Kafka.
    pub clusters: Arc<Clusters>,
    /// The Deployments that the operator made.
    pub deployments: Deployments,
    /// Where Events go.
    pub recorder: Recorder,
    /// The operator's metrics.
    pub metrics: Metrics,
    /// Asks for a reconcile, which writes the status.
    pub nudge: broadcast::Sender<ObjectRef<SyncPipeline>>,
    /// The moment from which all followers count their turns.
    pub epoch: Instant,
}

struct Running {
    target: watch::Sender<Target>,
    snapshot: Arc<Mutex<Snapshot>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The followers of all pipelines.
pub struct Followers {
    shared: Arc<Shared>,
    running: Mutex<HashMap<String, Running>>,
}

impl Followers {
    /// No followers yet.
    pub fn new(shared: Shared) -> Followers {
        Followers {
            shared: Arc::new(shared),
            running: Mutex::default(),
        }
    }

    /// Follows `target` for this pipeline from now on. One that was not followed yet goes on from what its status says.
    pub fn follow(&self, pipeline: &SyncPipeline, target: Target) {
        let uid = pipeline.uid().unwrap_or_default();
        let Ok(mut running) = self.running.lock() else { return };
        if let Some(follower) = running.get(&uid)
            && !follower.task.is_finished()
        {
            follower.target.send_if_modified(|present| {
                let changed = *present != target;
                *present = target;
                changed
            });
            return;
        }
        let (sender, receiver) = watch::channel(target);
        let snapshot = Arc::new(Mutex::new(Snapshot::default()));
        let follower = Follower::new(
            self.shared.clone(),
            ObjectRef::from_obj(pipeline),
            pipeline.object_ref(&()),
            receiver,
            snapshot.clone(),
            pod_rates(pipeline),
        );
        let task = tokio::spawn(follower.run());
        running.insert(
            uid,
            Running {
                target: sender,
                snapshot,
                task,
            },
        );
    }

    /// Changes no replicas of this pipeline until the next [`Followers::follow`]; its lag is still shown.
    pub fn hold(&self, pipeline: &SyncPipeline) {
        let uid = pipeline.uid().unwrap_or_default();
        let Ok(running) = self.running.lock() else { return };
        let Some(follower) = running.get(&uid) else { return };
        follower.target.send_if_modified(|target| {
            let scaled = target.scales();
            target.readers.iter_mut().for_each(|reader| reader.policy = None);
            scaled
        });
    }

    /// Stops following pipelines whose uid is not in `alive`.
    pub fn retain(&self, alive: &BTreeSet<String>) {
        if let Ok(mut running) = self.running.lock() {
            running.retain(|uid, _| alive.contains(uid));
        }
    }

    /// What is seen of the pipeline with this uid.
    pub fn snapshot(&self, uid: &str) -> Option<Snapshot> {
        let running = self.running.lock().ok()?;
        let snapshot = running.get(uid)?.snapshot.lock().ok()?.clone();
        Some(snapshot)
    }
}

/// Messages a second that a pod of each reader writes, as the status says.
fn pod_rates(pipeline: &SyncPipeline) -> BTreeMap<String, f64> {
    let components = pipeline.status.iter().flat_map(|status| &status.components);
    let known = components.filter_map(|component| Some((component.name.clone(), component.pod_rate? as f64 / 60.0)));
    known.collect()
}
