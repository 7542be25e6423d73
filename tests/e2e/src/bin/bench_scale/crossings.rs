//! Steps of the lag, one after another, and what the operator makes of each.

use crate::subject::{self, NAME, NAMESPACE, RUNGS, Reader, THRESHOLD};
use anyhow::{Context, Result, ensure};
use e2e::cluster::Cluster;
use e2e::environment::Environment;
use e2e::eventually::eventually;
use e2e::kafka::{Filler, Kafka};
use e2e::reaction::{COMMIT_INTERVAL, Change};
use futures::StreamExt;
use host::progress::Progress;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use operator::api::SyncPipeline;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rungs that a climb stops at, one crossing each.
const CLIMB: [i32; 4] = [3, 5, 9, 12];
/// Climbs, and starts from nothing, of a whole run and of a quick one.
const ROUNDS: usize = 8;
const QUICK_ROUNDS: usize = 1;
/// Between a step and the next: a second patch for the same step would be seen.
const SETTLING: Duration = Duration::from_secs(2);
/// Longest wait for anything.
const SOON: Duration = Duration::from_secs(120);

/// One step of the lag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crossing {
    /// From one commit interval after the messages were sent to the Deployment's new replica count.
    pub(crate) took: Duration,
    /// Patches that it took.
    pub(crate) patches: usize,
}

/// A benchmark that knows its cluster and the data services.
pub(crate) struct Bench {
    cluster: Cluster,
    services: services::Running,
    kafka: Kafka,
    progress: Progress,
    rounds: usize,
}

impl Bench {
    /// Connects; changes nothing yet.
    pub(crate) async fn prepare(kubeconfig: Option<&Path>, quick: bool) -> Result<Bench> {
        let services =
            services::running().context("the data services are not running: run `cargo xtask bench scale`")?;
        Ok(Bench {
            cluster: Cluster::connect(kubeconfig).await.context("connect to the cluster")?,
            kafka: Kafka::connect(&services.kafka).await?,
            services,
            progress: Progress::new(),
            rounds: if quick { QUICK_ROUNDS } else { ROUNDS },
        })
    }

    /// Measures steps on the ladder, and steps from nothing.
    pub(crate) async fn run(&self) -> Result<(Vec<Crossing>, Vec<Crossing>)> {
        let step = self.progress.step("pipeline");
        Environment::create(&self.cluster, NAMESPACE, &self.services).await?;
        self.cluster.apply(&subject::pipeline()?).await?;
        let replicas = Replicas::watch(&self.cluster);
        for reader in Reader::ALL {
            replicas.reach(reader, least(reader)).await?;
        }
        step.done("");
        let mut steps = Vec::new();
        let mut from_nothing = Vec::new();
        for round in 1..=self.rounds {
            let step = self.progress.step(format!("round {round} of {}", self.rounds));
            steps.extend(self.climb(&replicas).await?);
            from_nothing.push(self.wake(&replicas).await?);
            step.done("");
        }
        Ok((steps, from_nothing))
    }

    /// Removes everything from the cluster and from Kafka.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        self.cluster.delete::<SyncPipeline>(NAMESPACE, NAME, SOON).await?;
        self.cluster.abandon_namespace(NAMESPACE).await?;
        subject::remove_topics(&self.kafka).await
    }

    /// Up in a few leaps, and down again.
    async fn climb(&self, replicas: &Replicas) -> Result<Vec<Crossing>> {
        let reader = Reader::Climbing;
        let filler = self.kafka.filler(&reader.topic()).await?;
        let mut waiting = 0;
        let mut crossings = Vec::new();
        for rung in CLIMB {
            // Between the threshold that leads to this rung and the next one.
            let wanted = i64::from(rung - 1) * THRESHOLD + THRESHOLD / 2;
            crossings.push(self.cross(reader, &filler, wanted - waiting, rung, replicas).await?);
            waiting = wanted;
        }
        ensure!(CLIMB.last() == Some(&RUNGS), "the climb ends below the top");
        self.read_all(reader, replicas).await?;
        Ok(crossings)
    }

    /// From nothing, and back to it.
    async fn wake(&self, replicas: &Replicas) -> Result<Crossing> {
        let reader = Reader::Sleeping;
        let filler = self.kafka.filler(&reader.topic()).await?;
        let crossing = self.cross(reader, &filler, 1, 1, replicas).await?;
        self.read_all(reader, replicas).await?;
        Ok(crossing)
    }

    async fn cross(
        &self,
        reader: Reader,
        filler: &Filler,
        messages: i64,
        wanted: i32,
        replicas: &Replicas,
    ) -> Result<Crossing> {
        let before = replicas.of(reader).len();
        let sent = Instant::now();
        filler.send(usize::try_from(messages)?).await?;
        replicas.reach(reader, wanted).await?;
        tokio::time::sleep(SETTLING).await;
        let changes = replicas.of(reader).split_off(before);
        let last = changes.last().context("no change was seen")?;
        ensure!(
            last.replicas == wanted,
            "{:?} went to {} for {wanted}",
            reader,
            last.replicas
        );
        Ok(Crossing {
            took: last.at.saturating_duration_since(sent + COMMIT_INTERVAL),
            patches: changes.len(),
        })
    }

    /// Commits in place of the readers, and waits until they are as few as they were.
    async fn read_all(&self, reader: Reader, replicas: &Replicas) -> Result<()> {
        self.kafka
            .commit_all(&reader.group(), &reader.topic(), reader.partitions())
            .await?;
        replicas.reach(reader, least(reader)).await
    }
}

fn least(reader: Reader) -> i32 {
    match reader {
        Reader::Climbing => 1,
        Reader::Sleeping => 0,
    }
}

/// The replica counts of the readers' Deployments, as they come.
struct Replicas {
    seen: Arc<Mutex<Vec<(String, Change)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replicas {
    fn watch(cluster: &Cluster) -> Replicas {
        let seen = Arc::new(Mutex::new(Vec::<(String, Change)>::new()));
        let kept = Arc::clone(&seen);
        let deployments = cluster.api::<Deployment>(NAMESPACE);
        let task = tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(deployments, Config::default()).default_backoff());
            while let Some(event) = events.next().await {
                let Ok(Event::Apply(deployment) | Event::InitApply(deployment)) = event else {
                    continue;
                };
                let at = Instant::now();
                let (name, replicas) = (deployment.name_any(), deployment.spec.replicas.unwrap_or(1));
                let mut seen = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let last = seen.iter().rev().find(|(of, _)| *of == name);
                if last.is_none_or(|(_, last)| last.replicas != replicas) {
                    seen.push((name, Change { at, replicas }));
                }
            }
        });
        Replicas { seen, task }
    }

    /// All counts of one reader, oldest first.
    fn of(&self, reader: Reader) -> Vec<Change> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let own = seen.iter().filter(|(of, _)| *of == reader.deployment());
        own.map(|(_, change)| *change).collect()
    }

    async fn reach(&self, reader: Reader, wanted: i32) -> Result<()> {
        eventually(&format!("{wanted} replicas of {}", reader.name()), SOON, async || {
            let last = self.of(reader).last().map(|change| change.replicas);
            ensure!(last == Some(wanted), "{last:?}");
            Ok(Some(()))
        })
        .await
    }
}
