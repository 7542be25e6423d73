//! Producers and consumers as processes: this program, started again in their part. It does what theirs do, and is
//! never older than what is tested.

use anyhow::{Context, Result, bail};
use contract::metric;
use host::process::{Daemon, DaemonSpec};
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Names the part that a process of this program plays.
pub(crate) const PART: &str = "ROUNDS_PART";
/// Longest wait for an answer of a workload's own routes.
const ANSWER: Duration = Duration::from_secs(5);
/// As in a pod: longest wait for the end that was asked for.
const GRACE: Duration = Duration::from_secs(30);

/// A kind of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Producer,
    Consumer,
}

impl Kind {
    pub(crate) const ALL: [Kind; 2] = [Kind::Producer, Kind::Consumer];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Producer => "producer",
            Kind::Consumer => "consumer",
        }
    }

    /// What the program of this kind does.
    pub(crate) fn play(self) -> ExitCode {
        runtime::telemetry::init(self.name());
        runtime::tls::install_provider();
        let mut tokio = match self {
            Kind::Producer => tokio::runtime::Builder::new_current_thread(),
            Kind::Consumer => tokio::runtime::Builder::new_multi_thread(),
        };
        let outcome = tokio.enable_all().build().context("start tokio").and_then(|tokio| {
            let outcome = tokio.block_on(self.serve());
            tokio.shutdown_timeout(Duration::from_secs(1));
            outcome
        });
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("the {} ends: {error:#}", self.name());
                ExitCode::FAILURE
            }
        }
    }

    async fn serve(self) -> Result<()> {
        let environment = runtime::env::Env::from_process();
        let stop = runtime::shutdown::token();
        match self {
            Kind::Producer => producer::run(producer::Settings::from_env(&environment)?, stop).await?,
            Kind::Consumer => consumer::run(&environment, stop).await?,
        }
        Ok(())
    }
}

/// One of them, whether it runs or not.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) kind: Kind,
    name: String,
    pub(crate) address: SocketAddr,
    environment: Vec<(&'static str, String)>,
}

impl Workload {
    pub(crate) fn new(
        kind: Kind,
        number: usize,
        address: SocketAddr,
        environment: Vec<(&'static str, String)>,
    ) -> Workload {
        Workload {
            kind,
            name: format!("{}-{number}", kind.name()),
            address,
            environment,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        Daemon::find(&self.name).is_some()
    }

    pub(crate) fn start(&self) -> Result<()> {
        let program = std::env::current_exe().context("find this program")?;
        let mut process = DaemonSpec::new(&self.name, program).env(PART, self.kind.name());
        for (name, value) in &self.environment {
            process = process.env(name, value);
        }
        process.spawn().map(drop)
    }

    /// One that has ended by itself is as good, here and below.
    pub(crate) async fn kill9(&self) -> Result<()> {
        self.end(|process| process.kill9()).await
    }

    /// SIGTERM, and the wait for the end, as a kubelet does it.
    pub(crate) async fn terminate(&self) -> Result<()> {
        self.end(|process| process.stop(GRACE)).await
    }

    async fn end(&self, how: impl FnOnce(Daemon) -> Result<()> + Send + 'static) -> Result<()> {
        match Daemon::find(&self.name) {
            Some(process) => tokio::task::spawn_blocking(move || how(process)).await?,
            None => Ok(()),
        }
    }

    /// Stops its time, or lets it go on.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<()> {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        match Daemon::find(&self.name).and_then(|process| Pid::from_raw(process.pid())) {
            Some(pid) => kill_process(pid, signal).with_context(|| format!("send {signal:?} to {}", self.name)),
            None => Ok(()),
        }
    }

    async fn get(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("http://{}{path}", self.address);
        let asking = async {
            let answer = reqwest::get(url).await?;
            Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.text().await?))
        };
        Ok(tokio::time::timeout(ANSWER, asking).await??)
    }

    /// An error that says what it is not ready for.
    pub(crate) async fn ready(&self) -> Result<()> {
        match self.get("/ready").await.with_context(|| self.name.clone())? {
            (200, _) => Ok(()),
            (status, text) => bail!("{} is not ready: {status} {text}", self.name),
        }
    }

    /// What a producer tells of where everything is.
    pub(crate) async fn account(&self) -> Result<serde_json::Value> {
        match self
            .get("/v1/reconciliation")
            .await
            .with_context(|| self.name.clone())?
        {
            (200, text) => Ok(serde_json::from_str(&text)?),
            (status, text) => bail!("{} tells no account: {status} {text}", self.name),
        }
    }

    /// Partitions that a consumer has.
    pub(crate) async fn partitions(&self) -> Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with(metric::CONSUMER_PARTITIONS));
        let value = line
            .and_then(|line| line.rsplit(' ').next())
            .context("no such metric")?;
        Ok(value.parse()?)
    }
}

/// Kills whatever of them is left.
pub(crate) fn kill_all() -> Result<()> {
    let is_workload = |process: &Daemon| {
        let mut kinds = Kind::ALL.into_iter();
        kinds.any(|kind| process.name().starts_with(&format!("{}-", kind.name())))
    };
    Daemon::all()
        .iter()
        .filter(|process| is_workload(process))
        .try_for_each(Daemon::kill9)
}
