//! PostgreSQL.

use super::{Extent, records};
use anyhow::{Context, Result, bail, ensure};
use benches::figures::median;
use consumer::{
    account::{Account, messages},
    collected::Collected,
    config::PostgresConfig,
    sink::postgres::{
        Postgres,
        ledger::LedgerKey,
        schema,
        write::{Outcome, RowsBySource},
    },
};
use contract::Source;
use host::progress::Progress;
use runtime::postgres::Server;
use services::Running;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions, postgres::PgSslMode};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Instant,
};

const DATABASE: &str = "sync_db";
const SCHEMA: &str = "bench_sink";

/// Rows a second: ours and theirs.
pub(crate) async fn measure(running: &Running, progress: &Progress, extent: Extent) -> Result<(f64, f64)> {
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
        retention_months: None,
    };
    schema::migrate(&config).await?;
    let postgres = Postgres::new(&config, BTreeSet::from([Source::Sms]));
    postgres.create_months().await?;
    let mut connection = connect(running).await?;
    let file = host::state::dir().join("rows");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..extent.rounds {
        let step = progress.step(format!("PostgreSQL, round {}", round + 1));
        empty(&mut connection).await?;
        let count = extent.rows * records::BATCH;
        let our_rate = count as f64 / write(&postgres, round, extent.rows).await?;
        let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM sms")
            .fetch_one(&mut connection)
            .await?;
        ensure!(stored == count as i64, "{stored} of {count} rows are stored");
        if round == 0 {
            psql(running, &format!("\\copy (SELECT * FROM sms) TO '{}'", file.display()))?;
        }
        empty(&mut connection).await?;
        let their_rate = count as f64 / copy(running, &file)?;
        step.done(&format!("{our_rate:.0}/s and {their_rate:.0}/s"));
        ours.push(our_rate);
        theirs.push(their_rate);
    }
    postgres.close().await;
    Ok((median(ours), median(theirs)))
}

/// Seconds that the consumer's writer takes for all batches.
async fn write(postgres: &Postgres, round: usize, batches: usize) -> Result<f64> {
    let topic = records::topic(round);
    let key = LedgerKey {
        cluster: "bench".into(),
        group: "sink".to_owned(),
        mongodb: Arc::default(),
    };
    let starts = records::partitions(&topic).map(|partition| (partition, 0)).collect();
    postgres.create_ledger(&key, &starts).await?;
    let collected = records::collected(&topic, batches)?;
    let batches: Vec<_> = collected.iter().flat_map(Collected::batches).collect();
    let began = Instant::now();
    for batch in &batches {
        let rows: RowsBySource<'_> = BTreeMap::from([(
            Source::Sms,
            batch.messages.iter().flat_map(|message| &message.rows).collect(),
        )]);
        match postgres.write(&key, &batch.moves, &rows).await? {
            Outcome::Written(mut write) => {
                let account = Account::of(batch, &messages(batch), &write.stored, &[], &[]);
                write.account(&key, &account, &[]).await?;
                write.commit().await?;
            }
            Outcome::Fenced => bail!("a batch was fenced"),
        }
    }
    Ok(began.elapsed().as_secs_f64())
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
