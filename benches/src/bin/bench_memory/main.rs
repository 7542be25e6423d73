//! How much memory producer and consumer have under full load while what they write to is away: the consumer with both
//! stores killed and its topic growing, then the producer with Kafka killed. Each is to be flat.
//!
//! `cargo xtask bench memory` builds what this program needs; it starts services of its own.

use anyhow::{Context, Result};
use benches::{
    figures::{Bound, Figures, median},
    kafka,
    load::{self, Span, Target},
    own_services, uploads,
    workload::Workload,
};
use chrono::Utc;
use clap::Parser;
use contract::Source;
use host::progress::Progress;
use services::Running;
use std::{process::ExitCode, sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Records of an upload, and uploads that are made; they are sent again and again.
const RECORDS: u32 = 100;
const BODIES: u64 = 500;
/// As many clients as keep the producer busy.
const CONNECTIONS: usize = 64;
/// Before it counts: queues fill, and the allocator finds its size.
const WARM_UP: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Kafka keeps no more than this of a partition, bytes, so that the disk does not fill.
const RETENTION: &[(&str, &str)] = &[("retention.bytes", "67108864"), ("segment.bytes", "16777216")];
/// The most that either may have, MiB.
const MOST: f64 = 300.0;
/// The most that the last third of the time may be above the first, %.
const GROWTH: f64 = 10.0;
const MEBIBYTE: f64 = 1_048_576.0;

/// Measures memory under full load with stopped stores.
#[derive(Debug, Parser)]
struct Arguments {
    /// For half a minute each, in place of ten
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    let lasting = Duration::from_secs(if Arguments::parse().quick { 30 } else { 600 });
    own_services::bench("memory", 1, async |running, progress| {
        let mut figures = Figures::new("memory");
        for source in [Source::Sms, Source::Events] {
            kafka::create_with(&running.kafka, source.topic(), source.partitions(), RETENTION).await?;
        }
        let producer = Workload::producer(&running.kafka).await?;
        without_stores(running, progress, &producer, lasting, &mut figures).await?;
        without_kafka(progress, &producer, lasting, &mut figures).await?;
        Ok(figures)
    })
}

/// The consumer without both stores, and the producer that fills its topic meanwhile.
async fn without_stores(
    running: &Running,
    progress: &Progress,
    producer: &Workload,
    lasting: Duration,
    figures: &mut Figures,
) -> Result<()> {
    let consumer = Workload::consumer(running, Source::Sms, "memory", "memory").await?;
    stopped(services::postgres::kill9).await?;
    let what = "full load, both stores stopped";
    let memory = under_load(progress, what, producer, lasting, &[producer, &consumer]).await?;
    for (name, samples) in ["producer", "consumer"].into_iter().zip(memory) {
        add(figures, &format!("{name}, {what}"), &samples);
    }
    Ok(())
}

async fn without_kafka(
    progress: &Progress,
    producer: &Workload,
    lasting: Duration,
    figures: &mut Figures,
) -> Result<()> {
    stopped(|| services::kafka::kill9(0)).await?;
    let what = "full load, Kafka stopped";
    let memory = under_load(progress, what, producer, lasting, &[producer]).await?;
    for samples in memory {
        add(figures, &format!("producer, {what}"), &samples);
    }
    Ok(())
}

async fn stopped(stop: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(stop).await.context("the work panicked")?
}

/// The memory of some workloads, second by second, while clients send what they can.
async fn under_load(
    progress: &Progress,
    what: &str,
    producer: &Workload,
    lasting: Duration,
    watched: &[&Workload],
) -> Result<Vec<Vec<f64>>> {
    let bodies = uploads::bodies(Source::Sms, RECORDS, BODIES, Utc::now())?;
    let path = format!("/v1/sync/{}", Source::Sms);
    let requests: Vec<Vec<u8>> = bodies.iter().map(|body| load::post(&path, body)).collect();
    let target = Target {
        address: producer.address,
        requests: Arc::from(requests),
        connections: CONNECTIONS,
        may_be_busy: true,
    };
    let span = Span {
        warm_up: WARM_UP,
        measured: lasting,
    };
    let step = progress.step(what.to_owned());
    let mut samples = vec![Vec::new(); watched.len()];
    let counted = Instant::now() + WARM_UP;
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sending = load::full(&target, span);
    tokio::pin!(sending);
    let rate = loop {
        tokio::select! {
            rate = &mut sending => break rate?,
            _ = looks.tick() => {
                for (workload, samples) in watched.iter().zip(&mut samples) {
                    let resident = workload.resident()? as f64 / MEBIBYTE;
                    if Instant::now() >= counted {
                        samples.push(resident);
                    }
                }
            }
        }
    };
    step.done(&format!("{rate:.0} uploads of {RECORDS} records/s accepted"));
    Ok(samples)
}

fn add(figures: &mut Figures, what: &str, samples: &[f64]) {
    let third = samples.len() / 3;
    let (first, last) = (&samples[..third], &samples[samples.len() - third..]);
    let (first, last) = (median(first.to_vec()), median(last.to_vec()));
    let most = samples.iter().copied().fold(0.0, f64::max);
    figures.add(format!("{what}: most memory"), most, "MiB", Bound::AtMost(MOST));
    figures.add(
        format!("{what}: last third above the first"),
        (last / first - 1.0) * 100.0,
        "%",
        Bound::AtMost(GROWTH),
    );
}
