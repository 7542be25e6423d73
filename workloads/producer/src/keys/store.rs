//! The keys in PostgreSQL.

use super::{
    Key,
    token::{Hash, Token},
};
use crate::database::{Away, Database};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{
    Row,
    postgres::PgRow,
    types::chrono::{DateTime, Utc},
};
use std::num::NonZeroU32;

/// What the API needs of the keys, apart so that it can be tested with a PostgreSQL that is away.
pub trait KeyStore: Send + Sync {
    /// Those of `ids` that exist and are not revoked.
    fn find(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Vec<Key>, Away>>;
}

impl KeyStore for Database {
    fn find(&self, ids: Vec<String>) -> BoxFuture<'_, Result<Vec<Key>, Away>> {
        let query =
            "SELECT id, secret_hash, client, tenant, quota FROM api_key WHERE id = ANY($1) AND revoked_at IS NULL";
        self.ask(async move |pool| sqlx::query(query).bind(ids).try_map(key).fetch_all(&pool).await)
            .boxed()
    }
}

/// A key in the list of all.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The key.
    pub key: Key,
    /// Since when there is one.
    pub created_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Whose a new key is, and what it may do.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Whose it is.
    pub client: String,
    /// Tenant of its uploads; the producer's own where it has none.
    pub tenant: Option<String>,
    /// Records a minute; no limit where it has none.
    pub quota: Option<NonZeroU32>,
}

/// What came of revoking a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// It is revoked.
    Done,
    /// It was revoked before, then.
    Before(DateTime<Utc>),
    /// There is none with this id.
    NoSuchKey,
}

impl Database {
    /// Keeps the hash of `token` as a key.
    pub async fn create_key(&self, token: &Token, new: NewKey) -> Result<(), Away> {
        let query = "INSERT INTO api_key (id, secret_hash, client, tenant, quota) VALUES ($1, $2, $3, $4, $5)";
        let (id, hash) = (token.id().to_owned(), token.hash());
        // PostgreSQL's integer: the commands allow no larger quota.
        let quota = new.quota.map(|quota| i32::try_from(quota.get()).unwrap_or(i32::MAX));
        self.ask(async move |pool| {
            let query = sqlx::query(query).bind(id).bind(hash.as_bytes());
            let query = query.bind(new.client).bind(new.tenant).bind(quota);
            query.execute(&pool).await.map(drop)
        })
        .await
    }

    /// All keys, the oldest first.
    pub async fn list_keys(&self) -> Result<Vec<Listed>, Away> {
        let query = "SELECT id, secret_hash, client, tenant, quota, created_at, revoked_at FROM api_key \
                     ORDER BY created_at, id";
        let listed = |row: PgRow| {
            Ok(Listed {
                created_at: row.try_get("created_at")?,
                revoked_at: row.try_get("revoked_at")?,
                key: key(row)?,
            })
        };
        self.ask(async move |pool| sqlx::query(query).try_map(listed).fetch_all(&pool).await)
            .await
    }

    /// Revokes a key.
    pub async fn revoke_key(&self, id: &str) -> Result<Revocation, Away> {
        let revoke = "UPDATE api_key SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL";
        let look = "SELECT revoked_at FROM api_key WHERE id = $1 AND revoked_at IS NOT NULL";
        let id = id.to_owned();
        self.ask(async move |pool| {
            let done = sqlx::query(revoke).bind(&id).execute(&pool).await?;
            if done.rows_affected() == 1 {
                return Ok(Revocation::Done);
            }
            let before: Option<DateTime<Utc>> = sqlx::query_scalar(look).bind(&id).fetch_optional(&pool).await?;
            Ok(before.map_or(Revocation::NoSuchKey, Revocation::Before))
        })
        .await
    }
}

fn key(row: PgRow) -> Result<Key, sqlx::Error> {
    let hash: Vec<u8> = row.try_get("secret_hash")?;
    let quota: Option<i32> = row.try_get("quota")?;
    Ok(Key {
        id: row.try_get("id")?,
        hash: Hash::from_bytes(&hash).ok_or_else(|| sqlx::Error::Decode("a hash of another length".into()))?,
        client: row.try_get("client")?,
        tenant: row.try_get("tenant")?,
        quota: quota.and_then(|quota| NonZeroU32::new(quota.unsigned_abs())),
    })
}
