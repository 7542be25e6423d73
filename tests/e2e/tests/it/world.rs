//! A pipeline of its own for each test, with its own namespace, topics, groups, schema and database.

use crate::look::look;
use crate::tools::in_checkout;
use ::e2e::cluster::Cluster;
use ::e2e::environment::Environment;
use ::e2e::eventually::eventually;
use ::e2e::kafka::Kafka;
use ::e2e::ladder::Ladder;
use ::e2e::pipeline::{self, Names};
use ::e2e::recorder::{Recorder, Recording};
use ::e2e::stores::Stores;
use ::e2e::traffic::{Generator, IMAGE, Plan};
use ::e2e::verdict::{Evidence, Verdict};
use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use generator::tally::{AcceptedRecord, Progress};
use operator::api::{SyncPipeline, SyncPipelineStatus};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Tests share two cores and the data services, so they take turns.
static TURN: Mutex<()> = Mutex::const_new(());

/// Where the chart's release is.
pub(crate) const OPERATOR_NAMESPACE: &str = "syncpipeline-system";
/// Selects the operator's Deployment and its pods.
pub(crate) const OPERATOR: &str = "app.kubernetes.io/component=operator";
/// Names the stand-in's image.
pub(crate) const STAND_IN: &str = "SYNCPIPELINE_IMAGE_STAND_IN";

/// Far longer than anything takes, as are all limits here: how fast a machine is, is not what these tests are about.
pub(crate) const READY: Duration = Duration::from_secs(400);
/// Longest time until what is asked of the operator or the cluster has happened.
pub(crate) const SOON: Duration = Duration::from_secs(180);
/// Longest time until everything accepted is stored.
const STORED: Duration = Duration::from_secs(400);
/// Longest way down all rungs with the tests' cooldown.
const WAY_DOWN: Duration = Duration::from_secs(400);
/// Longest time until every upload has its answer.
pub(crate) const ANSWERED: Duration = Duration::from_secs(400);
const CLEAN: Duration = Duration::from_secs(240);

/// A test's pipeline and everything around it.
pub(crate) struct Case {
    pub(crate) cluster: Cluster,
    pub(crate) environment: Environment,
    pub(crate) running: services::Running,
    pub(crate) pipeline: SyncPipeline,
    pub(crate) names: Names,
    pub(crate) kafka: Arc<Kafka>,
    pub(crate) stores: Stores,
}

/// Runs a test with a pipeline that is Ready. `change` may alter it before it is applied.
pub(crate) async fn with_pipeline(
    name: &str,
    change: impl FnOnce(&mut SyncPipeline),
    test: impl AsyncFnOnce(&Case) -> Result<()>,
) {
    with_case(name, change, async |case| {
        case.apply().await?;
        case.ready().await?;
        test(case).await
    })
    .await;
}

/// Runs a test with a pipeline that was not applied yet, and removes everything afterwards. A failure is reported
/// with what a person would look at first.
pub(crate) async fn with_case(
    name: &str,
    change: impl FnOnce(&mut SyncPipeline),
    test: impl AsyncFnOnce(&Case) -> Result<()>,
) {
    let _turn = TURN.lock().await;
    let case = Case::prepare(name, change).await.unwrap_or_else(|error| {
        panic!("{error:#}\nThese tests need a cluster with the operator, and data services: run `cargo xtask test e2e`")
    });
    let outcome = AssertUnwindSafe(test(&case)).catch_unwind().await;
    // The reason comes first: what is shown of a long report is its beginning.
    if let Ok(Err(error)) = &outcome {
        eprintln!("{error:#}");
    }
    if !matches!(outcome, Ok(Ok(()))) {
        eprintln!("{}", look(&case).await);
    }
    let removed = case.remove().await;
    match outcome {
        Ok(outcome) => outcome.and(removed).unwrap_or_else(|error| panic!("{error:#}")),
        Err(panic) => resume_unwind(panic),
    }
}

impl Case {
    async fn prepare(name: &str, change: impl FnOnce(&mut SyncPipeline)) -> Result<Case> {
        std::env::var(IMAGE).with_context(|| format!("{IMAGE} is not set"))?;
        let running = services::running().context("the data services are not running")?;
        let kubeconfig = std::env::var_os("KUBECONFIG");
        let cluster = Cluster::connect(kubeconfig.as_ref().map(AsRef::as_ref)).await?;
        let namespace = format!("e2e-{name}");
        let mut pipeline = pipeline::read(&in_checkout("examples/mobileforge.yaml"))?;
        separate(&mut pipeline, name, &namespace);
        change(&mut pipeline);
        let names = Names::of(&pipeline)?;
        let case = Case {
            kafka: Arc::new(Kafka::connect(&running.kafka).await?),
            stores: Stores::connect(&running, &names).await?,
            environment: Environment::create(&cluster, &namespace, &running).await?,
            cluster,
            running,
            pipeline,
            names,
        };
        // What an interrupted run left behind.
        case.remove_data().await?;
        Ok(case)
    }

    /// Applies the pipeline as it is in `self`.
    pub(crate) async fn apply(&self) -> Result<SyncPipeline> {
        Ok(self.cluster.apply(&self.pipeline).await?)
    }

    /// Waits until it is Ready.
    pub(crate) async fn ready(&self) -> Result<()> {
        pipeline::wait_ready(&self.cluster, &self.names, READY, |_| {}).await
    }

    /// What the operator says.
    pub(crate) async fn status(&self) -> Result<SyncPipelineStatus> {
        pipeline::status(&self.cluster, &self.names).await
    }

    /// Starts traffic to this pipeline.
    pub(crate) async fn traffic(&self, phases: &str, mix: Option<&str>) -> Result<Generator> {
        let plan = Plan {
            seed: 7,
            phases: phases.to_owned(),
            mix: mix.map(str::to_owned),
            concurrency: 1000,
        };
        Generator::start(&self.cluster, &self.names, &plan).await
    }

    /// Begins to record lag and replicas.
    pub(crate) fn record(&self) -> Recorder {
        Recorder::start(&self.cluster, Arc::clone(&self.kafka), &self.names)
    }

    /// The ladder of a consumer.
    pub(crate) fn ladder(&self, consumer: &str) -> Ladder {
        Ladder::of(consumer, self.pipeline.spec.daily_active_users).unwrap()
    }

    /// Waits until every consumer is back at its least replicas and nothing is left to read.
    pub(crate) async fn back_at_least(&self, recorder: &Recorder) -> Result<Recording> {
        let consumers: Vec<_> = self.names.topics_by_consumer().into_keys().collect();
        eventually("every consumer is back at its least replicas", WAY_DOWN, async || {
            let recording = recorder.recording();
            for consumer in &consumers {
                let last = recording.history(consumer).last().copied();
                ensure!(last == Some(self.ladder(consumer).min()), "{consumer} is at {last:?}");
            }
            let lag = recording.lag();
            ensure!(!lag.is_empty() && lag.values().all(|lag| *lag == 0), "lag is {lag:?}");
            Ok(Some(recording))
        })
        .await
    }

    /// Every upload has its answer, none was refused; answers with the receipts.
    pub(crate) async fn answered(
        &self,
        generator: &Generator,
        timeout: Duration,
    ) -> Result<(Progress, Vec<AcceptedRecord>)> {
        let progress = generator.finished(timeout).await?;
        ensure!(progress.total.refused == 0, "refused: {:?}", progress.refusals);
        ensure!(
            progress.total.unknown == 0,
            "{} uploads were never answered",
            progress.total.unknown
        );
        ensure!(progress.total.accepted > 0, "nothing was accepted");
        let receipts = generator.receipts().await?;
        ensure!(
            receipts.len() as u64 == progress.total.records,
            "{} receipts for {progress:?}",
            receipts.len()
        );
        Ok((progress, receipts))
    }

    /// Waits until nothing is lost; answers the verdict, which says so if that takes too long.
    pub(crate) async fn verdict(&self, receipts: &[AcceptedRecord]) -> Result<Verdict> {
        let began = tokio::time::Instant::now();
        loop {
            let evidence = Evidence::collect(&self.stores, &self.kafka, &self.names, receipts.to_vec()).await?;
            let verdict = Verdict::of(&evidence);
            if verdict.lost() == 0 || began.elapsed() > STORED {
                show(&verdict.to_string());
                return Ok(verdict);
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// Nothing is lost and nothing is twice.
    pub(crate) async fn all_stored_once(&self, receipts: &[AcceptedRecord]) -> Result<()> {
        let verdict = self.verdict(receipts).await?;
        assert_eq!(
            (verdict.lost(), verdict.twice(), verdict.dead_lettered),
            (0, 0, 0),
            "{verdict}"
        );
        Ok(())
    }

    async fn remove(&self) -> Result<()> {
        self.cluster
            .delete::<SyncPipeline>(&self.names.namespace, &self.names.pipeline, CLEAN)
            .await?;
        self.environment.abandon().await?;
        self.remove_data().await
    }

    async fn remove_data(&self) -> Result<()> {
        let topics = self.kafka.topic_names().await?;
        let own: Vec<String> = topics
            .into_iter()
            .filter(|topic| topic.starts_with(&self.names.topic_prefix))
            .collect();
        self.kafka.delete_topics(&own).await?;
        self.stores.remove().await
    }
}

/// Shows a figure also where the test passes: what is written past the print macros is not captured.
pub(crate) fn show(line: &str) {
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Gives a pipeline names of its own, small ladders and a short cooldown.
fn separate(pipeline: &mut SyncPipeline, name: &str, namespace: &str) {
    pipeline.metadata.name = Some(name.to_owned());
    pipeline.metadata.namespace = Some(namespace.to_owned());
    let spec = &mut pipeline.spec;
    spec.daily_active_users = 1_000;
    spec.kafka.bootstrap_servers = vec![format!("kafka.{namespace}.svc:9092")];
    spec.kafka.topic_prefix = format!("{name}.");
    spec.kafka.group_prefix = format!("{name}.");
    let schema = name.replace('-', "_");
    if let Some(postgres) = &mut spec.postgres {
        postgres.host = format!("postgres.{namespace}.svc");
        postgres.schema = schema.clone();
    }
    if let Some(mongodb) = &mut spec.mongodb {
        mongodb.host = Some(format!("mongodb.{namespace}.svc"));
        mongodb.database = schema;
    }
    for consumer in &mut spec.consumers {
        consumer.scaling.cooldown = Some("5s".to_owned());
    }
}
