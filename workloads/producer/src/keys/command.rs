//! `producer keys create | list | revoke`: run in a producer's pod, whose environment says where PostgreSQL is.

use super::{store::NewKey, token::Token};
use crate::{
    database::{Away, Database, DatabaseSettings},
    settings::{self, SettingsError},
};
use clap::{Args, Subcommand};
use contract::{env, http::MAX_CLIENT};
use runtime::env::Env;
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
    List,
    /// Revokes a key: within 30 seconds no producer takes it any more
    Revoke {
        /// The part between the two underscores, as in the list
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
    #[error(transparent)]
    Away(#[from] Away),
    /// There is no such key.
    // Without what was given: it may be a whole key.
    #[error("no key has this id, or it is revoked already; `producer keys list` shows all ids")]
    NoSuchKey,
    /// Standard output is closed.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl Command {
    /// Does it.
    pub async fn run(self, environment: &Env) -> Result<(), CommandError> {
        let settings: DatabaseSettings = settings::database(environment)?.ok_or(CommandError::NoDatabase)?;
        let database = Database::prepared(settings).await?;
        let outcome = self.on(&database, &mut io::stdout()).await;
        database.close().await;
        outcome
    }

    async fn on(self, database: &Database, out: &mut impl Write) -> Result<(), CommandError> {
        match self {
            Command::Create(Create { client, quota, tenant }) => {
                let token = Token::random();
                let new = NewKey { client, tenant, quota };
                database.create_key(&token, new).await?;
                writeln!(out, "{}", token.reveal())?;
            }
            Command::List => {
                writeln!(out, "ID\tCLIENT\tTENANT\tRECORDS PER MINUTE\tCREATED\tREVOKED")?;
                for listed in database.list_keys().await? {
                    let key = listed.key;
                    let revoked = listed.revoked_at.map(|time| time.to_rfc3339());
                    writeln!(
                        out,
                        "{}\t{}\t{}\t{}\t{}\t{}",
                        key.id,
                        key.client,
                        key.tenant.as_deref().unwrap_or("-"),
                        key.quota.map_or("-".to_owned(), |quota| quota.to_string()),
                        listed.created_at.to_rfc3339(),
                        revoked.as_deref().unwrap_or("-"),
                    )?;
                }
            }
            Command::Revoke { id } => {
                if !database.revoke_key(&id).await? {
                    return Err(CommandError::NoSuchKey);
                }
            }
        }
        Ok(())
    }
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
}
