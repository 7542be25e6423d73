//! The count of each key's minute, in PostgreSQL.

use crate::database::{Away, Database};
use futures::{FutureExt, future::BoxFuture};
use sqlx::Row;
use std::time::Duration;

/// A wish for records of the present minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Id of the key.
    pub key: String,
    /// Least; fewer are of no use.
    pub needed: u32,
    /// As many where there are so many.
    pub chunk: u32,
    /// The key's records a minute.
    pub quota: u32,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved {
    /// Records for the asker alone; 0 where there are fewer left than needed.
    pub granted: u32,
    /// Records that are left for others.
    pub remaining: u32,
    /// Until the minute ends.
    pub lasts: Duration,
}

/// Where the replicas agree on what is used, apart so that it can be tested.
pub trait QuotaStore: Send + Sync {
    /// Reserves records of the present minute.
    fn reserve(&self, wanted: Reservation) -> BoxFuture<'_, Result<Reserved, Away>>;
}

impl QuotaStore for Database {
    fn reserve(&self, wanted: Reservation) -> BoxFuture<'_, Result<Reserved, Away>> {
        let integer = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let (needed, chunk, quota) = (integer(wanted.needed), integer(wanted.chunk), integer(wanted.quota));
        self.ask(async move |pool| {
            let query = sqlx::query("SELECT granted, remaining, milliseconds FROM reserve_quota($1, $2, $3, $4)");
            let row = query
                .bind(wanted.key)
                .bind(needed)
                .bind(chunk)
                .bind(quota)
                .fetch_one(&pool)
                .await?;
            let number = |column| row.try_get::<i32, _>(column).map(|number| number.max(0).unsigned_abs());
            Ok(Reserved {
                granted: number("granted")?,
                remaining: number("remaining")?,
                lasts: Duration::from_millis(number("milliseconds")?.into()),
            })
        })
        .boxed()
    }
}
