//! The same record once, however often it comes.

use crate::{
    load::{Load, envelope, record},
    stage::Stage,
    stored::Stored,
};
use anyhow::{Result, ensure};
use chrono::{DateTime, Duration, Utc};
use contract::{Source, metric};
use serde_json::{Value, json};
use sqlx::Executor;

/// First Kafka's committed offsets are set to 0, then the ledger is lost, too.
pub(crate) async fn a_replay_changes_nothing(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    for source in Source::ALL {
        load.upload(source, 20, 50).await?;
    }
    let reader = stage.start_ready(&Source::ALL).await?;
    stage.until_no_lag(&Source::ALL).await?;
    reader.terminate().await?;
    let stored = Stored::of(&stage)?;
    stored.ensure_exactly(&load.expected).await?;
    let before = fingerprints(&stored).await?;

    stage.reset_commits(&Source::ALL).await?;
    let reader = stage.start_ready(&Source::ALL).await?;
    stage.until_no_lag(&Source::ALL).await?;
    ensure!(
        reader.metric(metric::CONSUMER_RECORDS, "").await? == 0.0,
        "the ledger knows better than Kafka"
    );
    reader.terminate().await?;
    ensure!(fingerprints(&stored).await? == before);

    stage.reset_commits(&Source::ALL).await?;
    stored
        .connection()
        .await?
        .execute("DELETE FROM ledger; DELETE FROM tallies")
        .await?;
    let reader = stage.start_ready(&Source::ALL).await?;
    stage.until_no_lag(&Source::ALL).await?;
    ensure!(
        reader.metric(metric::CONSUMER_RECORDS, "duplicate").await? == 5_000.0,
        "all records are read again"
    );
    ensure!(reader.metric(metric::CONSUMER_RECORDS, "outcome=\"stored\"").await? == 0.0);
    reader.terminate().await?;
    ensure!(fingerprints(&stored).await? == before, "rows changed");
    stored.ensure_exactly(&load.expected).await
}

async fn fingerprints(stored: &Stored) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for source in Source::ALL {
        all.push(stored.fingerprint(source).await?);
    }
    Ok(all)
}

/// In one batch and in two, also when the phone gives it another time the second time.
pub(crate) async fn a_record_sent_again_is_stored_once(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    let first: Vec<Value> = (0..50).map(|number| record(Source::Sms, number)).collect();
    let mut second = first.clone();
    for record in &mut second {
        record["timestamp"] = json!(record["timestamp"].as_i64().unwrap_or_default() - 40 * 86_400_000);
    }
    load.upload_records(Source::Sms, "user", first.clone()).await?;
    load.upload_records(Source::Sms, "user", second.clone()).await?;
    let reader = stage.start_ready(&[Source::Sms]).await?;
    stage.until_no_lag(&[Source::Sms]).await?;
    load.upload_records(Source::Sms, "user", second).await?;
    load.upload_records(Source::Sms, "user", first).await?;
    stage.until_no_lag(&[Source::Sms]).await?;
    let stored = Stored::of(&stage)?;
    stored.ensure_exactly(&load.expected).await?;
    ensure!(stored.count(Source::Sms).await? == 50);
    ensure!(reader.metric(metric::CONSUMER_RECORDS, "duplicate").await? == 150.0);
    Ok(())
}

/// As if another reader had had the partitions for a while: what this one read meanwhile is not written on top.
pub(crate) async fn a_moved_ledger_fences_and_is_read_again(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Events, 20, 50).await?;
    let reader = stage.start_ready(&[Source::Events]).await?;
    stage.until_no_lag(&[Source::Events]).await?;
    let stored = Stored::of(&stage)?;
    stored.connection().await?.execute(crate::stored::MOVE_BACK).await?;
    load.upload(Source::Events, 20, 50).await?;
    stage.until_no_lag(&[Source::Events]).await?;
    stored.ensure_exactly(&load.expected).await?;
    ensure!(
        reader.metric(metric::CONSUMER_FENCED, "").await? >= 1.0,
        "no batch was fenced"
    );
    ensure!(
        reader.metric(metric::CONSUMER_RECORDS, "duplicate").await? > 0.0,
        "the ledger was not read again"
    );
    reader.terminate().await
}

/// By event time, then by the time of receipt; in one batch and in two; in both stores alike.
pub(crate) async fn a_newer_version_replaces_an_older_one(stage: Stage) -> Result<()> {
    let load = Load::new(&stage)?;
    let received: DateTime<Utc> = "2026-11-01T00:00:00Z".parse()?;
    let version = |id: &str, at: i64, received_after: i64, name: &str| {
        let record = json!({"id": id, "timestamp": at, "name": name, "phones": []});
        let envelope = envelope("user", received + Duration::microseconds(received_after), vec![record]);
        ("user".to_owned(), envelope.encode(Source::Contacts))
    };
    load.send(
        Source::Contacts,
        vec![
            version("same-batch", 1_000, 0, "old"),
            version("same-batch", 3_000, 0, "newest"),
            version("same-batch", 2_000, 9, "between"),
            version("later-batch", 1_000, 0, "old"),
            version("older-later", 2_000, 0, "newest"),
            version("by-receipt", 1_000, 1, "old"),
        ],
    )
    .await?;
    let _reader = stage.start_ready(&[Source::Contacts]).await?;
    stage.until_no_lag(&[Source::Contacts]).await?;
    load.send(
        Source::Contacts,
        vec![
            version("later-batch", 2_000, 0, "newest"),
            version("older-later", 1_000, 9, "old"),
            version("by-receipt", 1_000, 2, "newest"),
        ],
    )
    .await?;
    stage.until_no_lag(&[Source::Contacts]).await?;
    let stored = Stored::of(&stage)?;
    let names: Vec<(String, String)> = sqlx::query_as("SELECT raw->>'id', name FROM contacts ORDER BY 1")
        .fetch_all(&mut stored.connection().await?)
        .await?;
    let expected: Vec<(String, String)> = ["by-receipt", "later-batch", "older-later", "same-batch"]
        .map(|id| (id.to_owned(), "newest".to_owned()))
        .into();
    ensure!(names == expected, "PostgreSQL: {names:?}");
    let mut names = stored
        .documents(Source::Contacts)
        .await?
        .iter()
        .map(|document| {
            let id = document.get_document("raw")?.get_str("id")?;
            Ok((id.to_owned(), document.get_str("name")?.to_owned()))
        })
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    ensure!(names == expected, "MongoDB: {names:?}");
    Ok(())
}
