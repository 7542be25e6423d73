//! What is done for the database in the background.

use super::{ANSWER_TIMEOUT, Away, Database, DatabaseSettings, late, schema};
use rand::RngExt;
use sqlx::{Connection, PgConnection};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::{sleep, timeout};

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
            self.until_it_answers().await;
        }
    }

    /// Asks over a connection of its own: that all of the pool are in use says nothing about the server.
    async fn until_it_answers(&self) {
        let mut pause = BACKOFF.0;
        while let Err(away) = self.answers().await {
            self.lost(&away);
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
        if !self.state.up.swap(true, Ordering::AcqRel) {
            tracing::info!("PostgreSQL is back");
        }
    }

    async fn answers(&self) -> Result<(), Away> {
        let options = self.settings.options();
        let asked = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            sqlx::query("SELECT 1").execute(&mut connection).await?;
            connection.close().await
        };
        match timeout(ANSWER_TIMEOUT, asked).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(late()),
        }
    }
}

/// Between half of the pause and all of it, so that many replicas do not return at once.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}
