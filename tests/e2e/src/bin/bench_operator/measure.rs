//! The measurements, one after another on the same pipelines.

use crate::fleet;
use crate::memory;
use anyhow::{Context, Result, bail, ensure};
use benches::figures::{Bound, Figures};
use e2e::api_server::{BY_OPERATOR, LEASES, Told, Writes};
use e2e::cluster::Cluster;
use e2e::environment::Environment;
use e2e::eventually::eventually;
use e2e::kafka::Kafka;
use e2e::pipeline::condition;
use futures::{StreamExt, TryStreamExt, stream};
use host::progress::Progress;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt};
use operator::api::SyncPipeline;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pipelines: usize,
    rest: Duration,
}

/// What the goals are for.
pub(crate) const WHOLE: Size = Size {
    pipelines: 500,
    rest: Duration::from_secs(60),
};

/// Enough to see that everything works.
pub(crate) const QUICK: Size = Size {
    pipelines: 50,
    rest: Duration::from_secs(20),
};

/// Changes, one after another.
const CHANGES: usize = 50;
/// Requests of this program at the same time.
const CONCURRENCY: usize = 16;
/// The most that each figure may be: seconds, MB, requests, seconds.
const BUILD_UP: f64 = 240.0;
const MEMORY: f64 = 120.0;
const WRITES: f64 = 0.0;
const CHANGE: f64 = 1.0;
/// Longest wait for all pipelines.
const ALL: Duration = Duration::from_secs(900);
/// Longest wait for one change.
const ONE: Duration = Duration::from_secs(30);
/// Between two looks at all pipelines, which cost the API server something.
const LOOK: Duration = Duration::from_secs(2);
/// Between two looks at one change.
const GLANCE: Duration = Duration::from_millis(10);
/// What the build-up leaves to do: the second status of each pipeline, with its lag.
const SETTLING: Duration = Duration::from_secs(30);
/// Topics that are deleted at once.
const TOPICS: usize = 200;

/// A benchmark that knows its cluster and the data services.
pub(crate) struct Bench {
    cluster: Cluster,
    services: services::Running,
    progress: Progress,
    size: Size,
}

impl Bench {
    /// Connects; changes nothing yet.
    pub(crate) async fn prepare(kubeconfig: Option<&Path>, size: Size) -> Result<Bench> {
        Ok(Bench {
            cluster: Cluster::connect(kubeconfig).await.context("connect to the cluster")?,
            services: services::running()
                .context("the data services are not running: run `cargo xtask bench operator`")?,
            progress: Progress::new(),
            size,
        })
    }

    /// Measures everything.
    pub(crate) async fn run(&self) -> Result<Figures> {
        let mut figures = Figures::new("operator");
        let step = self.progress.step("namespaces");
        for namespace in fleet::namespaces() {
            Environment::create(&self.cluster, &namespace, &self.services).await?;
        }
        step.done("");

        let built_up = self.build_up().await?;
        figures.add("build-up", built_up.as_secs_f64(), "s", Bound::AtMost(BUILD_UP));

        let step = self.progress.step("settle");
        tokio::time::sleep(SETTLING).await;
        step.done("");
        let step = self.progress.step(format!("rest for {} s", self.size.rest.as_secs()));
        let (writes, told) = (Writes::read(&self.cluster).await?, Told::read(&self.cluster).await?);
        tokio::time::sleep(self.size.rest).await;
        let written = Writes::read(&self.cluster).await?.since(&writes);
        let events = Told::read(&self.cluster).await?.since(&told).len();
        let of_operator = written.of_resources(&BY_OPERATOR);
        let leases = written.of_resources(&[LEASES]).count();
        step.done(&format!(
            "{} writes, {events} Events, and {leases} writes of leases",
            of_operator.count()
        ));
        if of_operator.count() > 0 {
            self.progress.line(&format!("written at rest: {of_operator}"));
        }
        let at_rest = of_operator.count() as f64 + events as f64;
        figures.add("writes at rest", at_rest, "requests", Bound::AtMost(WRITES));

        let mut changes = self.changes().await?;
        changes.sort();
        let p99 = changes[(changes.len() * 99).div_ceil(100) - 1];
        figures.add("change, p99", p99.as_secs_f64(), "s", Bound::AtMost(CHANGE));

        match memory::of_operator(&self.cluster).await {
            Ok(megabytes) => figures.add("memory", megabytes, "MB", Bound::AtMost(MEMORY)),
            Err(error) => self.progress.line(&format!("memory is not measured: {error:#}")),
        }
        Ok(figures)
    }

    /// Makes all pipelines as fast as the API server takes them; answers when each has all its objects and a status
    /// that says so.
    async fn build_up(&self) -> Result<Duration> {
        let all = self.size.pipelines;
        let begun = Instant::now();
        let step = self.progress.step(format!("create {all} pipelines"));
        let pipelines: Vec<SyncPipeline> = (0..all).map(fleet::pipeline).collect::<Result<_>>()?;
        stream::iter(pipelines)
            .map(|pipeline| self.create(pipeline))
            .buffer_unordered(CONCURRENCY)
            .try_collect::<Vec<()>>()
            .await?;
        step.done("");

        let step = self.progress.step("objects and statuses");
        let mut done = 0;
        while done < all {
            if begun.elapsed() > ALL {
                bail!("{done} of {all} pipelines are made after {} s", ALL.as_secs());
            }
            tokio::time::sleep(LOOK).await;
            done = self.made().await?;
            step.update(&format!("{done} of {all}"));
        }
        let took = begun.elapsed();
        let deployments = self.deployments().await?;
        ensure!(
            deployments == all * fleet::READERS,
            "{deployments} Deployments of {all} pipelines, and every status says that all are made"
        );
        step.done(&format!("{deployments} Deployments"));
        Ok(took)
    }

    async fn create(&self, pipeline: SyncPipeline) -> Result<()> {
        let api = self
            .cluster
            .api::<SyncPipeline>(&pipeline.namespace().unwrap_or_default());
        api.create(&PostParams::default(), &pipeline)
            .await
            .with_context(|| format!("create SyncPipeline {}", pipeline.name_any()))?;
        Ok(())
    }

    async fn made(&self) -> Result<usize> {
        let mut made = 0;
        for namespace in fleet::namespaces() {
            let pipelines = self.cluster.api::<SyncPipeline>(&namespace);
            // As the API server has it at hand, which is enough here and costs it less.
            let found = pipelines.list(&ListParams::default().match_any()).await?;
            made += found.iter().filter(|pipeline| is_made(pipeline)).count();
        }
        Ok(made)
    }

    async fn deployments(&self) -> Result<usize> {
        let mut found = 0;
        for namespace in fleet::namespaces() {
            let api: Api<PartialObjectMeta<Deployment>> = self.cluster.api(&namespace);
            found += api.list(&ListParams::default()).await?.items.len();
        }
        Ok(found)
    }

    /// Changes one pipeline after another while the others rest; answers how long each change took.
    async fn changes(&self) -> Result<Vec<Duration>> {
        let step = self.progress.step(format!("{CHANGES} changes"));
        let mut took = Vec::with_capacity(CHANGES);
        for change in 0..CHANGES {
            let number = change * self.size.pipelines / CHANGES;
            took.push(self.change(number, 200 + i32::try_from(change)?).await?);
            step.update(&format!("{} of {CHANGES}", change + 1));
        }
        step.done("");
        Ok(took)
    }

    async fn change(&self, number: usize, max_records: i32) -> Result<Duration> {
        let mut pipeline = fleet::pipeline(number)?;
        let (name, namespace) = (pipeline.name_any(), pipeline.namespace().unwrap_or_default());
        pipeline.spec.consumers[0].batch.max_records = max_records;
        let deployment = format!("{name}-{}", pipeline.spec.consumers[0].name);
        let deployments = self.cluster.api::<Deployment>(&namespace);
        let pipelines = self.cluster.api::<SyncPipeline>(&namespace);
        let before = deployments.get(&deployment).await?.metadata.generation;

        let begun = Instant::now();
        let patch = json!({"spec": {"consumers": pipeline.spec.consumers}});
        let changed = pipelines
            .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        let generation = changed.metadata.generation;
        while begun.elapsed() < ONE {
            let status = pipelines.get(&name).await?.status;
            if status.and_then(|status| status.observed_generation) == generation
                && deployments.get(&deployment).await?.metadata.generation > before
            {
                return Ok(begun.elapsed());
            }
            tokio::time::sleep(GLANCE).await;
        }
        bail!(
            "a change of {name} has not reached its Deployment after {} s",
            ONE.as_secs()
        );
    }

    /// Removes everything that was made.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        let step = self.progress.step("remove the pipelines and their topics");
        let environments = fleet::namespaces();
        for namespace in &environments {
            self.cluster.delete_namespace(namespace, ALL).await?;
        }
        let kafka = Kafka::connect(&self.services.kafka).await?;
        let topics = kafka.topic_names().await?;
        let own: Vec<String> = topics.into_iter().filter(|topic| fleet::owns_topic(topic)).collect();
        for some in own.chunks(TOPICS) {
            kafka.delete_topics(some).await?;
        }
        eventually("the topics are gone", ONE, async || {
            let topics = kafka.topic_names().await?;
            Ok((!topics.iter().any(|topic| fleet::owns_topic(topic))).then_some(()))
        })
        .await?;
        step.done("");
        Ok(())
    }
}

/// Whether the operator has made everything of the pipeline, and says so.
fn is_made(pipeline: &SyncPipeline) -> bool {
    let Some(status) = &pipeline.status else { return false };
    let holds = |type_| condition(status, type_).is_some_and(|(state, ..)| state == "True");
    status.observed_generation == pipeline.metadata.generation && holds("TopicsReady") && holds("WorkloadsAvailable")
}
