//! Workloads that are measured: processes of their own, which end with this one.

use crate::kafka;
use anyhow::{Context, Result, ensure};
use contract::{Source, env};
use producer::settings;
use services::Running;
use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// Longest wait for a server to be ready, and between two looks.
const START: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);

/// A workload that answers.
#[derive(Debug)]
pub struct Workload {
    /// Where it listens.
    pub address: SocketAddr,
    /// Killed with this.
    process: Child,
}

impl Workload {
    /// The producer, as in a pipeline without a database. It is ready.
    pub async fn producer(kafka: &services::Kafka) -> Result<Workload> {
        let port = host::ports::free(Ipv4Addr::LOCALHOST.into())?;
        let topics = [Source::Sms, Source::Events].map(Source::topic).join(",");
        let mut command = program("producer")?;
        command
            .envs(kafka::environment(kafka))
            .env(env::ENABLED_TOPICS, topics)
            .env(settings::PORT, port.to_string());
        Workload::start("producer", command, port).await
    }

    /// The producer's server over nothing. It is ready.
    pub async fn producer_without_kafka() -> Result<Workload> {
        let port = host::ports::free(Ipv4Addr::LOCALHOST.into())?;
        let mut command = program("producer_without_kafka")?;
        command.arg(port.to_string());
        Workload::start("producer-without-kafka", command, port).await
    }

    /// The consumer of one source, with both stores. It has its partitions.
    pub async fn consumer(running: &Running, source: Source, group: &str, schema: &str) -> Result<Workload> {
        let port = host::ports::free(Ipv4Addr::LOCALHOST.into())?;
        let mut command = program("consumer")?;
        command
            .envs(consumer_environment(running, source, group, schema))
            .env(env::HTTP_PORT, port.to_string());
        Workload::start("consumer", command, port).await
    }

    /// Bytes of memory that it has, by the kernel's account.
    pub fn resident(&self) -> Result<u64> {
        let pid = self.process.id().context("the workload has ended")?;
        let path = format!("/proc/{pid}/status");
        let status = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kibibytes.with_context(|| format!("{path} does not tell its memory"))? * 1024)
    }

    async fn start(name: &str, mut command: Command, port: u16) -> Result<Workload> {
        let path = host::state::log_dir().join(format!("{name}.log"));
        std::fs::create_dir_all(host::state::log_dir()).context("create the folder of logs")?;
        let log = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let mut process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let began = Instant::now();
        while !is_ready(address).await {
            let ended = process.try_wait()?;
            ensure!(
                ended.is_none() && began.elapsed() < START,
                "{name} is not ready; the end of its log:\n{}",
                host::log_tail(&path)
            );
            sleep(LOOK).await;
        }
        Ok(Workload { address, process })
    }
}

/// The environment of a consumer of one source.
pub fn consumer_environment(
    running: &Running,
    source: Source,
    group: &str,
    schema: &str,
) -> Vec<(&'static str, String)> {
    let (postgres, mongodb) = (&running.postgres, &running.mongodb);
    let mut pairs = kafka::environment(&running.kafka);
    pairs.extend([
        (env::ENABLED_TOPICS, source.topic().to_owned()),
        (env::KAFKA_CONSUMER_GROUP, group.to_owned()),
        (env::POSTGRES_HOST, postgres.address.ip().to_string()),
        (env::POSTGRES_PORT, postgres.address.port().to_string()),
        (env::POSTGRES_USERNAME, postgres.username.clone()),
        (env::POSTGRES_PASSWORD, postgres.password.clone()),
        (env::POSTGRES_SYNC_DATABASE, "sync_db".to_owned()),
        (env::POSTGRES_SCHEMA, schema.to_owned()),
        (env::MONGODB_HOST, mongodb.address.ip().to_string()),
        (env::MONGODB_PORT, mongodb.address.port().to_string()),
        (env::MONGODB_DATABASE, schema.to_owned()),
        (env::MONGODB_USERNAME, mongodb.username.clone()),
        (env::MONGODB_PASSWORD, mongodb.password.clone()),
        (env::MONGODB_AUTH_MECHANISM, "PLAIN".to_owned()),
        (env::MONGODB_AUTH_SOURCE, "$external".to_owned()),
        (env::MONGODB_MIN_POOL_SIZE, "0".to_owned()),
    ]);
    pairs
}

/// A binary of the workspace; all of them are built side by side.
fn program(name: &str) -> Result<Command> {
    let own = std::env::current_exe().context("find this program")?;
    Ok(Command::new(own.with_file_name(name)))
}

async fn is_ready(address: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET /ready HTTP/1.1\r\nHost: producer\r\nConnection: close\r\n\r\n")
            .await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200 "))
    };
    matches!(timeout(Duration::from_secs(2), ask).await, Ok(Ok(true)))
}
