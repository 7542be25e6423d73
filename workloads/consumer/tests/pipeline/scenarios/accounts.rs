//! What became of everything that was accepted.

use crate::{
    load::{Load, envelope, record},
    reader::Reader,
    stage::{PARTITIONS, Stage},
    stored::Stored,
    wait,
};
use anyhow::{Result, ensure};
use chrono::Utc;
use contract::{Source, env, metric};
use serde_json::json;
use sqlx::Executor;
use std::time::Duration;

const SMS: [Source; 1] = [Source::Sms];
const SOON: Duration = Duration::from_secs(60);

/// New records, the same once more, one that is invalid and a message that is no envelope.
pub(crate) async fn every_record_is_accounted_for(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 40, 25).await?;
    let again: Vec<_> = (0..10).map(|number| record(Source::Sms, 5_000 + number)).collect();
    load.upload_records(Source::Sms, "user-a", again.clone()).await?;
    load.upload_records(Source::Sms, "user-a", again).await?;
    let invalid = envelope("user-b", Utc::now(), vec![json!({"id": "x", "timestamp": 0})]);
    let messages = [("user-b", invalid.encode(Source::Sms)), ("user-c", b"{".to_vec())];
    let messages = messages.map(|(user, value)| (user.to_owned(), value));
    load.send(Source::Sms, messages.to_vec()).await?;
    let reader = stage.start_ready(&SMS).await?;
    stage.until_no_lag(&SMS).await?;

    let stored = Stored::of(&stage)?;
    stored.ensure_exactly(&load.expected).await?;
    let tally = stored.tally().await?;
    ensure!((tally.messages, tally.expired, tally.absent) == (44, 0, 0), "{tally:?}");
    ensure!(
        (
            tally.records,
            tally.stored,
            tally.duplicate,
            tally.dead_lettered,
            tally.erased
        ) == (1_022, 1_010, 10, 2, 0),
        "{tally:?}"
    );
    let mut connection = stored.connection().await?;
    let letters: Vec<(i32, String, String)> =
        sqlx::query_as("SELECT index, class, error FROM dead_letters ORDER BY index")
            .fetch_all(&mut connection)
            .await?;
    let letter = |index, class: &str, error: &str| (index, class.to_owned(), error.to_owned());
    ensure!(
        letters
            == [
                letter(
                    -1,
                    "decode",
                    "not an envelope: the JSON ends too early at line 1 column 1"
                ),
                letter(0, "validation", "sender: is missing"),
            ],
        "{letters:?}"
    );
    let in_mongodb: Vec<bool> = sqlx::query_scalar("SELECT DISTINCT mongodb FROM ledger WHERE next_offset > 0")
        .fetch_all(&mut connection)
        .await?;
    ensure!(in_mongodb == [true], "{in_mongodb:?}");
    for (class, count) in [("decode", 1.0), ("validation", 1.0), ("data", 0.0)] {
        let labels = format!("class=\"{class}\",source=\"sms\"");
        ensure!(
            reader.metric(metric::CONSUMER_DEAD_LETTERS, &labels).await? == count,
            "{class}"
        );
    }
    let observed = format!("{}_count", metric::CONSUMER_END_TO_END);
    ensure!(reader.metric(&observed, "").await? == 44.0);
    reader.terminate().await
}

/// Messages whose time is over before anybody has read them.
pub(crate) async fn what_kafka_deleted_is_told(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 40, 5).await?;
    let reader = stage.start_ready(&SMS).await?;
    stage.until_no_lag(&SMS).await?;
    reader.terminate().await?;
    let read: i64 = stage.ends(&SMS)?.iter().map(|(_, _, end)| end).sum();
    load.upload(Source::Sms, 60, 5).await?;
    let ends = stage.ends(&SMS)?;
    let before: i64 = ends.iter().map(|(_, _, end)| end - 1).sum::<i64>() - read;
    // All but the last message of each partition.
    stage
        .delete_before(
            ends.iter()
                .map(|(topic, partition, end)| (topic.as_str(), *partition, end - 1)),
        )
        .await?;

    let reader = stage.start_ready(&SMS).await?;
    stage.until_no_lag(&SMS).await?;
    let stored = Stored::of(&stage)?;
    let tally = stored.tally().await?;
    ensure!(
        (tally.messages, tally.expired, tally.absent) == (read + i64::from(PARTITIONS), before, 0),
        "{tally:?}, {before} deleted"
    );
    let counted = reader.metric(metric::CONSUMER_EXPIRED, "source=\"sms\"").await?;
    ensure!(counted == before as f64, "{counted} of {before}");
    reader.terminate().await
}

/// An upload of which nothing can be stored.
fn wrong(number: u64) -> (String, Vec<u8>) {
    let records = (0..50)
        .map(|index| json!({"id": format!("{number}-{index}")}))
        .collect();
    let user = format!("user-{number}");
    let value = envelope(&user, Utc::now(), records).encode(Source::Sms);
    (user, value)
}

/// Until both lanes of a topic hold back what they have.
async fn until_breakers_open(reader: &Reader) -> Result<()> {
    wait::until("every breaker is open", SOON, async || {
        let open = reader.metric(metric::CONSUMER_BREAKERS, "").await?;
        Ok((open != 2.0).then(|| open.to_string()))
    })
    .await
}

/// A release of the producer that writes what nobody understands: it is kept, not given up, until somebody says so.
pub(crate) async fn where_nearly_nothing_can_be_stored_nothing_is_given_up(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 4, 25).await?;
    // Enough for each lane.
    load.send(Source::Sms, (0..400).map(wrong).collect()).await?;
    // Lanes fill to thousands before they are written, so that each begins with what is wrong.
    let reader = stage.start(&SMS, &[(env::BATCH_LINGER_MS, "1500".to_owned())])?;
    reader.until_not_ready(&["dead_letters"]).await?;
    until_breakers_open(&reader).await?;
    let log = reader.log()?;
    ensure!(
        log.contains("records cannot be stored (timestamp: is missing)"),
        "{log}"
    );
    reader.terminate().await?;
    let stored = Stored::of(&stage)?;
    ensure!(stored.tally().await?.dead_lettered == 0, "something was given up");

    let all = [(contract_variable(), "0".to_owned())];
    let reader = stage.start(&SMS, &all)?;
    reader.until_ready().await?;
    stage.until_no_lag(&SMS).await?;
    let tally = stored.tally().await?;
    ensure!((tally.stored, tally.dead_lettered) == (100, 20_000), "{tally:?}");
    reader.terminate().await
}

/// Somebody passes over what nobody understands: what was held back is no reason any more not to be ready.
pub(crate) async fn a_fence_ends_what_was_refused(stage: Stage) -> Result<()> {
    let load = Load::new(&stage)?;
    load.send(Source::Sms, (0..400).map(wrong).collect()).await?;
    let reader = stage.start(&SMS, &[(env::BATCH_LINGER_MS, "1500".to_owned())])?;
    until_breakers_open(&reader).await?;
    reader.until_not_ready(&["dead_letters"]).await?;
    let stored = Stored::of(&stage)?;
    for (topic, partition, end) in stage.ends(&SMS)? {
        sqlx::query(
            "UPDATE ledger SET first_offset = first_offset + $3 - next_offset, next_offset = $3 \
             WHERE topic = $1 AND partition = $2",
        )
        .bind(topic)
        .bind(partition)
        .bind(end)
        .execute(&mut stored.connection().await?)
        .await?;
    }
    reader.until_ready().await?;
    reader.terminate().await
}

fn contract_variable() -> &'static str {
    consumer::config::DEAD_LETTER_LIMIT_PERCENT
}

/// Months, and what the default partition holds of them.
pub(crate) async fn what_is_kept_no_longer_is_dropped(stage: Stage) -> Result<()> {
    let reader = stage.start_ready(&SMS).await?;
    let mut load = Load::new(&stage)?;
    let at = |id: u64, time: &str| {
        let mut record = record(Source::Sms, id);
        record["timestamp"] = time.into();
        record
    };
    let present = vec![record(Source::Sms, 1)];
    load.upload_records(Source::Sms, "user", present).await?;
    let mut old = Load::new(&stage)?;
    let times = ["2020-01-15T00:00:00Z", "2020-02-15T00:00:00Z"];
    let records = times.iter().zip(10..).map(|(time, id)| at(id, time)).collect();
    old.upload_records(Source::Sms, "user", records).await?;
    stage.until_no_lag(&SMS).await?;
    let stored = Stored::of(&stage)?;
    let mut connection = stored.connection().await?;
    // As a table that has been there since 2020, and was without a reader for years.
    connection
        .execute(
            "BEGIN; ALTER TABLE sms DETACH PARTITION sms_past; ALTER TABLE sms_past RENAME TO before; \
             INSERT INTO sms SELECT * FROM before; DROP TABLE before; \
             SELECT create_month('sms', '2020-02-01'); SELECT keep_past_apart('sms', '2020-02-01'); COMMIT",
        )
        .await?;
    ensure!(stored.count(Source::Sms).await? == 3);
    reader.terminate().await?;

    let reader = stage.start(&SMS, &[(env::POSTGRES_RETENTION_MONTHS, "13".to_owned())])?;
    reader.until_ready().await?;
    wait::until("only the present is left", SOON, async || {
        let count = stored.count(Source::Sms).await?;
        Ok((count != 1).then(|| count.to_string()))
    })
    .await?;
    let months: Vec<String> =
        sqlx::query_scalar("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'sms'::regclass")
            .fetch_all(&mut connection)
            .await?;
    // Four months around the present, the past, and whatever is of neither.
    ensure!(
        !months.contains(&"sms_2020_02".to_owned()) && months.len() == 6,
        "{months:?}"
    );
    reader.terminate().await
}
