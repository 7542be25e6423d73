//! PostgreSQL, for what the replicas of a producer have to agree on. Uploads that need none of it never wait for it.
//!
//! - [`schema`]: the migrations, in a schema of this pipeline's own in the APIs' database
//! - [`care`]: what is done in the background: migrations, and finding out when PostgreSQL is back

pub mod care;
pub mod schema;

use runtime::postgres::{Server, quoted};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Handle, sync::Notify, time::timeout};

/// Longest wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for an answer, the connection included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for connections to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Seconds after which a client may try again what needs PostgreSQL.
pub const RETRY_AFTER: u32 = 5;

/// The server's own limits: each statement here touches a few rows.
const SESSION: &[(&str, &str)] = &[
    ("statement_timeout", "2500ms"),
    ("lock_timeout", "2000ms"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("jit", "off"),
];

/// Where the tables are.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// The server.
    pub server: Server,
    /// The APIs' database.
    pub database: String,
    /// Schema of this pipeline's producers in it.
    pub schema: String,
}

impl DatabaseSettings {
    fn options(&self) -> PgConnectOptions {
        self.server.options(&self.database, "syncpipeline-producer")
    }
}

/// PostgreSQL cannot be asked at the moment. The reason is for logs, not for clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PostgreSQL: {0}")]
pub struct Away(pub String);

impl From<sqlx::Error> for Away {
    /// Without the values of a row, which PostgreSQL's details may quote.
    fn from(error: sqlx::Error) -> Away {
        Away(match error {
            sqlx::Error::Database(error) => {
                let state = error.code().unwrap_or_default();
                format!("SQLSTATE {state}: {}", error.message())
            }
            other => other.to_string(),
        })
    }
}

/// A pool of connections. Clones share it.
#[derive(Debug, Clone)]
pub struct Database {
    settings: DatabaseSettings,
    pool: PgPool,
    /// Where the work is done: an HTTP worker may end, or drop a request, in the middle of a statement.
    runtime: Handle,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The tables are there, and PostgreSQL answered when it was last asked.
    up: AtomicBool,
    /// Wakes whoever finds out whether it is back.
    trouble: Notify,
}

impl Database {
    /// A pool that connects when it is first used, from the present runtime. Until [`Database::look_after`] has made
    /// the tables, PostgreSQL counts as away.
    pub fn new(settings: DatabaseSettings) -> Database {
        let search_path = quoted(&settings.schema);
        let pool = PgPoolOptions::new()
            .max_connections(settings.server.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                let search_path = search_path.clone();
                Box::pin(async move { schema::set_search_path(connection, &search_path).await })
            })
            .connect_lazy_with(settings.options().options(SESSION.iter().copied()));
        Database {
            settings,
            pool,
            runtime: Handle::current(),
            state: Arc::default(),
        }
    }

    /// Does `work` with a connection of the pool, within a bound. While PostgreSQL is away the answer comes at once.
    pub async fn ask<T, F>(&self, work: impl FnOnce(PgPool) -> F) -> Result<T, Away>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        if !self.state.up.load(Ordering::Acquire) {
            return Err(Away("is away, or its tables are not made yet".to_owned()));
        }
        let outcome = self.bounded(work(self.pool.clone())).await;
        if let Err(Fault { away, means }) = &outcome {
            match means {
                Means::Nothing => {}
                Means::Doubt => self.state.trouble.notify_one(),
                Means::Lost => {
                    self.lost(away);
                    self.state.trouble.notify_one();
                }
            }
        }
        outcome.map_err(|fault| fault.away)
    }

    /// Closes the connections, or gives up after a while.
    pub async fn close(&self) {
        if timeout(CLOSE_TIMEOUT, self.pool.close()).await.is_err() {
            tracing::warn!("PostgreSQL connections did not close in time");
        }
    }

    async fn bounded<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    ) -> Result<T, Fault> {
        match self.runtime.spawn(timeout(ANSWER_TIMEOUT, work)).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(Fault {
                means: Means::of(&error),
                away: error.into(),
            }),
            Ok(Err(_)) => Err(Fault {
                means: Means::Doubt,
                away: late(),
            }),
            Err(error) => Err(Fault {
                means: Means::Nothing,
                away: Away(error.to_string()),
            }),
        }
    }

    /// Everyone is told at once, until PostgreSQL is found to be back.
    fn lost(&self, reason: &Away) {
        if self.state.up.swap(false, Ordering::AcqRel) {
            tracing::warn!(%reason, "PostgreSQL is away; uploads that need it are answered 503");
        }
    }
}

struct Fault {
    away: Away,
    means: Means,
}

/// What a fault says about the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    /// It is this statement alone.
    Nothing,
    /// It is slow, or all connections are in use, or it is away: to be found out, and others may ask meanwhile.
    Doubt,
    /// It is away.
    Lost,
}

impl Means {
    fn of(error: &sqlx::Error) -> Means {
        match error {
            // Reported by PostgreSQL itself.
            sqlx::Error::Database(_) => Means::Nothing,
            sqlx::Error::PoolTimedOut => Means::Doubt,
            _ => Means::Lost,
        }
    }
}

fn late() -> Away {
    Away(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))
}
