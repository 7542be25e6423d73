//! `consumer rewind`: reading once more what came after a moment. Into the same tables, by moving the ledger back, which
//! the running consumers notice by themselves: what is stored already is recognised. Or into a schema of its own, by
//! this process alone, to compare.
//!
//! - [`offsets`]: where the partitions were at that moment
//! - [`shadow`]: reading into another schema; [`progress`]: how far that is, and what it waits for; [`tail`]: whether
//!   anything is left to be read

pub mod offsets;
mod progress;
pub mod shadow;
mod tail;

use crate::{
    ConsumerError,
    config::{Config, NoSchemaName, enabled_topics, schema_name},
    moment,
    sink::{
        StoreError,
        postgres::{Postgres, ledger::LedgerKey, rewind::Rewound, schema},
    },
    topic::{Topics, UnknownTopic},
    topic_ids::{TopicIds, TopicIdsError},
    turn,
};
use chrono::{DateTime, Utc};
use clap::Args;
use contract::env;
use offsets::{Bounds, Offsets, OffsetsError};
use runtime::env::{Env, EnvError};
use std::{
    io::{self, Write},
    sync::Arc,
};
use tokio::task::{JoinError, spawn_blocking};
use tokio_util::sync::CancellationToken;

/// Reads once more what Kafka took after a moment; nothing is stored twice
#[derive(Debug, Args)]
pub struct Rewind {
    /// The moment: 2026-11-01T00:00:00Z
    #[arg(long, value_parser = moment::parse)]
    pub to: DateTime<Utc>,
    /// Only this topic; may be repeated. All topics of this consumer when left out
    #[arg(long = "topic")]
    pub topics: Vec<String>,
    /// Read into this schema instead, which is created where it is missing; the pipeline itself is left alone
    #[arg(long, value_name = "SCHEMA", value_parser = schema_name)]
    pub into: Option<String>,
    /// Only say what would be read
    #[arg(long)]
    pub dry_run: bool,
}

/// Why nothing, or not everything, is read once more.
#[derive(Debug, thiserror::Error)]
pub enum RewindError {
    /// The environment is not that of a consumer.
    #[error("{0}; run this in a consumer's pod")]
    Env(#[from] EnvError),
    /// A topic that this consumer does not read.
    #[error(transparent)]
    UnknownTopic(#[from] UnknownTopic),
    /// What is to be filled is no schema.
    #[error("--into {0}")]
    NoSchema(#[from] NoSchemaName),
    /// The schema is the pipeline's own.
    #[error("schema {0} is the pipeline's own: leave --into out to read into it once more")]
    OwnSchema(String),
    /// The schema is another pipeline's.
    #[error("schema {0} is that of a pipeline: name one that is new, or was filled by --into before")]
    OtherPipeline(String),
    /// Nothing can have come after it.
    #[error("--to {0} is in the future")]
    Future(DateTime<Utc>),
    /// There is nothing to be moved.
    #[error("group {0} has read nothing of these topics yet; are this pod's consumer and its schema the right ones?")]
    NothingRead(String),
    /// The ids of the topics are not known.
    #[error(transparent)]
    TopicIds(#[from] TopicIdsError),
    /// The offsets are not known.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// PostgreSQL.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reading into another schema.
    #[error(transparent)]
    Read(#[from] ConsumerError),
    /// The output cannot be written.
    #[error("write the output: {0}")]
    Output(#[from] io::Error),
    /// A task panicked.
    #[error("a task ended unexpectedly: {0}")]
    Task(#[from] JoinError),
}

/// Runs the command until it is done, or until `stop` is cancelled.
pub async fn run(command: &Rewind, environment: &Env, stop: CancellationToken) -> Result<(), RewindError> {
    let environment = match meant(command, environment)? {
        Some(topics) => environment.with([(env::ENABLED_TOPICS, topics)]),
        None => environment.clone(),
    };
    if command.to > Utc::now() {
        return Err(RewindError::Future(command.to));
    }
    let mut config = Config::from_env(&environment)?;
    if let Some(schema) = &command.into {
        shadow::prepare(&mut config, schema)?;
    }
    let topics = TopicIds::new(&environment, config.topics.clone())?.read().await?;
    let Offsets { bounds, beginnings } = {
        let (environment, topics, to) = (environment.clone(), topics.clone(), command.to);
        spawn_blocking(move || offsets::read(&environment, &topics, to)).await??
    };
    for beginning in beginnings {
        eprintln!("{beginning}");
    }
    match &command.into {
        None => back(command, &config, &topics, &bounds).await,
        Some(schema) if command.dry_run => {
            let messages: i64 = bounds.values().map(|(from, end)| end - from).sum();
            writeln!(io::stdout(), "{messages} messages would be read into schema {schema}")?;
            Ok(())
        }
        Some(_) => shadow::read(config, &topics, &bounds, command.to, stop).await,
    }
}

/// The topics that are meant, where not all are.
fn meant(command: &Rewind, environment: &Env) -> Result<Option<String>, RewindError> {
    let known = enabled_topics(environment)?;
    UnknownTopic::look_for(&command.topics, &known, |meant, known| meant == known)?;
    Ok((!command.topics.is_empty()).then(|| command.topics.join(",")))
}

/// Moves the ledger back, and says how far.
async fn back(command: &Rewind, config: &Config, topics: &Topics, bounds: &Bounds) -> Result<(), RewindError> {
    if !command.dry_run {
        schema::migrate(&config.postgres).await?;
    }
    let postgres = Postgres::new(&config.postgres, config.sources());
    let key = LedgerKey {
        cluster: topics.cluster.clone(),
        group: config.group.clone(),
        mongodb: Arc::default(),
    };
    let starts = bounds
        .iter()
        .map(|(partition, (from, _))| (partition.clone(), *from))
        .collect();
    if !postgres.has_read(&key, &bounds.keys().cloned().collect()).await? {
        return Err(RewindError::NothingRead(key.group));
    }
    let moved = match command.dry_run {
        true => postgres.would_rewind(&key, &starts).await?,
        false => turn::take(async || postgres.rewind(&key, &starts, command.to).await).await?,
    };
    postgres.close().await;
    let mut out = io::stdout().lock();
    for Rewound {
        topic,
        partition,
        from,
        to,
    } in &moved
    {
        writeln!(out, "{topic}/{partition}: {from} -> {to}")?;
    }
    let messages: i64 = moved.iter().map(|step| step.from - step.to).sum();
    if moved.is_empty() {
        writeln!(out, "nothing that came after {} was read yet", command.to)?;
        return Ok(());
    }
    let verb = if command.dry_run { "would be read" } else { "are read" };
    writeln!(
        out,
        "{messages} messages of {} partitions {verb} once more",
        moved.len()
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(topics: &[&str]) -> Rewind {
        Rewind {
            to: DateTime::UNIX_EPOCH,
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            into: None,
            dry_run: false,
        }
    }

    #[tokio::test]
    async fn only_a_schema_that_is_not_the_pipelines_own_is_filled() {
        let environment = Env::from_pairs([
            (env::KAFKA_BROKER_ENDPOINT, "127.0.0.1:1"),
            (env::ENABLED_TOPICS, "sms_batched"),
            (env::KAFKA_CONSUMER_GROUP, "group"),
            (env::POSTGRES_HOST, "127.0.0.1"),
            (env::POSTGRES_USERNAME, "user"),
            (env::POSTGRES_PASSWORD, "secret"),
            (env::POSTGRES_SYNC_DATABASE, "sync_db"),
            (env::MONGODB_HOST, "127.0.0.1"),
            (env::MONGODB_DATABASE, "sync"),
        ]);
        let no_name = "--into must be a schema name of 1 to 63 bytes that does not begin with pg_";
        let own = "schema public is the pipeline's own: leave --into out to read into it once more";
        for (schema, expected) in [("", no_name), (" ", no_name), ("pg_toast", no_name), ("public", own)] {
            let command = Rewind {
                into: Some(schema.to_owned()),
                ..command(&[])
            };
            let outcome = run(&command, &environment, CancellationToken::new()).await;
            assert_eq!(outcome.unwrap_err().to_string(), expected, "{schema:?}");
        }
    }

    #[tokio::test]
    async fn nothing_comes_from_the_future() {
        let environment = Env::from_pairs([(env::ENABLED_TOPICS, "a")]);
        let command = Rewind {
            to: Utc::now() + chrono::TimeDelta::hours(1),
            ..command(&[])
        };
        let outcome = run(&command, &environment, CancellationToken::new()).await;
        assert!(outcome.unwrap_err().to_string().ends_with("is in the future"));
    }

    #[test]
    fn only_topics_of_this_consumer_are_meant() {
        let environment = Env::from_pairs([(env::ENABLED_TOPICS, "a,b")]);
        assert_eq!(meant(&command(&[]), &environment).unwrap(), None);
        assert_eq!(meant(&command(&["b"]), &environment).unwrap(), Some("b".to_owned()));
        assert_eq!(
            meant(&command(&["c"]), &environment).unwrap_err().to_string(),
            "topic c is none of this consumer's; they are a, b"
        );
    }
}
