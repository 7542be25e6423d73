//! Several copies of one record in one batch, of which not all can be stored.

use crate::{
    load::{Load, envelope, record},
    stage::Stage,
    stored::Stored,
};
use anyhow::{Result, ensure};
use chrono::{TimeDelta, Utc};
use contract::{Source, env, header};
use serde_json::{Value, json};
use sqlx::Executor;

const SOURCES: [Source; 2] = [Source::Sms, Source::Contacts];

/// What is refused is no reason to lose what would have been stored alone: of facts the next copy, of versions the next
/// older one.
pub(crate) async fn what_is_refused_makes_room_for_another_copy(stage: Stage) -> Result<()> {
    stage.start_ready(&SOURCES).await?.terminate().await?;
    let stored = Stored::of(&stage)?;
    for rule in [
        "ALTER TABLE sms ADD CONSTRAINT strict CHECK (sender <> 'BLOCKED')",
        "ALTER TABLE contacts ADD CONSTRAINT strict CHECK (name <> 'BLOCKED')",
    ] {
        stored.connection().await?.execute(rule).await?;
    }
    let mut load = Load::new(&stage)?;
    for (source, field, values) in [
        (Source::Sms, "sender", ["BLOCKED", "BLOCKED", "GOOD", "LATE"]),
        (Source::Contacts, "name", ["OLD", "GOOD", "BLOCKED", "BLOCKED"]),
    ] {
        let copies = values.iter().zip(0..).map(|(value, time)| {
            let mut copy = record(source, 1);
            copy["timestamp"] = time.into();
            copy[field] = (*value).into();
            copy
        });
        load.upload_records(source, "user-1", copies.collect()).await?;
    }
    let everywhere = [(env::MONGODB_ENABLED_SOURCES, "*".to_owned())];
    let reader = stage.start(&SOURCES, &everywhere)?;
    stage.until_no_lag(&SOURCES).await?;
    let tally = stored.tally().await?;
    ensure!(
        (tally.stored, tally.dead_lettered, tally.duplicate) == (2, 4, 2),
        "{tally:?}"
    );
    for (source, field) in [(Source::Sms, "sender"), (Source::Contacts, "name")] {
        let documents = stored.documents(source).await?;
        ensure!(documents.len() == 1, "{documents:?}");
        ensure!(
            documents[0].to_string().contains(&format!("\"{field}\": \"GOOD\"")),
            "{documents:?}"
        );
    }
    stored.ensure_exactly(&load.expected).await?;
    reader.terminate().await
}

/// A record that was erased, and the same one sent later; and a wrong one, which is in no dead letter then.
pub(crate) async fn what_was_erased_makes_room_for_what_is_sent_later(stage: Stage) -> Result<()> {
    stage.start_ready(&SOURCES).await?.terminate().await?;
    stage.command(&["erase", "back"])?;
    let mut load = Load::new(&stage)?;
    let before = Utc::now() - TimeDelta::hours(1);
    for source in SOURCES {
        let wrong = json!({"id": "wrong", "timestamp": 0});
        let erased = envelope("back", before, vec![record(source, 1), wrong]);
        load.send(source, vec![("back".to_owned(), erased.encode(source))])
            .await?;
        load.upload_records(source, "back", vec![record(source, 1)]).await?;
    }
    let reader = stage.start_ready(&SOURCES).await?;
    stage.until_no_lag(&SOURCES).await?;
    let stored = Stored::of(&stage)?;
    let tally = stored.tally().await?;
    ensure!(
        (tally.stored, tally.erased, tally.dead_lettered) == (2, 4, 0),
        "{tally:?}"
    );
    stored.ensure_exactly(&load.expected).await?;
    let letters = stage.read_all(&header::dead_letter_topic(&stage.topic(Source::Sms)))?;
    ensure!(letters.is_empty(), "{} dead letters", letters.len());
    reader.terminate().await
}

/// More records than any upload may have: one dead letter, not one for each, and nothing for others to wait for.
pub(crate) async fn a_message_of_too_many_records_is_one_dead_letter(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    let records: Vec<Value> = vec![json!(1); contract::message::MAX_RECORDS + 500];
    let many = envelope("user-1", Utc::now(), records).encode(Source::Sms);
    load.send(Source::Sms, vec![("user-1".to_owned(), many)]).await?;
    load.upload(Source::Sms, 20, 25).await?;
    let reader = stage.start_ready(&[Source::Sms]).await?;
    stage.until_no_lag(&[Source::Sms]).await?;
    let stored = Stored::of(&stage)?;
    let tally = stored.tally().await?;
    ensure!((tally.stored, tally.dead_lettered) == (500, 1), "{tally:?}");
    let letters = stage.read_all(&header::dead_letter_topic(&stage.topic(Source::Sms)))?;
    ensure!(letters.len() == 1, "{} dead letters", letters.len());
    reader.terminate().await
}
