//! What the consumers have written about their reading, in the sync database. The producer reads it and nothing else
//! there, for the questions of clients and operators: uploads never wait for it.
//!
//! - [`message`]: what is known of one message
//! - [`account`]: what has become of everything, by partition and hour

pub mod account;
pub mod message;

use crate::database::Away;
use account::{Account, Range};
use futures::{FutureExt, future::BoxFuture};
use message::{Place, Trace};
use runtime::postgres::{Server, quoted};
use sqlx::{
    PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{collections::BTreeSet, time::Duration};
use tokio::{runtime::Handle, time::timeout};

/// Longest wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for an answer, the connection included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(6);
/// Longest wait for connections to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The server's own limits. Nothing is ever written from here.
const SESSION: &[(&str, &str)] = &[
    ("default_transaction_read_only", "on"),
    ("statement_timeout", "4s"),
    ("lock_timeout", "2s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("jit", "off"),
];

/// All that is read in one transaction is of one moment: rows, tallies and the ledger move together.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Where the consumers write.
#[derive(Debug, Clone)]
pub struct LedgerSettings {
    /// The server, with as many connections as may be used for this.
    pub server: Server,
    /// The sync database.
    pub database: String,
    /// The pipeline's schema in it.
    pub schema: String,
}

impl LedgerSettings {
    fn options(&self) -> PgConnectOptions {
        self.server.options(&self.database, "syncpipeline-producer-ledger")
    }
}

/// Why nothing can be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// PostgreSQL does not answer, or not in time.
    #[error(transparent)]
    Away(#[from] Away),
    /// The tables are those of a consumer that keeps no accounts yet.
    #[error("the consumers' tables are those of an older release; upgrade the consumers")]
    OlderRelease,
}

/// What the API needs of the ledger, apart so that its answers can be tested.
pub trait Accounts: Send + Sync {
    /// What is known of one message. Returns within a bound.
    fn message(&self, place: Place) -> BoxFuture<'_, Result<Trace, LedgerError>>;

    /// What has become of the messages of some topics. Returns within a bound.
    fn accounts(&self, range: Range) -> BoxFuture<'_, Result<Vec<Account>, LedgerError>>;
}

/// A few connections that only read. Clones share them.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: PgPool,
    schema: String,
    /// Where the work is done: an HTTP worker may drop a request in the middle of a statement.
    runtime: Handle,
}

/// What there is of the consumers' tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tables {
    /// None: no consumer has run yet.
    Missing,
    /// Those of a release that keeps no accounts.
    Older,
    /// All.
    Made,
}

impl Ledger {
    /// Connects when it is first used, from the present runtime.
    pub fn new(settings: &LedgerSettings) -> Ledger {
        let search_path = quoted(&settings.schema);
        let pool = PgPoolOptions::new()
            .max_connections(settings.server.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .after_connect(move |connection, _| {
                let search_path = search_path.clone();
                Box::pin(async move {
                    sqlx::query("SELECT set_config('search_path', $1, false)")
                        .bind(search_path)
                        .execute(connection)
                        .await
                        .map(drop)
                })
            })
            .connect_lazy_with(settings.options().options(SESSION.iter().copied()));
        Ledger {
            pool,
            schema: settings.schema.clone(),
            runtime: Handle::current(),
        }
    }

    /// Closes the connections, or gives up after a while.
    pub async fn close(&self) {
        if timeout(CLOSE_TIMEOUT, self.pool.close()).await.is_err() {
            tracing::warn!("connections to the sync database did not close in time");
        }
    }

    /// Reads within one transaction and a bound. `work` is not called where no consumer has made its tables yet:
    /// then the answer is `none`.
    async fn read<T: Send + 'static>(&self, none: T, work: impl Reading<T>) -> Result<T, LedgerError> {
        let (pool, schema) = (self.pool.clone(), self.schema.clone());
        let task = async move {
            let mut transaction = pool.begin_with(BEGIN).await?;
            let answer = match tables(&mut transaction, &schema).await? {
                Tables::Made => Ok(work.read(&mut transaction).await?),
                Tables::Missing => Ok(none),
                Tables::Older => Err(LedgerError::OlderRelease),
            };
            transaction.rollback().await?;
            Ok::<_, sqlx::Error>(answer)
        };
        match self.runtime.spawn(timeout(ANSWER_TIMEOUT, task)).await {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(error))) => Err(Away::from(error).into()),
            Ok(Err(_)) => Err(Away(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())).into()),
            Err(error) => Err(Away(error.to_string()).into()),
        }
    }
}

/// Something that is read within a transaction.
trait Reading<T>: Send + 'static {
    /// Reads it.
    fn read(self, connection: &mut PgConnection) -> impl Future<Output = Result<T, sqlx::Error>> + Send;
}

/// By the catalogue, which everybody may read: a table that is there and may not be read is an error of its own, and
/// not a pipeline that has not begun.
async fn tables(connection: &mut PgConnection, schema: &str) -> Result<Tables, sqlx::Error> {
    let found: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
         WHERE nspname = $1 AND relname IN ('ledger', 'tallies', 'dead_letters')",
    )
    .bind(schema)
    .fetch_all(connection)
    .await?;
    let found: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    Ok(match (found.contains("ledger"), found.len()) {
        (false, _) => Tables::Missing,
        (true, 3) => Tables::Made,
        (true, _) => Tables::Older,
    })
}

impl Accounts for Ledger {
    fn message(&self, place: Place) -> BoxFuture<'_, Result<Trace, LedgerError>> {
        self.read(Trace::default(), place).boxed()
    }

    fn accounts(&self, range: Range) -> BoxFuture<'_, Result<Vec<Account>, LedgerError>> {
        self.read(Vec::new(), range).boxed()
    }
}
