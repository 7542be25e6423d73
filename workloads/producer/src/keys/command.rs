//! `producer keys create | list | revoke`: run in a producer's pod, whose environment says where PostgreSQL is.

use super::{
    store::{Listed, NewKey, Revocation},
    token::Token,
};
use crate::{
    database::{Away, Database, DatabaseSettings},
    settings::{self, SettingsError},
};
use clap::{Args, Subcommand};
use contract::{
    env,
    http::{API_KEY_PREFIX, MAX_CLIENT},
};
use runtime::env::Env;
use serde::Serialize;
use std::{
    io::{self, Write},
    num::NonZeroU32,
};

/// What is to be done with the API keys.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a key and prints it, the only time that it is ever shown
    Create(Create),
    /// Lists all keys, never their secrets
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Revokes a key: within 30 seconds no producer takes it any more
    Revoke {
        /// The part between the two underscores, as in the list; a whole key is taken, too
        id: String,
    },
}

/// A key that is to be made.
#[derive(Debug, Args)]
pub struct Create {
    /// Whose it is
    #[arg(long, value_name = "NAME", value_parser = name)]
    client: String,
    /// Records that it may upload in a minute; no limit when left out
    #[arg(long, value_name = "RECORDS_PER_MINUTE", value_parser = quota)]
    quota: Option<NonZeroU32>,
    /// Tenant of its uploads; the producer's own when left out
    #[arg(long, value_name = "NAME", value_parser = name)]
    tenant: Option<String>,
}

/// Why a command came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The environment is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The environment names no PostgreSQL.
    #[error("API keys are kept in PostgreSQL; set {name} and the other variables of it", name = env::POSTGRES_HOST)]
    NoDatabase,
    /// PostgreSQL did not do it.
    #[error("{place}: {away}")]
    Away {
        /// Which one.
        place: String,
        /// Why.
        away: Away,
    },
    /// There is no such key.
    // Without what was given: it may be a whole key.
    #[error("no key has this id; `producer keys list` shows all ids")]
    NoSuchKey,
    /// Standard output is closed.
    #[error("standard output: {0}; a key that could not be shown is revoked")]
    Output(io::Error),
}

/// Why a command came to nothing, once there was a PostgreSQL.
#[derive(Debug)]
enum Failure {
    Away(Away),
    NoSuchKey,
    Output(io::Error),
}

impl From<Away> for Failure {
    fn from(away: Away) -> Failure {
        Failure::Away(away)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl Command {
    /// Does it. Keys and lists go to standard output, what is said about them to standard error.
    pub async fn run(self, environment: &Env) -> Result<(), CommandError> {
        let settings: DatabaseSettings = settings::database(environment)?.ok_or(CommandError::NoDatabase)?;
        let place = format!("{:?}, database {}", settings.server, settings.database);
        let away = |away| CommandError::Away { place, away };
        let database = match Database::prepared(settings).await {
            Ok(database) => database,
            Err(error) => return Err(away(error)),
        };
        let outcome = self.on(&database, &mut io::stdout(), &mut io::stderr()).await;
        database.close().await;
        outcome.map_err(|error| match error {
            Failure::Away(error) => away(error),
            Failure::NoSuchKey => CommandError::NoSuchKey,
            Failure::Output(error) => CommandError::Output(error),
        })
    }

    async fn on(self, database: &Database, out: &mut impl Write, said: &mut impl Write) -> Result<(), Failure> {
        match self {
            Command::Create(Create { client, quota, tenant }) => {
                let token = Token::random();
                let new = NewKey { client, tenant, quota };
                database.create_key(&token, new).await?;
                if let Err(error) = writeln!(out, "{}", token.reveal()).and_then(|()| out.flush()) {
                    // Nobody will ever have it.
                    database.revoke_key(token.id()).await?;
                    return Err(error.into());
                }
                writeln!(said, "Its id is {}. It is not shown again.", token.id())?;
            }
            Command::List { json: true } => {
                let keys: Vec<Row> = database.list_keys().await?.into_iter().map(Row::from).collect();
                serde_json::to_writer_pretty(&mut *out, &keys).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Command::List { json: false } => {
                writeln!(out, "ID\tCLIENT\tTENANT\tRECORDS PER MINUTE\tCREATED\tREVOKED")?;
                for row in database.list_keys().await?.into_iter().map(Row::from) {
                    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
                    writeln!(
                        out,
                        "{}\t{}\t{}\t{}\t{}\t{}",
                        row.id,
                        row.client,
                        or_none(row.tenant),
                        or_none(row.records_per_minute.map(|quota| quota.to_string())),
                        row.created,
                        or_none(row.revoked),
                    )?;
                }
            }
            Command::Revoke { id } => match database.revoke_key(id_in(&id)).await? {
                Revocation::Done => writeln!(said, "Revoked: within 30 seconds no producer takes it any more.")?,
                Revocation::Before(time) => writeln!(said, "It was revoked already, at {}.", time.to_rfc3339())?,
                Revocation::NoSuchKey => return Err(Failure::NoSuchKey),
            },
        }
        Ok(())
    }
}

/// A key in the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    client: String,
    tenant: Option<String>,
    records_per_minute: Option<NonZeroU32>,
    created: String,
    revoked: Option<String>,
}

impl From<Listed> for Row {
    fn from(listed: Listed) -> Row {
        Row {
            id: listed.key.id,
            client: listed.key.client,
            tenant: listed.key.tenant,
            records_per_minute: listed.key.quota,
            created: listed.created_at.to_rfc3339(),
            revoked: listed.revoked_at.map(|time| time.to_rfc3339()),
        }
    }
}

/// The id in what was given: the id, or a key, or the beginning of one.
fn id_in(given: &str) -> &str {
    let given = given.trim();
    let key = given
        .strip_prefix(API_KEY_PREFIX)
        .and_then(|rest| rest.strip_prefix('_'));
    key.and_then(|rest| rest.split('_').next()).unwrap_or(given)
}

fn name(text: &str) -> Result<String, String> {
    match (1..=MAX_CLIENT).contains(&text.len()) && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(format!("must be 1 to {MAX_CLIENT} bytes without control characters")),
    }
}

fn quota(text: &str) -> Result<NonZeroU32, String> {
    let quota: Option<i32> = text.parse().ok();
    quota
        .and_then(|quota| u32::try_from(quota).ok())
        .and_then(NonZeroU32::new)
        .ok_or_else(|| format!("must be from 1 to {}", i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[test]
    fn names_and_quotas_are_checked() {
        assert_eq!(quota("60"), NonZeroU32::new(60).ok_or_else(String::new));
        for wrong in ["0", "-1", "2147483648", "many"] {
            assert_eq!(quota(wrong).unwrap_err(), "must be from 1 to 2147483647");
        }
        assert_eq!(name("Aunt's app").unwrap(), "Aunt's app");
        for wrong in ["", "a\tb", &"x".repeat(MAX_CLIENT + 1)] {
            assert!(name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_id_is_found_in_whatever_of_a_key_is_given() {
        for given in [
            "0123456789abcdef",
            " 0123456789abcdef\n",
            "spk_0123456789abcdef",
            "spk_0123456789abcdef_a1b2",
        ] {
            assert_eq!(id_in(given), "0123456789abcdef", "{given:?}");
        }
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_named_at_once() {
        let environment = Env::from_pairs([
            (env::POSTGRES_HOST, "127.0.0.1"),
            (env::POSTGRES_PORT, "1"),
            (env::POSTGRES_USERNAME, "user"),
            (env::POSTGRES_PASSWORD, "hidden"),
            (env::POSTGRES_DATABASE, "api_insights_db"),
        ]);
        let listing = Command::List { json: false }.run(&environment);
        let error = timeout(Duration::from_secs(10), listing).await.unwrap().unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("postgres://127.0.0.1:1, database api_insights_db: "),
            "{text}"
        );
        assert!(text.contains("refused") && !text.contains("hidden"), "{text}");
    }
}
