//! How much what cannot be stored slows down what can: the consumer's own process on a topic that was filled beforehand,
//! with one record in a hundred poisoned, beside the same without poison. Both sides take turns.
//!
//! Of the poison one half are records that lack a field. The other half are those of uploads by a user that nobody has;
//! or records that only PostgreSQL refuses, by a rule that its table was given, so that each batch must be taken apart.
//! Dead letters go to their topic, as in a pipeline.
//!
//! `cargo xtask bench poison` builds what this program needs; it starts services of its own.

use anyhow::{Context, Result, ensure};
use benches::{
    figures::{Figures, median},
    fill, kafka, own_services,
    uploads::{self, Message},
    workload::{Workload, consumer_environment},
};
use chrono::Utc;
use clap::Parser;
use consumer::{config::Config, sink::postgres::schema};
use contract::{Envelope, Source, header};
use host::progress::Progress;
use runtime::env::Env;
use serde_json::Value;
use services::Running;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
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
    poison: Poison,
}

/// What the half of the poison is that does not lack a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poison {
    /// Of a user that nobody has.
    Sender,
    /// Against a rule of the table.
    Rule,
}

const SUBJECTS: [Subject; 3] = [
    Subject {
        name: "uploads of 20 records, both stores",
        source: Source::Sms,
        records: 20,
        messages: 8_000,
        poison: Poison::Sender,
    },
    Subject {
        name: "single records, PostgreSQL",
        source: Source::Events,
        records: 1,
        messages: 200_000,
        poison: Poison::Sender,
    },
    Subject {
        name: "the same, half of it found by PostgreSQL",
        source: Source::Events,
        records: 1,
        messages: 200_000,
        poison: Poison::Rule,
    },
];

/// The rule, and the name of the events that break it.
const RULE: &str = "ALTER TABLE events ADD CONSTRAINT poison CHECK (name <> 'POISON')";
const POISON: &str = "POISON";

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
    let poisoned = poisoned(subject, &clean)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let step = progress.step(format!("{}, round {}", subject.name, round + 1));
        let name = |what| format!("{}_{:?}_{what}_{round}", subject.source, subject.poison).to_lowercase();
        let with = drain(running, subject, &poisoned, messages, &name("poisoned")).await?;
        let without = drain(running, subject, &clean, messages, &name("clean")).await?;
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

/// The same messages with one record in [`ONE_IN`] poisoned, half of them by lacking a field.
fn poisoned(subject: &Subject, clean: &[Message]) -> Result<Vec<Message>> {
    let (mut records, mut others, mut of_field) = (0, 0, 0);
    let poison = |message: &Message| {
        let mut envelope = Envelope::decode(&message.value)?;
        let count = envelope.records.len();
        records += count;
        let most = records / (2 * ONE_IN);
        let first = envelope.records.first_mut().context("an upload without records")?;
        match subject.poison {
            Poison::Sender if others + count <= most => {
                others += count;
                envelope.user = "\0".to_owned();
            }
            Poison::Rule if others < most => {
                others += 1;
                first["name"] = POISON.into();
            }
            _ if of_field < most => {
                of_field += 1;
                first["timestamp"] = Value::Null;
            }
            _ => {}
        }
        Ok(Message {
            key: message.key.clone(),
            value: envelope.encode(subject.source),
        })
    };
    clean.iter().map(poison).collect()
}

/// Messages a second that the consumer takes from a topic of so many, from the first that is stored to the last.
async fn drain(running: &Running, subject: &Subject, distinct: &[Message], messages: u64, name: &str) -> Result<f64> {
    let source = subject.source;
    let topic = source.topic();
    let letters = header::dead_letter_topic(topic);
    kafka::create(&running.kafka, topic, source.partitions()).await?;
    kafka::create(&running.kafka, &letters, 1).await?;
    tokio::task::block_in_place(|| fill::topic(&running.kafka, topic, distinct, messages))?;
    if subject.poison == Poison::Rule {
        let environment = Env::from_pairs(consumer_environment(running, source, name, name));
        schema::migrate(&Config::from_env(&environment)?.postgres).await?;
        connect(running, name).await?.execute(RULE).await?;
    }
    let consumer = Workload::consumer(running, source, name, name).await?;
    let mut connection = connect(running, name).await?;
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
