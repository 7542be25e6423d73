//! Records that cannot be stored.

use crate::{
    load::{Load, envelope, record},
    stage::Stage,
    stored::Stored,
    wait,
};
use anyhow::{Context, Result, ensure};
use chrono::Utc;
use contract::{Source, env, header, metric};
use rdkafka::{
    Message,
    admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier},
    client::DefaultClientContext,
    message::{Headers, OwnedMessage},
};
use serde_json::json;
use sqlx::Executor;
use std::{collections::BTreeMap, time::Duration};

/// Only the database knows a rule that somebody gave its table.
pub(crate) async fn what_postgresql_refuses_is_dead_lettered(stage: Stage) -> Result<()> {
    stage.start_ready(&[Source::Sms]).await?.terminate().await?;
    let rule = "ALTER TABLE sms ADD CONSTRAINT strict CHECK (sender <> 'BLOCKED')";
    Stored::of(&stage)?.connection().await?.execute(rule).await?;
    let refusal = "SQLSTATE 23514: a constraint of the table is violated";
    poisoned(stage, "sender", json!("BLOCKED"), refusal).await
}

/// What a trigger refuses cannot be known before: it is looked for.
pub(crate) async fn what_a_trigger_refuses_is_dead_lettered(stage: Stage) -> Result<()> {
    stage.start_ready(&[Source::Sms]).await?.terminate().await?;
    let function = "CREATE FUNCTION strict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                    IF NEW.sender = 'BLOCKED' THEN RAISE check_violation; END IF; RETURN NEW; END $$";
    let trigger = "CREATE TRIGGER strict BEFORE INSERT ON sms FOR EACH ROW EXECUTE FUNCTION strict()";
    let mut connection = Stored::of(&stage)?.connection().await?;
    connection.execute(function).await?;
    connection.execute(trigger).await?;
    let refusal = "SQLSTATE 23514: a constraint of the table is violated";
    poisoned(stage, "sender", json!("BLOCKED"), refusal).await
}

/// Rules of a table may change at any time: none is held against a record that the table has no more, and none is
/// overlooked that it has now.
pub(crate) async fn rules_of_tables_change(stage: Stage) -> Result<()> {
    let sources = [Source::Sms];
    let reader = stage.start_ready(&sources).await?;
    let stored = Stored::of(&stage)?;
    let mut connection = stored.connection().await?;
    let mut load = Load::new(&stage)?;
    let letters = header::dead_letter_topic(&stage.topic(Source::Sms));
    let mends = "CREATE FUNCTION mend() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF NEW.sender = 'ONE' THEN NEW.sender = 'MENDED'; END IF; RETURN NEW; END $$; \
                 CREATE TRIGGER mend BEFORE INSERT ON sms FOR EACH ROW EXECUTE FUNCTION mend()";
    let drop = "ALTER TABLE sms DROP CONSTRAINT strict";
    let one = "ALTER TABLE sms ADD CONSTRAINT strict CHECK (sender <> 'ONE') NOT VALID";
    let two = "ALTER TABLE sms DROP CONSTRAINT strict; \
               ALTER TABLE sms ADD CONSTRAINT strict CHECK (sender <> 'TWO') NOT VALID";
    // Of a COPY, which goes to another table than its rows.
    let by_table =
        "ALTER TABLE sms ADD CONSTRAINT strict CHECK (sender <> 'TWO' AND tableoid <> 'sms'::regclass) NOT VALID";
    let as_before = "SELECT";
    let changes = [
        (one, 1),
        (as_before, 1),
        (two, 1),
        (drop, 0),
        (by_table, 1),
        (drop, 0),
        (one, 1),
        (as_before, 1),
        (mends, 0),
    ];
    let (mut rows, mut refused) = (0, 0);
    for (round, (change, expected)) in changes.into_iter().enumerate() {
        connection.execute(sqlx::raw_sql(change)).await?;
        let records = (0..10).map(|number| {
            let mut record = record(Source::Sms, 10 * round as u64 + number);
            match number {
                3 => record["sender"] = "ONE".into(),
                7 => record["sender"] = "TWO".into(),
                _ => {}
            }
            record
        });
        load.upload_records(Source::Sms, "user-1", records.collect()).await?;
        stage.until_no_lag(&sources).await?;
        rows += 10 - expected;
        refused += expected;
        let found = (
            stored.count(Source::Sms).await? as i64,
            stage.read_all(&letters)?.len() as i64,
        );
        ensure!(
            found == (rows, refused),
            "{change}: {found:?} rows and dead letters, not {:?}",
            (rows, refused)
        );
    }
    reader.until_ready().await?;
    reader.terminate().await
}

/// This server of the MongoDB protocol takes no such name of a field; MongoDB itself would.
pub(crate) async fn what_mongodb_refuses_is_dead_lettered(stage: Stage) -> Result<()> {
    let refusal = "error (2): the document cannot be stored";
    poisoned(stage, "a.b", json!(1), refusal).await
}

/// Messages that are no envelope, a record with a wrong field, and two that a store refuses for the value of one field;
/// the rest of their batch is stored, in both stores.
async fn poisoned(stage: Stage, field: &str, value: serde_json::Value, refusal: &str) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 20, 25).await?;
    let no_envelope = ("user-1".to_owned(), b"{\"v\": 1, \"tenant\"".to_vec());
    let mixed = envelope(
        "user-2",
        Utc::now(),
        vec![
            record(Source::Sms, 900_000),
            json!({"id": "bad", "timestamp": 0, "sender": 7, "body": "b"}),
        ],
    );
    let mixed = ("user-2".to_owned(), mixed.encode(Source::Sms));
    let bad = |number| {
        let mut bad = record(Source::Sms, number);
        bad[field] = value.clone();
        bad
    };
    let refused = envelope("user-3", Utc::now(), vec![bad(900_001), bad(900_002)]);
    let refused = ("user-3".to_owned(), refused.encode(Source::Sms));
    let nobody = envelope("user\u{0}4", Utc::now(), vec![record(Source::Sms, 900_003)]);
    let nobody = ("user-4".to_owned(), nobody.encode(Source::Sms));
    let messages = [&no_envelope, &mixed, &refused, &nobody];
    load.send(Source::Sms, messages.into_iter().cloned().collect()).await?;
    load.upload(Source::Sms, 20, 25).await?;

    let changes = [(env::MONGODB_ENABLED_SOURCES, "*".to_owned())];
    let reader = stage.start(&[Source::Sms], &changes)?;
    reader.until_ready().await?;
    stage.until_no_lag(&[Source::Sms]).await?;
    let stored = Stored::of(&stage)?;
    ensure!(
        stored.count(Source::Sms).await? == 1_001,
        "the rest of the batch is stored"
    );
    let documents = stored.documents(Source::Sms).await?.len();
    ensure!(documents == 1_001, "{documents} documents");
    ensure!(reader.metric(metric::CONSUMER_RECORDS, "outcome=\"stored\"").await? == 1_001.0);
    ensure!(reader.metric(metric::CONSUMER_RECORDS, "dead_lettered").await? == 5.0);
    ensure!(reader.metric(metric::CONSUMER_RECORDS, "duplicate").await? == 0.0);

    let letters = stage.read_all(&header::dead_letter_topic(&stage.topic(Source::Sms)))?;
    ensure!(letters.len() == 5, "{} dead letters", letters.len());
    let mut found = Vec::new();
    for letter in &letters {
        let headers = headers(letter)?;
        let get = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
        let (key, value) = (letter.key().context("no key")?, letter.payload().context("no value")?);
        let original = messages
            .iter()
            .position(|(user, message)| key == user.as_bytes() && value == message.as_slice())
            .context("key and value are not those of the original message")?;
        ensure!(get(header::TOPIC) == stage.topic(Source::Sms));
        ensure!(get(header::STAGE) == "consumer");
        ensure!(get(header::ATTEMPT) == "1");
        ensure!(!get(header::TIMESTAMP).is_empty());
        let place = format!("/{}/{}/", get(header::PARTITION), get(header::OFFSET));
        ensure!(get(header::DELIVERY_ID).contains(&place), "{headers:?}");
        found.push((
            original,
            headers.get(header::INDEX).cloned(),
            get(header::ERROR_CLASS).to_owned(),
            get(header::ERROR).to_owned(),
        ));
    }
    found.sort();
    let letter = |original, index: Option<&str>, class: &str, error: &str| {
        (original, index.map(str::to_owned), class.to_owned(), error.to_owned())
    };
    let expected = [
        letter(
            0,
            None,
            "decode",
            "not an envelope: the JSON ends too early at line 1 column 17",
        ),
        letter(1, Some("1"), "validation", "sender: must be a non-empty string"),
        letter(2, Some("0"), "data", refusal),
        letter(2, Some("1"), "data", refusal),
        letter(
            3,
            None,
            "decode",
            "not an envelope: user must be a string of 1 to 256 bytes without U+0000",
        ),
    ];
    ensure!(found == expected, "{found:#?}");
    Ok(())
}

/// A letter that its topic does not take is tried again alone, until somebody lets the topic take it.
pub(crate) async fn a_letter_that_is_too_long_is_written_again_alone(stage: Stage) -> Result<()> {
    let letters = header::dead_letter_topic(&stage.topic(Source::Sms));
    let admin: AdminClient<DefaultClientContext> = stage.kafka().create()?;
    let longest = async |bytes: &str| {
        let topic = ResourceSpecifier::Topic(&letters);
        let config = AlterConfig::new(topic).set("max.message.bytes", bytes);
        let altered = admin.alter_configs([&config], &AdminOptions::new()).await?.remove(0);
        altered.map(drop).map_err(|(_, code)| anyhow::anyhow!("{code}"))
    };
    longest("20000").await?;
    let load = Load::new(&stage)?;
    // What does not become shorter when it is compressed.
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let long: Vec<u8> = (0..30_000).map(|_| next()).collect();
    let short = (0..50).map(|number| (format!("user-{number}"), b"{".to_vec()));
    let messages = short.chain([("user".to_owned(), long)]).collect();
    load.send(Source::Sms, messages).await?;
    // In one batch.
    let changes = [
        (env::BATCH_LINGER_MS, "1500".to_owned()),
        (env::PARALLEL_WRITES, "1".to_owned()),
    ];
    let reader = stage.start(&[Source::Sms], &changes)?;
    wait::until("it is tried again", Duration::from_secs(60), async || {
        let retries = reader.metric(metric::CONSUMER_RETRIES, "dead_letters").await?;
        Ok((retries < 3.0).then(|| retries.to_string()))
    })
    .await?;
    ensure!(stage.read_all(&letters)?.len() == 50);
    longest("100000").await?;
    stage.until_no_lag(&[Source::Sms]).await?;
    ensure!(stage.read_all(&letters)?.len() == 51);
    reader.until_ready().await?;
    reader.terminate().await
}

/// What was given up because of the table is stored once the table is repaired; until then a replay gives up the same
/// again, and never more.
pub(crate) async fn dead_letters_are_sent_again(stage: Stage) -> Result<()> {
    let sources = [Source::Sms];
    let reader = stage.start_ready(&sources).await?;
    let stored = Stored::of(&stage)?;
    let mut connection = stored.connection().await?;
    connection
        .execute("ALTER TABLE sms ADD CONSTRAINT strict CHECK (sender <> 'BLOCKED')")
        .await?;
    let mut load = Load::new(&stage)?;
    let records = (0..12).map(|number| {
        let mut record = record(Source::Sms, number);
        if number % 6 == 5 {
            record["sender"] = "BLOCKED".into();
        }
        record
    });
    load.upload_records(Source::Sms, "user-1", records.collect()).await?;
    stage.until_no_lag(&sources).await?;
    ensure!(stored.count(Source::Sms).await? == 10, "the others are stored");

    let listed = stage.dlq(&["list", "--json"])?;
    let letters: Vec<serde_json::Value> = listed.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let indices: Vec<_> = letters.iter().map(|letter| letter["index"].as_i64()).collect();
    ensure!(indices == [Some(5), Some(11)], "{listed}");
    ensure!(!listed.contains("BLOCKED"), "a list holds no content");
    let place = &letters[0]["letter"];
    let topic = place["topic"].as_str().context("no topic")?;
    let shown = stage.dlq(&["show", topic, "0", &place["offset"].to_string()])?;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    ensure!(shown["value"]["records"][5]["sender"] == "BLOCKED", "{shown}");
    ensure!(stage.dlq(&["list", "--json", "--class", "decode"])?.is_empty());
    ensure!(
        stage.dlq(&["list", "--json", "--topic", topic])?.lines().count() == 2,
        "{topic}"
    );
    let typo = stage.dlq(&["list", "--topic", "sms_batch"]);
    ensure!(typo.is_err_and(|error| error.to_string().contains("topic sms_batch is none of this consumer's")));

    let planned = stage.dlq(&["replay", "--dry-run"])?;
    ensure!(planned == "1 messages of 2 dead letters would be sent\n", "{planned}");
    let sent = stage.dlq(&["replay"])?;
    ensure!(sent == "1 messages of 2 dead letters sent\n", "{sent}");
    stage.until_no_lag(&sources).await?;
    let planned = stage.dlq(&["replay", "--dry-run"])?;
    ensure!(planned == "1 messages of 4 dead letters would be sent\n", "{planned}");

    connection.execute("ALTER TABLE sms DROP CONSTRAINT strict").await?;
    stage.dlq(&["replay"])?;
    stage.until_no_lag(&sources).await?;
    stored.ensure_exactly(&load.expected).await?;
    reader.terminate().await
}

fn headers(letter: &OwnedMessage) -> Result<BTreeMap<String, String>> {
    let headers = letter.headers().context("no headers")?;
    headers
        .iter()
        .map(|header| {
            Ok((
                header.key.to_owned(),
                String::from_utf8(header.value.unwrap_or_default().to_vec())?,
            ))
        })
        .collect()
}
