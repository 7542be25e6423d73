//! Deletes what is kept no longer, in pieces small enough to be in nobody's way.

use super::store::KeptAnswers;
use crate::database::Away;
use std::time::Duration;
use tokio::time::sleep;

/// Between two rounds. Every replica makes them: what one deletes, the others do not find.
const INTERVAL: Duration = Duration::from_secs(60);
/// Rows of one statement.
const PIECE: i64 = 500;
/// Between two statements.
const PAUSE: Duration = Duration::from_millis(100);

const DELETE: &str = "\
    DELETE FROM idempotent_request WHERE ctid = ANY (ARRAY( \
        SELECT ctid FROM idempotent_request WHERE expires_at <= now() \
        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED))";

impl KeptAnswers {
    /// Deletes round after round. Never returns.
    pub async fn keep_small(&self) {
        loop {
            sleep(INTERVAL).await;
            match self.delete_old().await {
                Ok(0) => {}
                Ok(rows) => tracing::debug!(rows, "old answers deleted"),
                Err(error) => tracing::debug!(%error, "old answers are not deleted yet"),
            }
        }
    }

    /// Deletes everything whose window is over, and says how many rows that were.
    pub async fn delete_old(&self) -> Result<u64, Away> {
        let mut all = 0;
        loop {
            let deleted = self
                .database
                .ask(async move |pool| {
                    let done = sqlx::query(DELETE).bind(PIECE).execute(&pool).await?;
                    Ok(done.rows_affected())
                })
                .await?;
            all += deleted;
            if deleted < PIECE.unsigned_abs() {
                return Ok(all);
            }
            sleep(PAUSE).await;
        }
    }
}
