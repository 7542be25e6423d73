//! Users whose records were erased. A write holds a lock that an erasure waits for, so that nothing of the user is
//! stored behind its back.

use super::{BRIEF_WAIT, Postgres, bounded, copied, fault, table};
use crate::sink::StoreError;
use chrono::{DateTime, Utc};
use contract::{Sender, Source};
use sha2::{Digest, Sha256};
use sqlx::{Executor, PgConnection};
use std::{collections::HashMap, iter, time::Duration};

/// Longest erasure; the user's rows are found by an index.
const ERASE_TIMEOUT: Duration = Duration::from_secs(120);
/// The same for the server, and waits as ever once nobody writes.
const NO_WRITES: &str = "SET LOCAL statement_timeout = '100s'; SET LOCAL lock_timeout = '10s'";

/// Longest look for those who were erased.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Setting of each session: the pipeline's own schema, also where the session writes into a copy of it.
pub(super) const SCHEMA_SETTING: &str = "syncpipeline.schema";
/// Begins a transaction that an erasure waits for.
pub(super) const BEGIN_WRITE: &str = "BEGIN; SELECT pg_advisory_xact_lock_shared(\
    hashtext('syncpipeline erasure'), hashtext(current_setting('syncpipeline.schema')))";
/// Waits for all writes, and holds up those that begin.
const LOCK: &str = "SELECT pg_advisory_xact_lock(\
    hashtext('syncpipeline erasure'), hashtext(current_setting('syncpipeline.schema')))";

/// When users were erased, as far as they are among those of a batch.
#[derive(Debug, Default)]
pub struct Erased<'a> {
    at: HashMap<(&'a str, &'a str), DateTime<Utc>>,
}

impl Erased<'_> {
    /// Whether none of them was.
    pub fn is_empty(&self) -> bool {
        self.at.is_empty()
    }

    /// Whether this was received before its user was erased.
    pub fn covers(&self, sender: &Sender<'_>) -> bool {
        let at = self.at.get(&(&*sender.tenant, &*sender.user));
        at.is_some_and(|at| sender.received_at <= *at)
    }
}

/// How many rows were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Of the pipeline's own tables.
    pub rows: u64,
    /// Of all copies together.
    pub in_copies: u64,
}

/// What stands for a user in the table.
pub(super) fn hash(tenant: &str, user: &str) -> Vec<u8> {
    let mut hash = Sha256::new();
    // The length keeps "a" and "bc" apart from "ab" and "c".
    hash.update((tenant.len() as u64).to_be_bytes());
    hash.update(tenant);
    hash.update(user);
    hash.finalize().to_vec()
}

/// Which of these were erased. Within a write it is asked after its lock.
pub(super) async fn among<'a>(
    connection: &mut PgConnection,
    senders: impl Iterator<Item = &'a Sender<'a>>,
) -> Result<Erased<'a>, sqlx::Error> {
    let mut users: HashMap<Vec<u8>, (&str, &str)> = HashMap::new();
    for sender in senders {
        let user = (&*sender.tenant, &*sender.user);
        users.insert(hash(user.0, user.1), user);
    }
    let hashes: Vec<&[u8]> = users.keys().map(Vec::as_slice).collect();
    let found: Vec<(Vec<u8>, DateTime<Utc>)> =
        sqlx::query_as("SELECT user_hash, erased_at FROM erased_users WHERE user_hash = ANY($1)")
            .bind(hashes)
            .fetch_all(connection)
            .await?;
    let named = found
        .into_iter()
        .filter_map(|(hash, at)| Some((*users.get(&hash)?, at)));
    Ok(Erased { at: named.collect() })
}

impl Postgres {
    /// Which of these were erased until now.
    pub async fn erased_among<'a>(
        &self,
        senders: impl Iterator<Item = &'a Sender<'a>>,
    ) -> Result<Erased<'a>, StoreError> {
        bounded(LOOK_TIMEOUT, async {
            let mut connection = self.pool.acquire().await?;
            among(&mut connection, senders).await
        })
        .await
    }

    /// Erases what was received of a user before `at`, of the copies too, and lets nothing of it be stored again. `None`
    /// where writes are under way, which are waited for only for a moment: to be tried again.
    pub async fn erase(&self, tenant: &str, user: &str, at: DateTime<Utc>) -> Result<Option<Removed>, StoreError> {
        let work = async {
            let mut transaction = self.pool.begin().await?;
            transaction.execute(BRIEF_WAIT).await?;
            match transaction.execute(LOCK).await {
                Err(error) if fault::is_lock_timeout(&error) => return Ok(None),
                outcome => outcome?,
            };
            transaction.execute(NO_WRITES).await?;
            sqlx::query(
                "INSERT INTO erased_users (user_hash, erased_at) VALUES ($1, $2) ON CONFLICT (user_hash) \
                 DO UPDATE SET erased_at = greatest(erased_users.erased_at, excluded.erased_at)",
            )
            .bind(hash(tenant, user))
            .bind(at)
            .execute(&mut *transaction)
            .await?;
            let mut removed = Removed::default();
            for schema in iter::once(None).chain(copied::all(&mut transaction).await?.into_iter().map(Some)) {
                for source in Source::ALL {
                    let rows = sqlx::query(&table::erase(source, schema.as_deref()))
                        .bind(user)
                        .bind(tenant)
                        .bind(at)
                        .execute(&mut *transaction)
                        .await?
                        .rows_affected();
                    match &schema {
                        None => removed.rows += rows,
                        Some(_) => removed.in_copies += rows,
                    }
                }
            }
            transaction.commit().await?;
            Ok(Some(removed))
        };
        bounded(ERASE_TIMEOUT, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_tenant_and_user() {
        assert_eq!(hash("a", "bc"), hash("a", "bc"));
        assert_ne!(hash("a", "bc"), hash("ab", "c"));
        assert_eq!(hash("", "").len(), 32);
    }
}
