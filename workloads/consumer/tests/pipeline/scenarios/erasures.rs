//! Users of whom nothing is kept.

use crate::{
    load::{Load, record},
    stage::{Stage, end_of, first_word_of},
    stored::{MOVE_BACK, Stored},
    wait,
};
use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use contract::Source;
use sqlx::Executor;
use std::time::Duration;

const SMS: [Source; 1] = [Source::Sms];
const SOON: Duration = Duration::from_secs(60);

/// Also after a rewind; what the user sends later is stored.
pub(crate) async fn an_erased_user_stays_erased(stage: Stage) -> Result<()> {
    let sources = [Source::Sms, Source::Contacts];
    let reader = stage.start_ready(&sources).await?;
    let mut load = Load::new(&stage)?;
    let of = |source, from: u64| {
        (from..from + 5)
            .map(|number| record(source, number))
            .collect::<Vec<_>>()
    };
    for source in sources {
        load.upload_records(source, "stays", of(source, 0)).await?;
    }
    // Not among what is expected.
    let mut gone = Load::new(&stage)?;
    for source in sources {
        gone.upload_records(source, "leaves", of(source, 0)).await?;
    }
    stage.until_no_lag(&sources).await?;
    let stored = Stored::of(&stage)?;
    ensure!(stored.count(Source::Sms).await? == 10);

    let said = stage.command(&["erase", "leaves"])?;
    ensure!(said == "user 1 of 1: 10 rows and 10 documents removed\n", "{said}");
    stored.ensure_exactly(&load.expected).await?;
    let to = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    stage.command(&["rewind", "--to", &to])?;
    wait::until("all is read once more", SOON, async || {
        let tally = stored.tally().await?;
        Ok(((tally.duplicate, tally.erased) != (10, 10)).then(|| format!("{tally:?}")))
    })
    .await?;
    stored.ensure_exactly(&load.expected).await?;

    load.upload_records(Source::Contacts, "leaves", of(Source::Contacts, 0))
        .await?;
    load.upload_records(Source::Sms, "leaves", of(Source::Sms, 100)).await?;
    stage.until_no_lag(&sources).await?;
    stored.ensure_exactly(&load.expected).await?;
    let named: i64 = sqlx::query_scalar("SELECT count(*) FROM erased_users e WHERE e::text LIKE '%leaves%'")
        .fetch_one(&mut stored.connection().await?)
        .await?;
    ensure!(named == 0, "the table names the user");
    reader.terminate().await
}

/// A copy has nothing of those who were erased before it was filled, loses what it has of those who are erased later, and
/// does not get it back.
pub(crate) async fn an_erased_user_stays_erased_of_copies(stage: Stage) -> Result<()> {
    let sources = [Source::Sms, Source::Contacts];
    let mut load = Load::new(&stage)?;
    for (user, from) in [("gone", 0), ("leaves", 10), ("stays", 20)] {
        for source in sources {
            let records = (from..from + 5).map(|number| record(source, number)).collect();
            load.upload_records(source, user, records).await?;
        }
    }
    let reader = stage.start_ready(&sources).await?;
    stage.until_no_lag(&sources).await?;
    stage.command(&["erase", "gone"])?;
    let to = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    let schema = format!("{}_copy", stage.name);
    let arguments = ["rewind", "--to", &to, "--into", &schema];
    stage.command(&arguments)?;
    let copy = Stored::of(&stage)?.in_schema(&schema);
    let counts = async || anyhow::Ok((copy.count(Source::Sms).await?, copy.count(Source::Contacts).await?));
    ensure!(counts().await? == (10, 10), "{:?}", counts().await?);

    let said = stage.command(&["erase", "leaves"])?;
    ensure!(
        said == "user 1 of 1: 10 rows and 10 documents removed, and 10 rows of copies\n",
        "{said}"
    );
    ensure!(counts().await? == (5, 5), "{:?}", counts().await?);
    copy.connection().await?.execute(MOVE_BACK).await?;
    stage.command(&arguments)?;
    ensure!(counts().await? == (5, 5), "{:?}", counts().await?);
    let dropping = format!("DROP SCHEMA {schema} CASCADE");
    copy.connection().await?.execute(&*dropping).await?;
    stage.command(&["erase", "stays"])?;
    reader.terminate().await
}

/// Commands wait for a write that takes its time, and nobody waits behind them for long.
pub(crate) async fn commands_wait_for_writes_under_way(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 4, 5).await?;
    let reader = stage.start_ready(&SMS).await?;
    stage.until_no_lag(&SMS).await?;
    reader.terminate().await?;
    let stored = Stored::of(&stage)?;
    let lock = "SELECT pg_advisory_xact_lock_shared(hashtext('syncpipeline erasure'), hashtext(current_schema()))";
    let mut writing = stored.connection().await?;
    writing
        .execute(&*format!("BEGIN; {lock}; SELECT FROM ledger FOR UPDATE"))
        .await?;

    let mut erasing = stage.start_command(&["erase", "user-0"])?;
    let said = first_word_of(&mut erasing)?;
    ensure!(said == "waiting for writes that are under way\n", "{said}");
    let mut beginning = stored.connection().await?;
    for _ in 0..3 {
        let next = format!("BEGIN; SET LOCAL lock_timeout = '8s'; {lock}; COMMIT");
        beginning
            .execute(&*next)
            .await
            .context("who begins to write waits behind the erasure")?;
    }
    let to = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    let mut rewinding = stage.start_command(&["rewind", "--to", &to])?;
    let said = first_word_of(&mut rewinding)?;
    ensure!(said == "waiting for writes that are under way\n", "{said}");
    writing.execute("COMMIT").await?;
    let said = end_of(erasing)?;
    ensure!(said == "user 1 of 1: 5 rows and 5 documents removed\n", "{said}");
    let said = end_of(rewinding)?;
    ensure!(said.contains("4 messages of "), "{said}");
    Ok(())
}
