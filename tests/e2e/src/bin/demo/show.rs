//! The demo's story, from the namespace to the verdict.

use crate::checks::{self, Findings};
use crate::live::{Live, View};
use anyhow::{Context, Result};
use e2e::cluster::Cluster;
use e2e::environment::Environment;
use e2e::kafka::Kafka;
use e2e::ladder::Ladder;
use e2e::pipeline::{self, Names};
use e2e::recorder::{Recorder, Recording};
use e2e::stores::Stores;
use e2e::traffic::{Generator, Plan};
use e2e::verdict::{Evidence, Verdict};
use generator::phase::Phase;
use generator::tally::Progress as Traffic;
use host::progress::Progress;
use operator::api::SyncPipeline;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The burst is more than two cores can store while it lasts; the calm after it brings single records, so that the way
/// down the rungs is seen under traffic.
pub(crate) const PHASES: &str = "calm:8s@6,burst:14s@900x4,drain:5s@2x1,calm:30s@5x1";

const READY: Duration = Duration::from_secs(180);
/// Longest way back to the least replicas, after the last upload.
const WAY_DOWN: Duration = Duration::from_secs(240);
const REDRAW: Duration = Duration::from_millis(500);
const COUNT_ROWS: Duration = Duration::from_secs(2);
/// Longest wait for the last receipts to be stored.
const STORED: Duration = Duration::from_secs(60);
const DELETION: Duration = Duration::from_secs(90);

/// A demo that knows its cluster, its pipeline and the data services.
pub(crate) struct Demo {
    cluster: Cluster,
    services: services::Running,
    pipeline: SyncPipeline,
    names: Names,
    phases: String,
    progress: Progress,
}

impl Demo {
    /// Connects; changes nothing yet.
    pub(crate) async fn prepare(kubeconfig: Option<&Path>, example: &Path, phases: String) -> Result<Demo> {
        for phase in phases.split(',') {
            phase.parse::<Phase>()?;
        }
        let pipeline = pipeline::read(example)?;
        Ok(Demo {
            cluster: Cluster::connect(kubeconfig).await.context("connect to the cluster")?,
            services: services::running().context(
                "the data services are not running: run `cargo xtask demo`, or `cargo xtask services up` first",
            )?,
            names: Names::of(&pipeline)?,
            pipeline,
            phases,
            progress: Progress::new(),
        })
    }

    /// Tells the story; answers whether every check holds.
    pub(crate) async fn run(&self) -> Result<bool> {
        let names = &self.names;
        let step = self
            .progress
            .step(format!("apply SyncPipeline {}/{}", names.namespace, names.pipeline));
        Environment::create(&self.cluster, &names.namespace, &self.services).await?;
        self.cluster
            .apply(&self.pipeline)
            .await
            .context("apply the SyncPipeline")?;
        step.done("");

        let step = self.progress.step("topics and pods");
        pipeline::wait_ready(&self.cluster, names, READY, |news| step.update(news)).await?;
        step.done("");

        let kafka = Arc::new(Kafka::connect(&self.services.kafka).await?);
        let stores = Stores::connect(&self.services, names).await?;
        let recorder = Recorder::start(&self.cluster, Arc::clone(&kafka), names);
        let step = self.progress.step("traffic");
        let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let plan = Plan {
            seed,
            phases: self.phases.clone(),
            mix: None,
            concurrency: 256,
        };
        let generator = Generator::start(&self.cluster, names, &plan).await?;
        step.done(&format!("seed {seed}, {}", self.phases));

        let traffic = self.watch(&generator, &stores, &recorder).await?;

        let step = self.progress.step("compare receipts with both stores");
        let verdict = self.verdict(&generator, &stores, &kafka).await?;
        step.done("");
        let recording = recorder.recording();
        let mut topics: Vec<String> = names.sources.iter().map(|source| names.topic(*source)).collect();
        topics.extend(names.sources.iter().map(|source| names.dead_letter_topic(*source)));
        let findings = Findings {
            names,
            users: self.pipeline.spec.daily_active_users,
            brokers: kafka.brokers().await?,
            topics: kafka.topics(&topics).await?,
            recording: &recording,
            traffic: &traffic,
            verdict: &verdict,
        };
        Ok(checks::report(&findings))
    }

    /// Removes what the demo made in the cluster. Topics and rows stay with the data services.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        let names = &self.names;
        let step = self
            .progress
            .step(format!("remove SyncPipeline and namespace {}", names.namespace));
        self.cluster
            .delete::<SyncPipeline>(&names.namespace, &names.pipeline, DELETION)
            .await?;
        self.cluster.delete_namespace(&names.namespace, DELETION).await?;
        step.done("");
        Ok(())
    }

    /// Shows what happens until the traffic is over and every consumer is back at its least replicas, or until
    /// that takes too long: the checks say so then.
    async fn watch(&self, generator: &Generator, stores: &Stores, recorder: &Recorder) -> Result<Traffic> {
        let mut live = Live::new();
        let mut rows = None;
        let mut counted = Instant::now() - COUNT_ROWS;
        let mut traffic = generator.progress().await?;
        let mut over: Option<Instant> = None;
        loop {
            // A reading that fails while pods come and go is shown again at the next redraw.
            if let Ok(news) = generator.progress().await {
                traffic = news;
            }
            if counted.elapsed() >= COUNT_ROWS {
                rows = stores.row_counts().await.ok().or(rows);
                counted = Instant::now();
            }
            let status = pipeline::status(&self.cluster, &self.names).await.unwrap_or_default();
            let lag = recorder.with(Recording::lag);
            live.draw(&View {
                names: &self.names,
                status: &status,
                traffic: &traffic,
                lag: &lag,
                rows: rows.as_ref(),
            });
            if traffic.finished {
                let since = *over.get_or_insert_with(Instant::now);
                let back = recorder.with(|recording| self.is_back(recording));
                if (back && lag.values().all(|lag| *lag == 0)) || since.elapsed() > WAY_DOWN {
                    live.end();
                    return Ok(traffic);
                }
            }
            tokio::time::sleep(REDRAW).await;
        }
    }

    fn is_back(&self, recording: &Recording) -> bool {
        self.names.topics_by_consumer().keys().all(|consumer| {
            let ladder = Ladder::of(consumer, self.pipeline.spec.daily_active_users);
            let last = recording.changes(consumer).last();
            ladder.is_some_and(|ladder| last.is_some_and(|change| change.replicas == ladder.min()))
        })
    }

    /// Judges until nothing is lost, or the time for that is over.
    async fn verdict(&self, generator: &Generator, stores: &Stores, kafka: &Kafka) -> Result<Verdict> {
        let receipts = generator.receipts().await.context("read the generator's receipts")?;
        let began = Instant::now();
        loop {
            let evidence = Evidence::collect(stores, kafka, &self.names, receipts.clone()).await?;
            let verdict = Verdict::of(&evidence);
            if verdict.lost() == 0 || began.elapsed() > STORED {
                return Ok(verdict);
            }
            tokio::time::sleep(COUNT_ROWS).await;
        }
    }
}
