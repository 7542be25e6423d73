//! How fast the producer takes uploads, and how long one takes. Producer, broker and load share the cores of one
//! machine, as Kafka's own tool and the broker do on the other side. Both sides take turns.
//!
//! - Uploads of 100 records over kept connections, beside Kafka's own ProducerPerformance. An upload is one message, and
//!   ProducerPerformance sends the very messages that the producer makes of these uploads, with `acks=all` and the
//!   producer's own settings for batches and compression. So both write the same bytes in messages of the same size,
//!   and a message counts as its 100 records on both sides. Ours also receives them over HTTP, checks them and answers
//!   for each record.
//! - Single records (events), beside the same server over a Kafka that acknowledges at once.
//! - Latency at 70 % of what was reached, with requests at their times (see [`benches::load`]).
//!
//! `cargo xtask bench ingest` builds what this program needs, with the data path optimised in full; it starts services of
//! its own.

use anyhow::{Context, Result};
use benches::{
    figures::{Bound, Figures, median},
    kafka,
    load::{self, Span, Target},
    own_services, tools, uploads,
    workload::Workload,
};
use chrono::Utc;
use clap::Parser;
use contract::Source;
use host::progress::Progress;
use producer::kafka::BATCHES;
use services::Running;
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// Records of an upload.
const RECORDS: u32 = 100;
/// Uploads that are made; they are sent again and again.
const BATCHES_MADE: u64 = 2_000;
const SINGLES_MADE: u64 = 20_000;
/// As many clients as keep the producer busy while each waits for Kafka.
const BATCH_CONNECTIONS: usize = 64;
const SINGLE_CONNECTIONS: usize = 256;
/// Share of the reached rate at which latency is measured.
const STEADY: f64 = 0.7;
/// The longest that one request in a hundred may take, milliseconds.
const LATENCY: f64 = 100.0;

/// Measures how fast the producer takes uploads.
#[derive(Debug, Parser)]
struct Arguments {
    /// For a shorter time, and each side only once
    #[arg(long)]
    quick: bool,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Extent {
    rounds: usize,
    span: Span,
    /// Messages of ProducerPerformance before it counts, and those that count.
    warm_up: u64,
    messages: u64,
}

const WHOLE: Extent = Extent {
    rounds: 5,
    span: Span {
        warm_up: Duration::from_secs(3),
        measured: Duration::from_secs(10),
    },
    warm_up: 20_000,
    messages: 80_000,
};
const QUICK: Extent = Extent {
    rounds: 1,
    span: Span {
        warm_up: Duration::from_secs(1),
        measured: Duration::from_secs(3),
    },
    warm_up: 5_000,
    messages: 15_000,
};

fn main() -> ExitCode {
    let extent = if Arguments::parse().quick { QUICK } else { WHOLE };
    own_services::bench("ingest", 1, async |running, progress| {
        let mut figures = Figures::new("ingest");
        for source in [Source::Sms, Source::Events] {
            kafka::create(&running.kafka, source.topic(), source.partitions()).await?;
        }
        let producer = Workload::producer(&running.kafka).await?;
        batches(running, progress, extent, &producer, &mut figures).await?;
        singles(progress, extent, &producer, &mut figures).await?;
        Ok(figures)
    })
}

async fn batches(
    running: &Running,
    progress: &Progress,
    extent: Extent,
    producer: &Workload,
    figures: &mut Figures,
) -> Result<()> {
    let target = target(Source::Sms, RECORDS, BATCHES_MADE, BATCH_CONNECTIONS)?;
    let payloads = payloads()?;
    let settings: Vec<_> = BATCHES.into_iter().chain([("acks", "all")]).collect();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..extent.rounds {
        let step = progress.step(format!("uploads of {RECORDS} records, round {}", round + 1));
        let our_rate = load::full(&target.at(producer), extent.span).await?;
        let topic = format!("theirs-{round}");
        kafka::create(&running.kafka, &topic, Source::Sms.partitions()).await?;
        let (warm_up, messages) = (extent.warm_up, extent.messages);
        let their_rate = tools::produce(&running.kafka, &topic, &payloads, warm_up, messages, &settings).await?;
        kafka::delete(&running.kafka, &topic).await?;
        step.done(&format!("{our_rate:.0} and {:.0} messages/s", their_rate.messages));
        ours.push(our_rate);
        theirs.push(their_rate.messages);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let records = f64::from(RECORDS);
    figures.compare_rates(
        format!("records/s in uploads of {RECORDS}"),
        ours * records,
        theirs * records,
        0.5,
        0.9,
    );
    let what = format!("uploads of {RECORDS} records");
    latency(progress, &what, &target.at(producer), ours, extent.span, figures).await
}

async fn singles(progress: &Progress, extent: Extent, producer: &Workload, figures: &mut Figures) -> Result<()> {
    let target = target(Source::Events, 1, SINGLES_MADE, SINGLE_CONNECTIONS)?;
    let without_kafka = Workload::producer_without_kafka().await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..extent.rounds {
        let step = progress.step(format!("single records, round {}", round + 1));
        let our_rate = load::full(&target.at(producer), extent.span).await?;
        let their_rate = load::full(&target.at(&without_kafka), extent.span).await?;
        step.done(&format!("{our_rate:.0} and {their_rate:.0} requests/s"));
        ours.push(our_rate);
        theirs.push(their_rate);
    }
    drop(without_kafka);
    let (ours, theirs) = (median(ours), median(theirs));
    figures.compare_rates("requests/s of single records", ours, theirs, 0.4, 0.6);
    latency(
        progress,
        "single records",
        &target.at(producer),
        ours,
        extent.span,
        figures,
    )
    .await
}

async fn latency(
    progress: &Progress,
    what: &str,
    target: &Target,
    reached: f64,
    span: Span,
    figures: &mut Figures,
) -> Result<()> {
    let rate = reached * STEADY;
    let step = progress.step(format!("{what}, {rate:.0} requests/s"));
    let latencies = load::steady(target, rate, span).await?;
    let milliseconds = |quantile| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
    let (half, most) = (milliseconds(0.5), milliseconds(0.99));
    step.done(&format!("p50 {half:.1} ms, p99 {most:.1} ms"));
    let what = format!("{what}, {:.0} % of the most", STEADY * 100.0);
    figures.add(format!("{what}, p50"), half, "ms", Bound::AtMost(LATENCY));
    figures.add(format!("{what}, p99"), most, "ms", Bound::AtMost(LATENCY));
    Ok(())
}

/// Requests, and by how many clients they are sent.
struct Requests {
    requests: std::sync::Arc<[Vec<u8>]>,
    connections: usize,
}

impl Requests {
    fn at(&self, server: &Workload) -> Target {
        Target {
            address: server.address,
            requests: self.requests.clone(),
            connections: self.connections,
            may_be_busy: false,
        }
    }
}

fn target(source: Source, records: u32, count: u64, connections: usize) -> Result<Requests> {
    let path = format!("/v1/sync/{source}");
    let bodies = uploads::bodies(source, records, count, Utc::now())?;
    Ok(Requests {
        requests: bodies.iter().map(|body| load::post(&path, body)).collect(),
        connections,
    })
}

/// The messages of the uploads, a line each.
fn payloads() -> Result<PathBuf> {
    let messages = uploads::messages(Source::Sms, RECORDS, BATCHES_MADE, Utc::now())?;
    let mut lines = Vec::new();
    for message in messages {
        lines.extend(message.value);
        lines.push(b'\n');
    }
    let path = host::state::dir().join("payloads");
    std::fs::write(&path, lines).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
