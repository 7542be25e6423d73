//! Records that are no good, and records that come again.

use crate::world::{Case, SOON, with_pipeline};
use ::e2e::eventually::eventually;
use ::e2e::pipeline::TENANT;
use anyhow::{Result, ensure};
use chrono::Utc;
use contract::identity::record_id;
use contract::message::ENVELOPE_VERSION;
use contract::{Envelope, Source, header};
use generator::traffic::{Mix, Traffic};
use serde_json::json;
use std::collections::BTreeSet;
use uuid::Uuid;

const USER: &str = "user-1";
const DEVICE: &str = "device-1";

/// A message of sms with these records.
fn message(records: Vec<serde_json::Value>) -> Vec<u8> {
    let envelope = Envelope {
        version: ENVELOPE_VERSION,
        tenant: TENANT.to_owned(),
        user: USER.to_owned(),
        device: DEVICE.to_owned(),
        batch_id: Uuid::new_v5(&Uuid::NAMESPACE_OID, b"poison"),
        received_at: Utc::now(),
        records,
    };
    envelope.encode(Source::Sms)
}

async fn stored_ids(case: &Case) -> Result<(BTreeSet<Uuid>, BTreeSet<Uuid>)> {
    let rows = case
        .stores
        .rows(Source::Sms)
        .await?
        .into_iter()
        .map(|row| row.record_id)
        .collect();
    Ok((rows, case.stores.documents(Source::Sms).await?.into_iter().collect()))
}

#[tokio::test]
async fn what_cannot_be_stored_is_set_aside_and_the_rest_is_stored() {
    with_pipeline(
        "poison",
        |_| {},
        async |case| {
            let names = &case.names;
            let topic = names.topic(Source::Sms);
            let now = Utc::now().timestamp_millis();
            let good = |id: &str| json!({"id": id, "timestamp": now, "sender": "BANK", "body": format!("paid {id}")});
            let nameless = json!({"id": "bad", "timestamp": now, "sender": "BANK"});
            let batch = message(vec![good("a"), nameless, good("b")]);
            let (partition, offset) = case.kafka.send(&topic, USER, batch.clone()).await?;
            let garbage = b"this is no envelope".to_vec();
            let (garbage_partition, garbage_offset) = case.kafka.send(&topic, USER, garbage.clone()).await?;
            case.kafka.send(&topic, USER, message(vec![good("c")])).await?;

            let id = |name: &str| record_id(TENANT, Source::Sms, USER, DEVICE, &good(name));
            let expected = BTreeSet::from([id("a"), id("b"), id("c")]);
            eventually("the good records are stored", SOON, async || {
                let (rows, documents) = stored_ids(case).await?;
                ensure!(
                    rows == expected && documents == expected,
                    "rows {rows:?}, documents {documents:?}"
                );
                Ok(Some(()))
            })
            .await?;

            let mut letters = case.kafka.dead_letters(&names.dead_letter_topic(Source::Sms)).await?;
            letters.sort_by_key(|letter| letter.origin().map(|(_, partition, offset)| (partition, offset)));
            assert_eq!(letters.len(), 2, "{letters:?}");
            let record = letters
                .iter()
                .find(|letter| letter.origin() == Some((topic.clone(), partition, offset)))
                .unwrap();
            assert_eq!(record.index(), Some(1), "the guilty record is named");
            assert_eq!(record.headers[header::ERROR_CLASS], "validation");
            assert_eq!(record.headers[header::ERROR], "body: is missing");
            assert_eq!(record.headers[header::STAGE], "consumer");
            assert_eq!(
                (record.key.as_slice(), &record.value),
                (USER.as_bytes(), &batch),
                "the message is unchanged"
            );
            let origin = Some((topic.clone(), garbage_partition, garbage_offset));
            let whole = letters.iter().find(|letter| letter.origin() == origin).unwrap();
            assert_eq!(whole.index(), None, "the whole message is guilty");
            assert_eq!(whole.headers[header::ERROR_CLASS], "decode");
            assert_eq!(whole.value, garbage);
            Ok(())
        },
    )
    .await;
}

#[tokio::test]
async fn what_comes_again_is_stored_once() {
    with_pipeline(
        "again",
        |_| {},
        async |case| {
            let phases = "once:4s@10x5";
            let first = case.traffic(phases, None).await?;
            let (_, receipts) = case.answered(&first, SOON).await?;
            case.all_stored_once(&receipts).await?;

            // The same seed has the same client ids, though the records say that they happened later.
            let second = case.traffic(phases, None).await?;
            let (_, again) = case.answered(&second, SOON).await?;
            let ids = |receipts: &[generator::tally::AcceptedRecord]| -> BTreeSet<Uuid> {
                receipts.iter().map(|accepted| accepted.receipt.record_id).collect()
            };
            assert_eq!(ids(&again), ids(&receipts));
            let topics = case.names.topics_by_consumer();
            let all: Vec<_> = topics.values().flatten().cloned().collect();
            eventually("everything is read", SOON, async || {
                for source in &case.names.sources {
                    let topic = case.names.topic(*source);
                    let partitions = [(topic.clone(), source.partitions() as usize)].into();
                    let lag = case.kafka.lag(&case.names.group(*source), &partitions).await?;
                    ensure!(lag[&topic] == 0, "{all:?}: lag is {lag:?}");
                }
                Ok(Some(()))
            })
            .await?;
            let verdict = case.verdict(&again).await?;
            assert_eq!((verdict.lost(), verdict.twice()), (0, 0), "{verdict}");
            assert_eq!(
                (verdict.rows, verdict.documents),
                (receipts.len(), receipts.len()),
                "{verdict}"
            );

            // The generator made what it says: the library makes the same uploads here.
            let traffic = Traffic::new(7, Utc::now(), Mix::default());
            let count: usize = (0..40)
                .map(|number| traffic.upload(number, Some(5)).request.records.len())
                .sum();
            assert_eq!(count, receipts.len());
            Ok(())
        },
    )
    .await;
}
