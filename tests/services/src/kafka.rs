//! Apache Kafka in KRaft mode: each node is a broker and a controller.

mod probe;
mod properties;
pub(crate) mod tls;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use host::process::{Daemon, DaemonSpec};
use host::{cache, secret, state};

use crate::installation::{self, Installation};

pub(crate) const DAEMON_PREFIX: &str = "kafka-";

/// Three brokers on two busy cores need a while.
const START_TIMEOUT: Duration = Duration::from_secs(180);

/// Compiles quickly rather than well, for tools that run for a second.
const SHORT_RUN: [&str; 3] = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// The folder of jars, downloaded from Maven Central unless the cache has it already.
pub fn prepare_kafka() -> Result<PathBuf> {
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/pom.xml");
    let content = fs::read(&pom).with_context(|| format!("read {}", pom.display()))?;
    cache::entry("kafka", &cache::key_of(&[&content]), |folder| {
        let mut download = Command::new("mvn");
        download
            .args(["--batch-mode", "--quiet", "dependency:copy-dependencies", "--file"])
            .arg(&pom);
        download.arg(format!("-DoutputDirectory={}", folder.display()));
        host::run(&mut download, &state::log_dir().join("kafka-download.log")).context("download Kafka")
    })
}

/// A tool of Kafka, by its class, as Kafka's own scripts start it: with the same heap and the same collector.
pub fn tool(class: &str) -> Result<Command> {
    let mut tool = Command::new("java");
    tool.args(["-Xmx512M", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"])
        .args([
            "-XX:InitiatingHeapOccupancyPercent=35",
            "-XX:+ExplicitGCInvokesConcurrent",
        ])
        // Numbers with a point and without separators.
        .args(["-Djava.awt.headless=true", "-Duser.language=en", "-Duser.country=US"])
        .args(["-cp", &class_path(&prepare_kafka()?), class]);
    Ok(tool)
}

/// Kills a broker, for fault tests; the first one has index 0.
pub fn kill9(broker_index: usize) -> Result<()> {
    Daemon::find(&daemon(broker_index))
        .with_context(|| format!("Kafka broker {broker_index} is not running"))?
        .kill9()
}

/// Starts a broker again and waits until the cluster has it back.
pub fn start(broker_index: usize) -> Result<()> {
    let installation = Installation::required()?;
    if broker_index >= installation.brokers.len() {
        bail!(
            "there is no Kafka broker {broker_index}: there are {}, from 0",
            installation.brokers.len()
        );
    }
    let jars = prepare_kafka()?;
    let broker = start_broker(&installation, &jars, broker_index)?;
    wait_until_listed(&broker, &installation, broker_index, &[broker_index])
}

pub(crate) fn daemon(broker_index: usize) -> String {
    format!("{DAEMON_PREFIX}{broker_index}")
}

/// A new cluster's id: 16 random bytes in Kafka's base 64, here made of characters that stand for themselves.
pub(crate) fn cluster_id() -> Result<String> {
    // 22 characters of 6 bits are 132: the last one carries only 2 of them, and A is zero.
    Ok(format!("{}A", &secret::password()?[..21]))
}

pub(crate) fn up(installation: &Installation) -> Result<()> {
    let jars = prepare_kafka()?;
    let indices: Vec<usize> = (0..installation.brokers.len()).collect();
    thread::scope(|scope| {
        let jars = &jars;
        let starting: Vec<_> = indices
            .iter()
            .map(|&index| scope.spawn(move || start_broker(installation, jars, index)))
            .collect();
        let brokers = starting.into_iter().map(crate::join).collect::<Result<Vec<_>>>()?;
        for (index, broker) in brokers.iter().enumerate() {
            wait_until_listed(broker, installation, index, &indices)?;
        }
        Ok(())
    })
}

/// The data goes with the brokers, so there is nothing that an orderly end would save, and three controllers that
/// leave at once wait long for each other.
pub(crate) fn stop(daemon: &Daemon) -> Result<()> {
    daemon.kill9()
}

/// The broker's daemon, started unless it is running.
fn start_broker(installation: &Installation, jars: &Path, index: usize) -> Result<Daemon> {
    if let Some(running) = Daemon::find(&daemon(index)) {
        return Ok(running);
    }
    let folder = installation::folder().join(daemon(index));
    state::create_private(&folder)?;
    let data = folder.join("data");
    if !data.exists() {
        state::create_whole(&data, |partial| format(installation, jars, index, &folder, partial))
            .with_context(|| format!("format the storage of {}", daemon(index)))?;
    }
    let configuration = folder.join("server.properties");
    secret::write_private(&configuration, properties::of(installation, index, &data).as_bytes())?;
    let heap = if installation.brokers.len() == 1 {
        "-Xmx512m"
    } else {
        "-Xmx256m"
    };
    DaemonSpec::new(&daemon(index), "java")
        .args([
            heap,
            "-Xms128m",
            "-XX:+UseSerialGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
        ])
        .args([
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
        ])
        .args(["-cp", &class_path(jars), "kafka.Kafka"])
        .arg(&configuration)
        .current_dir(&folder)
        .spawn()
}

/// Makes an empty folder the storage of a new cluster's node.
fn format(installation: &Installation, jars: &Path, index: usize, folder: &Path, data: &Path) -> Result<()> {
    // Files of this process alone: the formatter of one that was killed may be about to read its own still.
    let process = std::process::id();
    let configuration = folder.join(format!("format-{process}.properties"));
    secret::write_private(&configuration, properties::of(installation, index, data).as_bytes())?;
    // The formatter reads its arguments from a file, which keeps the password off the list of processes.
    let arguments = folder.join(format!("format-{process}.arguments"));
    let user = installation.running().kafka;
    let credential = format!("SCRAM-SHA-512=[name={},password={}]", user.username, user.password);
    let lines = [
        "format",
        "--cluster-id",
        &installation.kafka_cluster_id,
        "--config",
        &configuration.display().to_string(),
        "--add-scram",
        &credential,
    ];
    secret::write_private(&arguments, lines.join("\n").as_bytes())?;
    let mut format = Command::new("java");
    format
        .args(SHORT_RUN)
        .args(["-cp", &class_path(jars), "kafka.tools.StorageTool"]);
    format.arg(format!("@{}", arguments.display()));
    // The formatter prints what it derived from the password: its log stays in the private folder.
    let formatted = host::run(&mut format, &folder.join("format.log"));
    state::remove(&arguments)?;
    state::remove(&configuration)?;
    formatted
}

fn wait_until_listed(broker: &Daemon, installation: &Installation, index: usize, expected: &[usize]) -> Result<()> {
    let wanted: Vec<i32> = expected.iter().map(|&index| properties::node_id(index)).collect();
    let address = installation.brokers[index].internal;
    broker.wait_until(
        &format!("{} is part of its cluster", broker.name()),
        START_TIMEOUT,
        || {
            let listed = probe::brokers(address)?;
            if wanted.iter().all(|id| listed.contains(id)) {
                return Ok(Some(()));
            }
            bail!("it lists brokers {listed:?}, not yet all of {wanted:?}")
        },
    )
}

fn class_path(jars: &Path) -> String {
    format!("{}/*", jars.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_have_kafkas_form() {
        let id = cluster_id().unwrap();
        assert_eq!(id.len(), 22, "{id}");
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
        assert_ne!(id, cluster_id().unwrap());
    }
}
