//! `consumer erase`: everything that was received of a user, out of both stores, and never in again. What Kafka still
//! holds, dead letters included, goes with its retention; nothing of it is stored when it is read once more.

use crate::{
    config::Config,
    moment,
    sink::{
        StoreError,
        mongodb::Mongodb,
        postgres::{Postgres, erased::Removed, schema},
    },
    turn,
};
use chrono::{DateTime, Utc};
use clap::Args;
use contract::{Source, env, message::DEFAULT_TENANT};
use runtime::env::{Env, EnvError};
use std::io::{self, BufRead, Write};

/// Takes everything that was received of users out of both stores, and stores nothing of it again
#[derive(Debug, Args)]
pub struct Erase {
    /// User; `-` reads one from each line of standard input
    #[arg(required = true)]
    pub users: Vec<String>,
    /// Tenant of the users; the pipeline's own when left out
    #[arg(long)]
    pub tenant: Option<String>,
    /// What was received until then: 2026-11-20T00:00:00Z; until now when left out
    #[arg(long, value_parser = moment::parse)]
    pub before: Option<DateTime<Utc>>,
}

/// Why not everything was erased. Erasing again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// The environment is not that of a consumer.
    #[error("{0}; run this in a consumer's pod")]
    Env(#[from] EnvError),
    /// A store does not answer, or not as expected.
    #[error("{0}; {erased} users were erased before, and erasing all of them again does no harm", erased = .1)]
    Store(StoreError, usize),
    /// Standard input or output.
    #[error("read users, write results: {0}")]
    Io(#[from] io::Error),
    /// Nobody is named.
    #[error("a line without a user: each line of standard input is one user")]
    NoUser,
}

/// Erases the users one after the other. What is written out names none of them.
pub async fn run(command: &Erase, environment: &Env) -> Result<(), EraseError> {
    let config = Config::from_env(environment)?;
    let users = users(&command.users, io::stdin().lock())?;
    let tenant = match &command.tenant {
        Some(tenant) => tenant.clone(),
        None => environment
            .optional(env::TENANT)
            .unwrap_or_else(|| DEFAULT_TENANT.to_owned()),
    };
    let before = command.before.unwrap_or_else(Utc::now);
    let failed = |erased| move |error| EraseError::Store(error, erased);
    schema::migrate(&config.postgres).await.map_err(failed(0))?;
    let postgres = Postgres::new(&config.postgres, Source::ALL.into());
    let mongodb = Mongodb::new(&config.mongodb, &Source::ALL.into())
        .await
        .map_err(failed(0))?;
    for (place, user) in users.iter().enumerate() {
        // The tombstone first: what is written from then on is taken out by whoever writes it.
        let removed = turn::take(async || postgres.erase(&tenant, user, before).await).await;
        let removed = removed.map_err(failed(place))?;
        let mut documents = 0;
        for source in Source::ALL.into_iter().filter(|source| mongodb.stores(*source)) {
            let erased = mongodb.erase(source, &tenant, user, before).await;
            documents += erased.map_err(failed(place))?;
        }
        writeln!(
            io::stdout(),
            "user {} of {}: {}",
            place + 1,
            users.len(),
            said(removed, documents)
        )?;
    }
    postgres.close().await;
    Ok(())
}

fn said(removed: Removed, documents: u64) -> String {
    let Removed { rows, in_copies } = removed;
    match in_copies {
        0 => format!("{rows} rows and {documents} documents removed"),
        _ => format!("{rows} rows and {documents} documents removed, and {in_copies} rows of copies"),
    }
}

fn users(named: &[String], input: impl BufRead) -> Result<Vec<String>, EraseError> {
    let mut users: Vec<String> = named.iter().filter(|user| *user != "-").cloned().collect();
    if users.len() < named.len() {
        for line in input.lines() {
            users.push(line?);
        }
    }
    match users.iter().any(String::is_empty) {
        true => Err(EraseError::NoUser),
        false => Ok(users),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_or_come_line_by_line() {
        let of = |named: &[&str], input: &str| {
            let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
            users(&named, input.as_bytes()).map_err(|error| error.to_string())
        };
        assert_eq!(of(&["a"], "b\n").unwrap(), ["a"]);
        assert_eq!(of(&["a", "-"], "b\nc d\n").unwrap(), ["a", "b", "c d"]);
        assert!(of(&["-"], "b\n\nc\n").unwrap_err().contains("a line without a user"));
        assert!(of(&[""], "").is_err());
    }
}
