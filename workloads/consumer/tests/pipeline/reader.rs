//! The consumer as a process.

use crate::wait;
use anyhow::{Context, Result, ensure};
use contract::env;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

pub(crate) struct Reader {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Reader {
    pub(crate) fn start(name: &str, environment: Vec<(&'static str, String)>) -> Result<Reader> {
        let port = host::ports::free(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        let folder = host::state::log_dir();
        std::fs::create_dir_all(&folder)?;
        let log = folder.join(format!("consumer-{name}.log"));
        let output = File::create(&log)?;
        let child = Command::new(env!("CARGO_BIN_EXE_consumer"))
            .env_clear()
            .envs(environment)
            .env(env::HTTP_PORT, port.to_string())
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()?;
        Ok(Reader { child, port, log })
    }

    async fn get(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let answer = tokio::time::timeout(Duration::from_secs(5), reqwest::get(url)).await??;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// What a path answers, whatever its status.
    pub(crate) async fn text(&self, path: &str) -> Result<String> {
        Ok(self.get(path).await?.1)
    }

    pub(crate) async fn until_ready(&self) -> Result<()> {
        wait::until("the reader is ready", Duration::from_secs(60), async || {
            let (status, body) = self.get("/ready").await?;
            Ok((status != 200).then_some(body))
        })
        .await
        .with_context(|| self.tail())
    }

    /// Waits until `/ready` is a 503 that names one of these parts.
    pub(crate) async fn until_not_ready(&self, parts: &[&str]) -> Result<()> {
        wait::until("the reader is not ready", Duration::from_secs(60), async || {
            let (status, body) = self.get("/ready").await?;
            let named = parts.iter().any(|part| body.contains(&format!(r#""part":"{part}""#)));
            Ok((status != 503 || !named).then(|| format!("{status} {body}")))
        })
        .await
        .with_context(|| self.tail())
    }

    /// The sum of all samples of a metric whose labels contain `labels`.
    pub(crate) async fn metric(&self, name: &str, labels: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let samples = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(labels));
        samples
            .map(|line| Ok(line.rsplit(' ').next().context("no value")?.parse::<f64>()?))
            .sum()
    }

    pub(crate) fn kill9(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the wait for the end.
    pub(crate) async fn terminate(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.until_ended(Duration::from_secs(25)).await?;
        ensure!(status.success(), "{status}; {}", self.tail());
        Ok(())
    }

    pub(crate) async fn until_ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut status = None;
        let child = &mut self.child;
        wait::until("the reader ends", limit, async || {
            status = child.try_wait()?;
            Ok(status.is_none().then(|| "still running".to_owned()))
        })
        .await
        .with_context(|| self.tail())?;
        status.context("no status")
    }

    pub(crate) fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    fn tail(&self) -> String {
        let log = self.log().unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!(
            "end of {}:\n{}",
            self.log.display(),
            lines[lines.len().saturating_sub(15)..].join("\n")
        )
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
