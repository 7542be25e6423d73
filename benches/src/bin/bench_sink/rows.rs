//! PostgreSQL.

use super::{Extent, records};
use anyhow::{Context, Result, bail, ensure};
use benches::figures::median;
use consumer::{
    account::{Account, messages},
    batch::Batch,
    collected::Collected,
    config::{PARALLEL_WRITES, PostgresConfig},
    sink::postgres::{Postgres, ledger::LedgerKey, schema, write::Outcome},
    topic::Topic,
};
use contract::Source;
use host::progress::Progress;
use runtime::postgres::Server;
use services::Running;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions, postgres::PgSslMode};
use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
    sync::Arc,
    time::Instant,
};
use tokio::{runtime::Handle, sync::Barrier, task::JoinSet};

const DATABASE: &str = "sync_db";
const SCHEMA: &str = "bench_sink";

/// Rows a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    /// Ours, with as many writes at a time as the consumer has by default.
    pub(crate) ours: f64,
    /// Ours, with one write at a time.
    pub(crate) ours_alone: f64,
    /// Those of `psql`.
    pub(crate) theirs: f64,
}

/// Measures all sides in turns.
pub(crate) async fn measure(running: &Running, progress: &Progress, extent: Extent) -> Result<Rates> {
    let postgres = &running.postgres;
    let config = PostgresConfig {
        server: Server {
            host: postgres.address.ip().to_string(),
            port: postgres.address.port(),
            username: postgres.username.clone(),
            password: postgres.password.clone(),
            tls_mode: PgSslMode::Prefer,
            tls_authorities: None,
            max_connections: 8,
        },
        database: DATABASE.to_owned(),
        schema: SCHEMA.to_owned(),
        copy_of: None,
        retention_months: None,
    };
    schema::migrate(&config).await?;
    let postgres = Postgres::new(&config, BTreeSet::from([Source::Sms]));
    postgres.create_months().await?;
    let mut connection = connect(running).await?;
    let file = host::state::dir().join("rows");
    let (mut ours, mut ours_alone, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    let count = extent.rows * records::BATCH;
    for round in 0..extent.rounds {
        let step = progress.step(format!("PostgreSQL, round {}", round + 1));
        for (lanes, rates) in [(PARALLEL_WRITES, &mut ours), (1, &mut ours_alone)] {
            empty(&mut connection).await?;
            let topic = records::topic(round * PARALLEL_WRITES + lanes);
            rates.push(count as f64 / write(&postgres, &topic, extent.rows, lanes).await?);
            let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM sms")
                .fetch_one(&mut connection)
                .await?;
            ensure!(stored == count as i64, "{stored} of {count} rows are stored");
        }
        if round == 0 {
            psql(running, &format!("\\copy (SELECT * FROM sms) TO '{}'", file.display()))?;
        }
        empty(&mut connection).await?;
        theirs.push(count as f64 / copy(running, &file)?);
        let last = |rates: &[f64]| rates.last().copied().unwrap_or_default();
        step.done(&format!(
            "{:.0}/s, {:.0}/s one at a time, and {:.0}/s",
            last(&ours),
            last(&ours_alone),
            last(&theirs)
        ));
    }
    postgres.close().await;
    Ok(Rates {
        ours: median(ours),
        ours_alone: median(ours_alone),
        theirs: median(theirs),
    })
}

/// Seconds that the consumer's writers take for all batches, each lane the batches of its partitions.
async fn write(postgres: &Postgres, topic: &Arc<Topic>, batches: usize, lanes: usize) -> Result<f64> {
    let key = LedgerKey {
        cluster: "bench".into(),
        group: "sink".to_owned(),
        mongodb: Arc::default(),
    };
    let starts = records::partitions(topic).map(|partition| (partition, 0)).collect();
    postgres.create_ledger(&key, &starts).await?;
    let mut of_lanes: Vec<Vec<Collected>> = (0..lanes).map(|_| Vec::new()).collect();
    for (number, collected) in records::collected(topic, batches)?.into_iter().enumerate() {
        of_lanes[number % lanes].push(collected);
    }
    // Nothing is timed before all of them have decoded theirs.
    let ready = Arc::new(Barrier::new(lanes + 1));
    let mut writers = JoinSet::new();
    for collected in of_lanes {
        let (postgres, key, ready) = (postgres.clone(), key.clone(), ready.clone());
        // A thread each, as in the consumer.
        writers.spawn_blocking(move || {
            Handle::current().block_on(async {
                let senders: Vec<_> = collected.iter().map(Collected::senders).collect();
                let with_senders = collected.iter().zip(&senders);
                let batches: Vec<_> = with_senders
                    .flat_map(|(collected, senders)| collected.batches(senders))
                    .collect();
                ready.wait().await;
                for batch in &batches {
                    write_batch(&postgres, &key, batch).await?;
                }
                Ok::<_, anyhow::Error>(())
            })
        });
    }
    ready.wait().await;
    let began = Instant::now();
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn write_batch(postgres: &Postgres, key: &LedgerKey, batch: &Batch<'_>) -> Result<()> {
    match postgres.write(key, batch, &HashSet::new()).await? {
        Outcome::Written(mut write) => {
            let account = Account::of(batch, &messages(batch), &write.stored, std::iter::empty(), &[]);
            write.account(key, &account, &[]).await?;
            write.commit().await?;
            Ok(())
        }
        Outcome::Fenced => bail!("a batch was fenced"),
    }
}

/// Seconds that `psql \copy` takes for the same rows.
fn copy(running: &Running, file: &Path) -> Result<f64> {
    let began = Instant::now();
    psql(running, &format!("\\copy sms FROM '{}'", file.display()))?;
    Ok(began.elapsed().as_secs_f64())
}

fn psql(running: &Running, command: &str) -> Result<()> {
    let postgres = &running.postgres;
    let output = services::postgres::program("psql")
        .args(["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1"])
        .args(["--host", &postgres.address.ip().to_string()])
        .args(["--port", &postgres.address.port().to_string()])
        .args(["--username", &postgres.username, "--dbname", DATABASE])
        .args(["--command", command])
        .env("PGPASSWORD", &postgres.password)
        .env("PGOPTIONS", format!("--search_path={SCHEMA}"))
        .output()
        .context("run psql")?;
    ensure!(
        output.status.success(),
        "psql: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

async fn connect(running: &Running) -> Result<PgConnection> {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&running.postgres.address.ip().to_string())
        .port(running.postgres.address.port())
        .username(&running.postgres.username)
        .password(&running.postgres.password)
        .database(DATABASE)
        .options([("search_path", SCHEMA)]);
    Ok(PgConnection::connect_with(&options).await?)
}

/// The same beginning for both: no rows, and nothing left to be written from before.
async fn empty(connection: &mut PgConnection) -> Result<()> {
    connection.execute("TRUNCATE sms").await?;
    connection.execute("CHECKPOINT").await?;
    Ok(())
}
