//! Kafka's own measurements of its clients. Both tools print what they measured themselves, so that the start of the
//! JVM is no part of it.

use crate::kafka::{bootstrap_servers, java_settings};
use anyhow::{Context, Result, bail, ensure};
use services::Kafka;
use std::path::Path;
use tokio::process::Command;

/// What one side achieves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Messages a second.
    pub messages: f64,
    /// MiB of keys and values a second, unpacked.
    pub mebibytes: f64,
}

/// What `ConsumerPerformance` makes of a topic of so many messages: from the moment at which it has its partitions.
pub async fn consume(kafka: &Kafka, topic: &str, group: &str, messages: u64) -> Result<Rate> {
    let settings = java_settings(kafka, "consume", &[("isolation.level", "read_committed")])?;
    let mut tool = services::kafka::tool("org.apache.kafka.tools.ConsumerPerformance")?;
    tool.args(["--bootstrap-server", &bootstrap_servers(kafka)])
        .args(["--topic", topic, "--group", group])
        .args(["--num-records", &messages.to_string(), "--hide-header"])
        .arg("--command-config")
        .arg(settings);
    consumed(&output(tool).await?, messages)
}

/// start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms,
/// fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec
fn consumed(output: &str, messages: u64) -> Result<Rate> {
    let fields: Vec<&str> = output.lines().last().unwrap_or_default().split(", ").collect();
    let [_, _, _, _, read, _, _, _, mebibytes, rate] = fields[..] else {
        bail!("ConsumerPerformance printed something else:\n{output}");
    };
    let read: u64 = read.parse().context("read how many messages were consumed")?;
    ensure!(read == messages, "{read} of {messages} messages were consumed");
    Ok(Rate {
        messages: rate.parse().context("read a rate")?,
        mebibytes: mebibytes.parse().context("read a rate")?,
    })
}

/// What `ProducerPerformance` achieves with `messages` messages after as many `warm_up` ones, each a line of the
/// file `payloads`, with these settings of its client.
pub async fn produce(
    kafka: &Kafka,
    topic: &str,
    payloads: &Path,
    warm_up: u64,
    messages: u64,
    settings: &[(&str, &str)],
) -> Result<Rate> {
    let settings = java_settings(kafka, "produce", settings)?;
    let mut tool = services::kafka::tool("org.apache.kafka.tools.ProducerPerformance")?;
    tool.args(["--bootstrap-server", &bootstrap_servers(kafka)])
        .args(["--topic", topic, "--throughput", "-1", "--payload-file"])
        .arg(payloads)
        .args(["--num-records", &(warm_up + messages).to_string()])
        .args(["--warmup-records", &warm_up.to_string()])
        .arg("--command-config")
        .arg(settings);
    produced(&output(tool).await?)
}

/// … steady state records sent, 4201.680672 records/sec (98.10 MB/sec), 180.4 ms avg latency, …
fn produced(output: &str) -> Result<Rate> {
    let summary = output.lines().rfind(|line| line.contains("steady state"));
    let rate = |unit: &str| -> Option<f64> {
        let before = summary?.split(unit).next()?;
        let number = before.rsplit([' ', '(']).next()?;
        number.parse().ok()
    };
    match (rate(" records/sec"), rate(" MB/sec")) {
        (Some(messages), Some(mebibytes)) => Ok(Rate { messages, mebibytes }),
        _ => bail!("ProducerPerformance printed something else:\n{output}"),
    }
}

async fn output(tool: std::process::Command) -> Result<String> {
    let output = Command::from(tool)
        .kill_on_drop(true)
        .output()
        .await
        .context("run java")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "a tool of Kafka failed with {}:\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_the_tools_are_found() {
        let output = "2026-01-01 10:00:00:000, 2026-01-01 10:00:05:000, 100.5000, 20.1000, 5000, 1000.0000, 1000, 4000, \
                      25.1250, 1250.0000\n";
        let rate = Rate {
            messages: 1250.0,
            mebibytes: 25.125,
        };
        assert_eq!(consumed(output, 5_000).unwrap(), rate);
        assert!(consumed(output, 5_001).is_err());
        let output = "100 records sent, 20.0 records/sec (0.50 MB/sec), 10.00 ms avg latency\n\
                      90 steady state records sent, 4201.680672 records/sec (98.10 MB/sec), 180.4 ms avg latency\n";
        let rate = Rate {
            messages: 4_201.680_672,
            mebibytes: 98.1,
        };
        assert_eq!(produced(output).unwrap(), rate);
        assert!(produced("").is_err());
    }
}
