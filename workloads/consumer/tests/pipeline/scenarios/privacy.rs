//! What people's phones sent is theirs: none of it is in what the consumer writes down, whatever is wrong with it.

use crate::{
    load::{Load, envelope},
    stage::Stage,
    stored::Stored,
};
use anyhow::{Context, Result, ensure};
use chrono::Utc;
use contract::{Source, env, header, metric};
use rdkafka::{Message, message::Headers};
use serde_json::{Value, json};
use sqlx::Executor;

/// What must not be found anywhere.
const PLANTED: [&str; 7] = [
    "Kunigunde",
    "+49 170 5550142",
    "Your code is 905-117",
    "planted-user",
    "planted-id",
    "PLANTED-BANK",
    "planted-field",
];
const USER: &str = "planted-user-71";
const SOURCES: [Source; 2] = [Source::Sms, Source::Contacts];

fn sms(changes: &[(&str, Value)]) -> Value {
    let mut record = json!({
        "id": "planted-id-1", "timestamp": 0, "sender": "PLANTED-BANK", "body": "Your code is 905-117",
    });
    for (name, value) in changes {
        record[*name] = value.clone();
    }
    record
}

fn contact(timestamp: i64) -> Value {
    json!({"id": "planted-id-2", "timestamp": timestamp, "name": "Kunigunde", "phones": ["+49 170 5550142"]})
}

fn upload(user: &str, source: Source, records: Vec<Value>) -> Vec<u8> {
    envelope(user, Utc::now(), records).encode(source)
}

/// Messages with what may be wrong with one; none of them can be stored whole.
fn bad_messages() -> Vec<Vec<u8>> {
    let good = upload(USER, Source::Sms, vec![sms(&[])]);
    let text = String::from_utf8_lossy(&good).into_owned();
    let mut messages = vec![
        b"Kunigunde +49 170 5550142".to_vec(),
        [good.clone(), b"\xff Kunigunde".to_vec()].concat(),
        text.replace("\"v\":1", "\"v\":\"Kunigunde\"").into_bytes(),
        text.replace("\"v\":1", "\"v\":905117").into_bytes(),
        text.replace("\"records\":[", "\"record\":{},\"records\":[")
            .into_bytes(),
        text.replace("\"user\":\"", "\"user\":1,\"planted-field\":\"")
            .into_bytes(),
        text.replace("Your code", "\\ud800 Your code").into_bytes(),
        // Only a store finds out.
        upload("planted-user\u{0}", Source::Sms, vec![sms(&[])]),
        upload(USER, Source::Sms, vec![sms(&[("sender", json!("PLANTED-BANK-9"))])]),
    ];
    let wrong_fields = [
        ("timestamp", json!("Kunigunde")),
        ("timestamp", json!(-905_117)),
        ("sender", json!({"planted-field": "Kunigunde"})),
        ("body", json!(["Your code is 905-117"])),
        ("body", json!("Your code is 905-117 ".repeat(1_000))),
        ("id", json!(["planted-id"])),
        ("planted-field", json!("Kunigunde\u{0}")),
        ("x", json!({"planted-field\u{0}": 1})),
    ];
    let wrong = |change| upload(USER, Source::Sms, vec![sms(&[change]), json!("Kunigunde")]);
    messages.extend(wrong_fields.into_iter().map(wrong));
    messages.extend((1..8).map(|part| good[..good.len() * part / 8].to_vec()));
    messages
}

/// All forms of what may be wrong, with all that is logged, and as it is deployed.
pub(crate) async fn nothing_that_a_message_holds_is_written_down(stage: Stage) -> Result<()> {
    // The tables are there once a reader was.
    stage.start_ready(&SOURCES).await?.terminate().await?;
    let stored = Stored::of(&stage)?;
    // PostgreSQL quotes the whole row where it breaks such a rule.
    let rule = "ALTER TABLE sms ADD CONSTRAINT strict CHECK (sender <> 'PLANTED-BANK-9')";
    stored.connection().await?.execute(rule).await?;
    let mut told = String::new();
    let mut letters = 0;
    for (logs, mongodb) in [("info,consumer=debug,runtime=debug", "contacts"), ("", "*")] {
        let load = Load::new(&stage)?;
        let bad = bad_messages();
        letters += bad.len();
        let keyed = |messages: Vec<Vec<u8>>| messages.into_iter().map(|value| (USER.to_owned(), value)).collect();
        load.send(Source::Sms, keyed(bad)).await?;
        // Twice, then newer, then older: known, replaced and left out.
        let times = [5_000, 5_000, 6_000, 4_000];
        let contacts = times.map(|time| upload(USER, Source::Contacts, vec![contact(time)]));
        load.send(Source::Contacts, keyed(contacts.to_vec())).await?;
        load.send(Source::Sms, keyed(vec![upload(USER, Source::Sms, vec![sms(&[])])]))
            .await?;

        let mut changes = vec![
            (env::MONGODB_ENABLED_SOURCES, mongodb.to_owned()),
            // Nothing here is as good as usual.
            (consumer::config::DEAD_LETTER_LIMIT_PERCENT, "0".to_owned()),
        ];
        if !logs.is_empty() {
            changes.push(("RUST_LOG", logs.to_owned()));
        }
        let reader = stage.start(&SOURCES, &changes)?;
        reader.until_ready().await?;
        stage.until_no_lag(&SOURCES).await?;
        let dead = reader.metric(metric::CONSUMER_RECORDS, "dead_lettered").await?;
        ensure!(dead >= bad_messages().len() as f64, "{dead} dead letters");
        for path in ["/metrics", "/ready", "/healthz"] {
            told += &reader.text(path).await?;
        }
        let log = reader.log()?;
        ensure!(log.contains("record dead-lettered"), "{log}");
        told += &log;
        reader.terminate().await?;
    }
    for arguments in [&["list"][..], &["list", "--json"], &["replay", "--dry-run"]] {
        told += &stage.dlq(arguments)?;
    }
    // A letter keeps key and value; why it was written holds nothing of them.
    let found = stage.read_all(&header::dead_letter_topic(&stage.topic(Source::Sms)))?;
    ensure!(found.len() >= letters, "{} of {letters} letters", found.len());
    for letter in &found {
        for header in letter.headers().context("no headers")?.iter() {
            let value = String::from_utf8_lossy(header.value.unwrap_or_default());
            told += &format!("{}: {value}\n", header.key);
        }
    }
    for line in told.lines() {
        let lower = line.to_lowercase();
        let planted = PLANTED.iter().find(|planted| lower.contains(&planted.to_lowercase()));
        ensure!(planted.is_none(), "{planted:?} is in {line}");
    }
    Ok(())
}
