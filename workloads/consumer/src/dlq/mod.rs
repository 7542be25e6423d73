//! The commands on dead letters: `consumer dlq list | show | replay`, run in a consumer's pod, whose environment says
//! where Kafka is and which topics there are.
//!
//! - [`letter`]: a dead letter, read back from its headers
//! - [`filter`]: which of them are meant
//! - [`read`](mod@read): all that lie in the topics, from a moment's beginning to its end
//! - [`replay`](mod@replay): their messages once more, to where they came from

pub mod filter;
pub mod letter;
pub mod read;
pub mod replay;

use self::{filter::Filter, letter::Letter};
use crate::{config::enabled_topics, topic::UnknownTopic};
use clap::{Args, Subcommand};
use contract::header;
use runtime::env::{Env, EnvError};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// Dead letters: records that could not be stored
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows them, a line each, without their content
    List {
        /// Which of them
        #[command(flatten)]
        filter: Filter,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Shows one with its message, which may hold personal data
    Show(Place),
    /// Sends their messages to the topics they came from once more; what is stored already stays as it is
    Replay {
        /// Of which of them
        #[command(flatten)]
        filter: Filter,
        /// Only say what would be sent
        #[arg(long)]
        dry_run: bool,
    },
}

/// Where a dead letter lies, as `list` shows it.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Dead-letter topic
    pub topic: String,
    /// Partition
    pub partition: i32,
    /// Offset
    pub offset: i64,
}

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum DlqError {
    /// The environment is not that of a consumer.
    #[error("{0}; run this in a consumer's pod")]
    Env(#[from] EnvError),
    /// A topic that this consumer does not read.
    #[error(transparent)]
    UnknownTopic(#[from] UnknownTopic),
    /// Kafka does not answer, or not as expected.
    #[error(transparent)]
    Read(#[from] read::ReadError),
    /// A message was not sent.
    #[error(transparent)]
    Replay(#[from] replay::ReplayError),
    /// A replay ended before all letters were read.
    #[error("{reason}; {acknowledged} messages were sent before that, and sending them again does no harm")]
    Interrupted {
        /// What ended it.
        reason: Box<DlqError>,
        /// Messages that Kafka has.
        acknowledged: u64,
    },
    /// There is no such letter.
    #[error("there is no dead letter at {topic}/{partition}/{offset}; `consumer dlq list` shows those that there are")]
    NotFound {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
    },
    /// The output cannot be written.
    #[error("write the output: {0}")]
    Output(#[from] io::Error),
}

/// Runs a command. Blocks until it is done.
pub fn run(command: &Command, environment: &Env) -> Result<(), DlqError> {
    let topics = enabled_topics(environment)?;
    if let Command::List { filter, .. } | Command::Replay { filter, .. } = command {
        filter.ensure_known(&topics)?;
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let outcome = match command {
        Command::List { filter, json } => list(environment, &topics, filter, *json, &mut out),
        Command::Show(place) => show(environment, place, &mut out),
        Command::Replay { filter, dry_run } => replay::run(environment, &topics, filter, *dry_run, &mut out),
    };
    match outcome.and_then(|()| Ok(out.flush()?)) {
        // Whoever reads it has seen enough.
        Err(DlqError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

fn list(
    environment: &Env,
    topics: &[String],
    filter: &Filter,
    json: bool,
    out: &mut impl Write,
) -> Result<(), DlqError> {
    let mut classes: BTreeMap<String, u64> = BTreeMap::new();
    if !json {
        writeln!(out, "{}", Letter::columns())?;
    }
    let strange = read::all(environment, &dead_letter_topics(topics, filter), |letter| {
        if !filter.admits(&letter) {
            return Ok::<_, DlqError>(true);
        }
        *classes.entry(letter.class.clone()).or_default() += 1;
        match json {
            true => writeln!(out, "{}", letter.json())?,
            false => writeln!(out, "{}", letter.line())?,
        }
        Ok(filter.limit.is_none_or(|limit| classes.values().sum::<u64>() < limit))
    })?;
    out.flush()?;
    let counts: Vec<String> = classes
        .iter()
        .map(|(class, count)| format!("{count} of class {class}"))
        .collect();
    match counts.is_empty() {
        true => eprintln!("no dead letters"),
        false => eprintln!("{}", counts.join(", ")),
    }
    report_strange(strange);
    Ok(())
}

fn show(environment: &Env, place: &Place, out: &mut impl Write) -> Result<(), DlqError> {
    let Some(letter) = read::one(environment, place)? else {
        return Err(DlqError::NotFound {
            topic: place.topic.clone(),
            partition: place.partition,
            offset: place.offset,
        });
    };
    writeln!(out, "{}", letter.whole())?;
    Ok(())
}

/// Messages that somebody else put there.
fn report_strange(count: u64) {
    if count > 0 {
        eprintln!("{count} messages in these topics are no dead letters of ours, and were left out");
    }
}

/// The dead-letter topics of those topics that are meant.
fn dead_letter_topics(topics: &[String], filter: &Filter) -> Vec<String> {
    let meant = topics.iter().filter(|topic| filter.means(topic));
    meant.map(|topic| header::dead_letter_topic(topic)).collect()
}
