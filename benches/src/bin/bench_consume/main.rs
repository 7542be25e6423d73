//! How fast the consumer reads and decodes, beside Kafka's own ConsumerPerformance, which reads and counts.
//!
//! Both read the same topics to their ends, in turns, from a broker on the same machine, with which they share its
//! cores. Ours is the consumer's own reader, which joins its group, decodes into rows, checks them and hands them on in
//! batches, as in a pipeline; only the writers are missing: the batches are counted and dropped. Time begins for both
//! when they have been given their partitions; the start of the JVM is no part of it. Each side reads each topic once
//! before it counts: until then the broker is busy with compiling how it answers.
//!
//! What is read are the generator's uploads, as the producer writes them: text messages of 20 records, and single events.
//!
//! `cargo xtask bench consume` builds what this program needs; it starts services of its own.

mod reader;

use anyhow::Result;
use benches::{
    figures::{Figures, median},
    fill, kafka, own_services,
    tools::{self, Rate},
    uploads,
};
use chrono::Utc;
use clap::Parser;
use contract::Source;
use host::progress::Progress;
use services::Running;
use std::process::ExitCode;

/// Uploads that are made; topics hold them again and again.
const DISTINCT: u64 = 5_000;

/// Measures how fast the consumer reads and decodes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Fewer messages, and each side only once
    #[arg(long)]
    quick: bool,
}

/// What is read.
struct Subject {
    name: &'static str,
    source: Source,
    /// Records of a message.
    records: u32,
    /// Messages of the topic.
    messages: u64,
}

const SUBJECTS: [Subject; 2] = [
    Subject {
        name: "uploads of 20 records",
        source: Source::Sms,
        records: 20,
        messages: 300_000,
    },
    Subject {
        name: "single records",
        source: Source::Events,
        records: 1,
        messages: 3_000_000,
    },
];

fn main() -> ExitCode {
    let quick = Arguments::parse().quick;
    own_services::bench("consume", 1, async |running, progress| {
        let mut figures = Figures::new("consume");
        for subject in SUBJECTS {
            measure(running, progress, &subject, quick, &mut figures).await?;
        }
        Ok(figures)
    })
}

async fn measure(
    running: &Running,
    progress: &Progress,
    subject: &Subject,
    quick: bool,
    figures: &mut Figures,
) -> Result<()> {
    let (rounds, messages) = match quick {
        true => (1, subject.messages / 10),
        false => (5, subject.messages),
    };
    let (name, topic) = (subject.name, subject.source.topic());
    kafka::create(&running.kafka, topic, subject.source.partitions()).await?;
    let step = progress.step(format!("{messages} messages, {name}"));
    let distinct = uploads::messages(subject.source, subject.records, DISTINCT, Utc::now())?;
    tokio::task::block_in_place(|| fill::topic(&running.kafka, topic, &distinct, messages))?;
    step.done("");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let is_warm_up = round == 0;
        let step = progress.step(match is_warm_up {
            true => format!("{name}, warm-up"),
            false => format!("{name}, round {round}"),
        });
        let group = format!("bench-{topic}-{round}");
        let records = messages * u64::from(subject.records);
        let our_rate = reader::read(running, subject.source, &format!("{group}-ours"), messages, records).await?;
        let their_rate = tools::consume(&running.kafka, topic, &format!("{group}-theirs"), messages).await?;
        step.done(&format!("{} and {}", shown(our_rate), shown(their_rate)));
        if !is_warm_up {
            ours.push(our_rate);
            theirs.push(their_rate);
        }
    }
    kafka::delete(&running.kafka, topic).await?;
    let middle = |rates: &[Rate], what: fn(&Rate) -> f64| median(rates.iter().map(what).collect());
    let mut compare = |unit: &str, what: fn(&Rate) -> f64| {
        figures.compare_rates(
            format!("{name}, {unit}"),
            middle(&ours, what),
            middle(&theirs, what),
            0.7,
            1.0,
        );
    };
    compare("messages/s", |rate| rate.messages);
    compare("MiB/s", |rate| rate.mebibytes);
    Ok(())
}

fn shown(rate: Rate) -> String {
    format!("{:.0} messages/s ({:.0} MiB/s)", rate.messages, rate.mebibytes)
}
