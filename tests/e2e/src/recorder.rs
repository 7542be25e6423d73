//! How lag and replicas went over time.

use crate::cluster::Cluster;
use crate::kafka::Kafka;
use crate::ladder::Ladder;
use crate::pipeline::Names;
use crate::reaction::{Change, Reaction, Sample, reactions};
use contract::Source;
use futures::{StreamExt, future::try_join_all};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Time between two readings of the lag.
const SAMPLING: Duration = Duration::from_millis(50);

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Lag of all topics, oldest first.
    pub samples: Vec<Sample>,
    /// Wanted replicas of each consumer's Deployment, oldest first, each count that differs from the one before.
    pub replicas: BTreeMap<String, Vec<Change>>,
}

impl Recording {
    /// Replica counts of a consumer.
    pub fn history(&self, consumer: &str) -> Vec<i32> {
        self.changes(consumer).iter().map(|change| change.replicas).collect()
    }

    /// Replica counts of a consumer, with their times.
    pub fn changes(&self, consumer: &str) -> &[Change] {
        self.replicas.get(consumer).map_or(&[], Vec::as_slice)
    }

    /// Reactions of all consumers to lag.
    pub fn reactions(&self, names: &Names, users: i64) -> Vec<(&'static str, Reaction)> {
        let mut all = Vec::new();
        for (consumer, topics) in names.topics_by_consumer() {
            let Some(ladder) = Ladder::of(consumer, users) else {
                continue;
            };
            let found = reactions(&ladder, &topics, &self.samples, self.changes(consumer));
            all.extend(found.into_iter().map(|reaction| (consumer, reaction)));
        }
        all
    }

    /// The newest lag of each topic.
    pub fn lag(&self) -> BTreeMap<String, i64> {
        self.samples.last().map(|sample| sample.lag.clone()).unwrap_or_default()
    }
}

/// Records until it is dropped.
pub struct Recorder {
    recording: Arc<Mutex<Recording>>,
    tasks: [JoinHandle<()>; 2],
}

impl Recorder {
    /// Begins to watch the Deployments and to read the lag of a pipeline that is Ready.
    pub fn start(cluster: &Cluster, kafka: Arc<Kafka>, names: &Names) -> Recorder {
        let recording = Arc::new(Mutex::new(Recording::default()));
        let watch = tokio::spawn(watch(cluster.clone(), names.clone(), Arc::clone(&recording)));
        let sample = tokio::spawn(sample(kafka, names.clone(), Arc::clone(&recording)));
        Recorder {
            recording,
            tasks: [watch, sample],
        }
    }

    /// A copy of what was seen so far.
    pub fn recording(&self) -> Recording {
        lock(&self.recording).clone()
    }

    /// Looks at what was seen so far.
    pub fn with<T>(&self, look: impl FnOnce(&Recording) -> T) -> T {
        look(&lock(&self.recording))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn lock(recording: &Mutex<Recording>) -> MutexGuard<'_, Recording> {
    recording.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch(cluster: Cluster, names: Names, recording: Arc<Mutex<Recording>>) {
    let selector = format!(
        "syncpipeline.dev/pipeline={},app.kubernetes.io/name=consumer",
        names.pipeline
    );
    let deployments = cluster.api::<Deployment>(&names.namespace);
    let events = watcher(deployments, Config::default().labels(&selector)).default_backoff();
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        // An error is followed by a new watch, with everything that is there now.
        if let Ok(Event::Apply(deployment) | Event::InitApply(deployment)) = event {
            let at = Instant::now();
            let name = deployment.name_any();
            let component = name
                .strip_prefix(&format!("{}-", names.pipeline))
                .unwrap_or(&name)
                .to_owned();
            let replicas = deployment.spec.replicas.unwrap_or(1);
            let mut recording = lock(&recording);
            let changes = recording.replicas.entry(component).or_default();
            if changes.last().is_none_or(|last| last.replicas != replicas) {
                changes.push(Change { at, replicas });
            }
        }
    }
}

async fn sample(kafka: Arc<Kafka>, names: Names, recording: Arc<Mutex<Recording>>) {
    let mut groups = BTreeMap::<String, BTreeMap<String, usize>>::new();
    for source in &names.sources {
        let topics = groups.entry(names.group(*source)).or_default();
        topics.insert(names.topic(*source), Source::partitions(*source) as usize);
    }
    let mut ticks = interval(SAMPLING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // While Kafka is away there is nothing to record.
        if let Ok(lags) = try_join_all(groups.iter().map(|(group, topics)| kafka.lag(group, topics))).await {
            let lag = lags.into_iter().flatten().collect();
            lock(&recording).samples.push(Sample {
                at: Instant::now(),
                lag,
            });
        }
    }
}
