//! How much what cannot be stored slows down what can: the consumer's own process on a topic that was filled beforehand,
//! with one record in a hundred poisoned, beside the same without poison. Both sides take turns.
//!
//! Of the poison one half is found when it is read (a record without a field), the other only by PostgreSQL (a user with
//! U+0000), so that the batch must be taken apart. Dead letters go to their topic, as in a pipeline.
//!
//! `cargo xtask bench poison` builds what this program needs; it starts services of its own.

use anyhow::{Context, Result, ensure};
use benches::{
    figures::{Figures, median},
    fill, kafka, own_services,
    uploads::{self, Message},
    workload::Workload,
};
use chrono::Utc;
use clap::Parser;
use contract::{Envelope, Source, header};
use host::progress::Progress;
use services::Running;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// One record in so many is poisoned.
const ONE_IN: usize = 100;
/// Uploads that are made; topics hold them again and again.
const DISTINCT: u64 = 4_000;
/// Longest wait for the consumer to be done.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at the ledger.
const LOOK: Duration = Duration::from_millis(20);

/// Measures what poison costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Fewer records, and each side only once
    #[arg(long)]
    quick: bool,
}

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
        name: "uploads of 20 records, both stores",
        source: Source::Sms,
        records: 20,
        messages: 8_000,
    },
    Subject {
        name: "single records, PostgreSQL",
        source: Source::Events,
        records: 1,
        messages: 200_000,
    },
];

fn main() -> ExitCode {
    let quick = Arguments::parse().quick;
    own_services::bench("poison", 1, async |running, progress| {
        let mut figures = Figures::new("poison");
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
        true => (1, subject.messages / 4),
        false => (3, subject.messages),
    };
    let clean = uploads::messages(subject.source, subject.records, DISTINCT, Utc::now())?;
    let poisoned = poisoned(subject.source, &clean)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let step = progress.step(format!("{}, round {}", subject.name, round + 1));
        let with = drain(
            running,
            subject.source,
            &poisoned,
            messages,
            &format!("poisoned{round}"),
        )
        .await?;
        let without = drain(running, subject.source, &clean, messages, &format!("clean{round}")).await?;
        let records = f64::from(subject.records);
        let (with, without) = (with * records, without * records);
        step.done(&format!("{with:.0} and {without:.0} records/s"));
        ours.push(with);
        theirs.push(without);
    }
    let what = format!("{}, 1 % poison beside none, records/s", subject.name);
    figures.compare_rates(what, median(ours), median(theirs), 0.8, 0.95);
    Ok(())
}

/// The same messages with one record in [`ONE_IN`] poisoned, as many by a user that no text column takes as by lacking a
/// field.
fn poisoned(source: Source, clean: &[Message]) -> Result<Vec<Message>> {
    let (mut records, mut of_user, mut of_field) = (0, 0, 0);
    let poison = |message: &Message| {
        let mut envelope = Envelope::decode(&message.value)?;
        let count = envelope.records.len();
        records += count;
        let most = records / (2 * ONE_IN);
        if of_user + count <= most {
            of_user += count;
            envelope.user = "\0".to_owned();
        } else if of_field < most {
            of_field += 1;
            let record = envelope.records.first_mut().and_then(|record| record.as_object_mut());
            record.context("an upload without records")?.remove("timestamp");
        }
        Ok(Message {
            key: message.key.clone(),
            value: envelope.encode(source),
        })
    };
    clean.iter().map(poison).collect()
}

/// Messages a second that the consumer takes from a topic of so many, from the first that is stored to the last.
async fn drain(running: &Running, source: Source, distinct: &[Message], messages: u64, name: &str) -> Result<f64> {
    let topic = source.topic();
    let letters = header::dead_letter_topic(topic);
    kafka::create(&running.kafka, topic, source.partitions()).await?;
    kafka::create(&running.kafka, &letters, 1).await?;
    tokio::task::block_in_place(|| fill::topic(&running.kafka, topic, distinct, messages))?;
    let name = format!("{source}_{name}");
    let consumer = Workload::consumer(running, source, &name, &name).await?;
    let mut connection = connect(running, &name).await?;
    let began = Instant::now();
    let mut first: Option<(Instant, u64)> = None;
    let rate = loop {
        ensure!(
            began.elapsed() < PATIENCE,
            "the consumer is not done after {} s",
            PATIENCE.as_secs()
        );
        let stored: i64 = sqlx::query_scalar("SELECT coalesce(sum(next_offset), 0)::bigint FROM ledger")
            .fetch_one(&mut connection)
            .await?;
        let (now, stored) = (Instant::now(), stored.unsigned_abs());
        match first {
            Some((at, before)) if stored == messages => break (stored - before) as f64 / (now - at).as_secs_f64(),
            None if stored > 0 => first = Some((now, stored)),
            _ => {}
        }
        sleep(LOOK).await;
    };
    drop(consumer);
    kafka::delete(&running.kafka, topic).await?;
    kafka::delete(&running.kafka, &letters).await?;
    Ok(rate)
}

async fn connect(running: &Running, schema: &str) -> Result<PgConnection> {
    let postgres = &running.postgres;
    let options = PgConnectOptions::new_without_pgpass()
        .host(&postgres.address.ip().to_string())
        .port(postgres.address.port())
        .username(&postgres.username)
        .password(&postgres.password)
        .database("sync_db")
        .options([("search_path", schema)]);
    Ok(PgConnection::connect_with(&options).await?)
}
