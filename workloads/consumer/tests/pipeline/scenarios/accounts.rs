//! What became of everything that was accepted.

use crate::{
    load::{Load, envelope, record},
    stage::{PARTITIONS, Stage, end_of, first_word_of},
    stored::{MOVE_BACK, Stored},
    wait,
};
use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use contract::{Source, env, header, metric};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor};
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
    let all_but_one = ends.iter().map(|(topic, partition, end)| (topic.as_str(), *partition, *end - 1));
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
    other.execute("CREATE TABLE ledger AS SELECT 'their-group' AS group_id").await?;
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
    let ends = ends.iter().map(|(topic, partition, end)| (topic.as_str(), *partition, *end));
    stage.delete_before(ends).await?;
    let said = stage.command(&arguments)?;
    ensure!(said.starts_with(&holds), "{said}");
    ensure!(copy.count(Source::Sms).await? == 20);
    stage.start_ready(&SMS).await?.terminate().await
}

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
    writing.execute(AssertSqlSafe(format!("BEGIN; {lock}; SELECT FROM ledger FOR UPDATE"))).await?;

    let mut erasing = stage.start_command(&["erase", "user-0"])?;
    let said = first_word_of(&mut erasing)?;
    ensure!(said == "waiting for writes that are under way\n", "{said}");
    let mut beginning = stored.connection().await?;
    for _ in 0..3 {
        let next = AssertSqlSafe(format!("BEGIN; SET LOCAL lock_timeout = '8s'; {lock}; COMMIT"));
        beginning.execute(next).await.context("who begins to write waits behind the erasure")?;
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
    let dropping = AssertSqlSafe(format!("DROP SCHEMA {schema} CASCADE"));
    copy.connection().await?.execute(dropping).await?;
    stage.command(&["erase", "stays"])?;
    reader.terminate().await
}

/// A release of the producer that writes what nobody understands: it is kept, not given up, until somebody says so.
pub(crate) async fn where_nearly_nothing_can_be_stored_nothing_is_given_up(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 4, 25).await?;
    let wrong = |number: u64| {
        let records = (0..50)
            .map(|index| json!({"id": format!("{number}-{index}")}))
            .collect();
        let user = format!("user-{number}");
        (user.clone(), envelope(&user, Utc::now(), records).encode(Source::Sms))
    };
    // Enough for each lane.
    load.send(Source::Sms, (0..400).map(wrong).collect()).await?;
    // Lanes fill to thousands before they are written, so that each begins with what is wrong.
    let reader = stage.start(&SMS, &[(env::BATCH_LINGER_MS, "1500".to_owned())])?;
    reader.until_not_ready(&["dead_letters"]).await?;
    wait::until("every breaker is open", SOON, async || {
        let open = reader.metric(metric::CONSUMER_BREAKERS, "").await?;
        Ok((open != 2.0).then(|| open.to_string()))
    })
    .await?;
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
