//! What is done for the database in the background.

use super::{Away, Database, DatabaseSettings, schema};
use rand::RngExt;
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::sleep;

/// First and longest pause between two attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

impl Database {
    /// For a command, which cannot wait for PostgreSQL to come back: makes the tables first.
    pub async fn prepared(settings: DatabaseSettings) -> Result<Database, Away> {
        schema::migrate(&settings).await?;
        let database = Database::new(settings);
        database.state.up.store(true, Ordering::Release);
        Ok(database)
    }

    /// Makes the tables, and asks whether PostgreSQL is back whenever it was lost. Never returns.
    pub async fn look_after(&self) {
        let mut pause = BACKOFF.0;
        while let Err(error) = schema::migrate(&self.settings).await {
            tracing::warn!(
                %error,
                database = ?self.settings,
                "the producer's tables are not made yet; uploads that need them are answered 503"
            );
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
        self.state.up.store(true, Ordering::Release);
        tracing::info!(database = ?self.settings, "the producer's tables are ready");
        loop {
            self.state.trouble.notified().await;
            self.until_back().await;
        }
    }

    async fn until_back(&self) {
        let mut pause = BACKOFF.0;
        loop {
            let pool = self.pool.clone();
            let answered = self
                .bounded(async move { sqlx::query("SELECT 1").execute(&pool).await })
                .await;
            if answered.is_ok() {
                if !self.state.up.swap(true, Ordering::AcqRel) {
                    tracing::info!("PostgreSQL is back");
                }
                return;
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
}

/// Between half of the pause and all of it, so that many replicas do not return at once.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}
