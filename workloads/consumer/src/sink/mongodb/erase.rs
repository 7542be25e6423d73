//! Removing what was received of a user.

use super::{Mongodb, store_error};
use crate::{
    batch::Row,
    sink::{Fault, MONGODB, StoreError},
};
use ::mongodb::bson::{DateTime as Moment, Document, doc};
use chrono::{DateTime, Utc};
use contract::Source;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;

/// Longest removal of all of a user's documents of one source: there may be no index to find them by.
const ERASE_TIMEOUT: Duration = Duration::from_secs(600);

impl Mongodb {
    /// Removes the documents of these rows, unless a newer version has replaced them.
    pub async fn remove(&self, source: Source, rows: &[&Row<'_>]) -> Result<(), StoreError> {
        // Rows of one message were received at one moment.
        let mut by_time: BTreeMap<DateTime<Utc>, Vec<String>> = BTreeMap::new();
        for row in rows {
            let ids = by_time.entry(row.sender.received_at).or_default();
            ids.push(row.id.to_string());
        }
        for (time, ids) in by_time {
            let filter = doc! {"_id": {"$in": ids}, "receivedAt": {"$lte": moment(time)}};
            let collection = self.collection::<Document>(source);
            self.bounded(async { collection.delete_many(filter).await })
                .await
                .map_err(store_error)?;
        }
        Ok(())
    }

    /// Removes what was received of a user by `at`; answers how many documents that were.
    pub async fn erase(&self, source: Source, tenant: &str, user: &str, at: DateTime<Utc>) -> Result<u64, StoreError> {
        let filter = doc! {"tenant": tenant, "user": user, "receivedAt": {"$lte": moment(at)}};
        let collection = self.collection::<Document>(source);
        match timeout(ERASE_TIMEOUT, async { collection.delete_many(filter).await }).await {
            Ok(outcome) => Ok(outcome.map_err(store_error)?.deleted_count),
            Err(_) => Err(StoreError {
                store: MONGODB,
                fault: Fault::Passing,
                reason: format!("no answer within {} s", ERASE_TIMEOUT.as_secs()),
            }),
        }
    }
}

fn moment(time: DateTime<Utc>) -> Moment {
    Moment::from_millis(time.timestamp_millis())
}
