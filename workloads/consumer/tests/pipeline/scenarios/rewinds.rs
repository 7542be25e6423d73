//! Reading once more what was read before.

use crate::{
    load::{Load, envelope, record},
    stage::{Stage, end_of, first_word_of},
    stored::Stored,
    wait,
};
use anyhow::{Result, ensure};
use chrono::{TimeDelta, Utc};
use contract::{Source, header};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use sqlx::Executor;
use std::time::Duration;

const SMS: [Source; 1] = [Source::Sms];
const SOON: Duration = Duration::from_secs(60);

/// Nobody has read anything, and saying so changes nothing.
pub(crate) async fn a_plan_of_a_rewind_creates_no_tables(stage: Stage) -> Result<()> {
    let to = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    let planned = stage.command(&["rewind", "--to", &to, "--dry-run"]);
    ensure!(planned.is_err_and(|error| error.to_string().contains("has read nothing of these topics yet")));
    let mut connection = Stored::of(&stage)?.connection().await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
        .bind(&stage.name)
        .fetch_one(&mut connection)
        .await?;
    ensure!(!exists, "the schema was created");
    // For those who look at the accounts.
    stage.start_ready(&SMS).await?.terminate().await
}

/// The running reader finds the ledger moved back, and recognises all of it.
pub(crate) async fn a_rewind_reads_once_more_and_stores_nothing_twice(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 20, 10).await?;
    let reader = stage.start_ready(&SMS).await?;
    stage.until_no_lag(&SMS).await?;
    let stored = Stored::of(&stage)?;
    let before = stored.fingerprint(Source::Sms).await?;

    let to = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    let topic = stage.topic(Source::Sms);
    let unread = stage.command(&["rewind", "--to", &to, "--topic", &stage.topic(Source::Events)]);
    ensure!(unread.is_err_and(|error| error.to_string().contains("has read nothing of these topics yet")));
    let planned = stage.command(&["rewind", "--to", &to, "--topic", &topic, "--dry-run"])?;
    ensure!(
        planned.ends_with("20 messages of 4 partitions would be read once more\n"),
        "{planned}"
    );
    ensure!(stored.tally().await?.messages == 20);
    let moved = stage.command(&["rewind", "--to", &to, "--topic", &topic])?;
    ensure!(
        moved.ends_with("20 messages of 4 partitions are read once more\n"),
        "{moved}"
    );
    wait::until("all is read once more", SOON, async || {
        let tally = stored.tally().await?;
        Ok((tally.duplicate != 200).then(|| format!("{tally:?}")))
    })
    .await?;
    ensure!(stored.fingerprint(Source::Sms).await? == before, "a row was changed");
    stored.ensure_exactly(&load.expected).await?;
    let audited: (i64, i64) = sqlx::query_as("SELECT count(*), sum(from_offset - to_offset)::bigint FROM rewinds")
        .fetch_one(&mut stored.connection().await?)
        .await?;
    ensure!(audited == (4, 20), "{audited:?}");

    let now = Utc::now().to_rfc3339();
    let none = stage.command(&["rewind", "--to", &now])?;
    ensure!(
        none.starts_with("nothing that came after ") && none.ends_with(" was read yet\n"),
        "{none}"
    );
    let date = stage.command(&["rewind", "--to", "2026-11-20"]);
    ensure!(date.is_err_and(|error| error.to_string().contains("such as 2026-11-20T00:00:00Z")));

    let ends = stage.ends(&SMS)?;
    let all_but_one = ends
        .iter()
        .map(|(topic, partition, end)| (topic.as_str(), *partition, *end - 1));
    stage.delete_before(all_but_one).await?;
    let mut cut = stage.start_command(&["rewind", "--to", &to, "--topic", &topic, "--dry-run"])?;
    let said = first_word_of(&mut cut)?;
    ensure!(
        said.starts_with(&format!("Kafka has messages of 4 partitions of {topic} since ")),
        "{said}"
    );
    let planned = end_of(cut)?;
    ensure!(
        planned.ends_with("4 messages of 4 partitions would be read once more\n"),
        "{planned}"
    );
    reader.terminate().await
}

/// A second copy of the tables, from Kafka alone; the pipeline's own are left alone, and its dead letters, too.
pub(crate) async fn a_rewind_fills_another_schema(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 20, 10).await?;
    load.send(Source::Sms, vec![("user".to_owned(), b"{".to_vec())]).await?;
    let reader = stage.start_ready(&SMS).await?;
    stage.until_no_lag(&SMS).await?;
    let stored = Stored::of(&stage)?;
    let tally = stored.tally().await?;

    let to = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    let schema = format!("{}_copy", stage.name);
    let topic = stage.topic(Source::Sms);
    let arguments = ["rewind", "--to", &to, "--topic", &topic, "--into", &schema];
    let said = stage.command(&arguments)?;
    ensure!(
        said.starts_with(&format!("schema {schema} holds what came after ")),
        "{said}"
    );
    // Again: everything is there.
    stage.command(&arguments)?;
    let copy = stored.in_schema(&schema);
    ensure!(copy.count(Source::Sms).await? == 200);
    let copied = copy.tally().await?;
    ensure!(
        (copied.stored, copied.duplicate, copied.dead_lettered) == (200, 0, 1),
        "{copied:?}"
    );
    copy.ensure_accounts().await?;
    ensure!(stored.tally().await? == tally, "the pipeline's own tables were touched");
    let letters = stage.read_all(&header::dead_letter_topic(&topic))?.len();
    ensure!(letters == 1, "{letters} dead letters");
    let own = stage.command(&["rewind", "--to", &to, "--into", &stage.name]);
    ensure!(own.is_err_and(|error| error.to_string().contains("is the pipeline's own")));
    let mut other = stored.in_schema("other_pipeline").connection().await?;
    other.execute("CREATE SCHEMA other_pipeline").await?;
    other
        .execute("CREATE TABLE ledger AS SELECT 'their-group' AS group_id")
        .await?;
    let theirs = stage.command(&["rewind", "--to", &to, "--into", "other_pipeline"]);
    ensure!(theirs.is_err_and(|error| error.to_string().contains("is that of a pipeline")));
    reader.terminate().await
}

/// From an earlier moment than before all of it is there, and from a later one nothing is read once more.
pub(crate) async fn a_copy_begins_as_early_as_it_is_asked_to(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 20, 10).await?;
    let middle = Utc::now().to_rfc3339();
    load.upload(Source::Sms, 8, 10).await?;
    stage.start_ready(&SMS).await?.terminate().await?;
    let topic = stage.topic(Source::Sms);
    let schema = format!("{}_copy", stage.name);
    let fill = async |to: &str| stage.command(&["rewind", "--to", to, "--topic", &topic, "--into", &schema]);
    let copy = Stored::of(&stage)?.in_schema(&schema);

    fill(&middle).await?;
    ensure!(copy.count(Source::Sms).await? == 80);
    let early = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    fill(&early).await?;
    ensure!(copy.count(Source::Sms).await? == 280);
    copy.ensure_accounts().await?;
    let tally = copy.tally().await?;
    ensure!((tally.stored, tally.duplicate) == (280, 80), "{tally:?}");
    fill(&middle).await?;
    fill(&early).await?;
    ensure!(copy.tally().await? == tally, "it was read once more");
    Ok(())
}

/// The last offsets of a partition are those of a transaction's end, which no reader ever sees; or Kafka has deleted all
/// that was left.
pub(crate) async fn a_copy_ends_where_nothing_is_left_to_read(stage: Stage) -> Result<()> {
    let topic = stage.topic(Source::Sms);
    let producer: BaseProducer = stage.kafka().set("transactional.id", &stage.name).create()?;
    producer.init_transactions(SOON)?;
    producer.begin_transaction()?;
    for number in 0..20 {
        let user = format!("user-{number}");
        let value = envelope(&user, Utc::now(), vec![record(Source::Sms, number)]).encode(Source::Sms);
        let message = BaseRecord::to(&topic).key(&user).payload(&value);
        producer.send(message).map_err(|(error, _)| error)?;
    }
    producer.commit_transaction(SOON)?;
    let to = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    let schema = format!("{}_copy", stage.name);
    let arguments = ["rewind", "--to", &to, "--topic", &topic, "--into", &schema];
    let said = stage.command(&arguments)?;
    let holds = format!("schema {schema} holds what came after ");
    ensure!(said.starts_with(&holds), "{said}");
    let copy = Stored::of(&stage)?.in_schema(&schema);
    ensure!(copy.count(Source::Sms).await? == 20);

    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 20, 5).await?;
    let ends = stage.ends(&SMS)?;
    let ends = ends
        .iter()
        .map(|(topic, partition, end)| (topic.as_str(), *partition, *end));
    stage.delete_before(ends).await?;
    let said = stage.command(&arguments)?;
    ensure!(said.starts_with(&holds), "{said}");
    ensure!(copy.count(Source::Sms).await? == 20);
    stage.start_ready(&SMS).await?.terminate().await
}
