//! Lost and twice.
//!
//! A receipt without its row or dead letter, or without its document, is lost. One record id or one delivery stored
//! in two rows is twice.

use crate::kafka::Kafka;
use crate::pipeline::Names;
use crate::stores::{Row, Stores};
use anyhow::Result;
use contract::{RecordId, Source};
use futures::future::try_join_all;
use generator::tally::AcceptedRecord;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::Hash;
use uuid::Uuid;

/// Findings of a kind that are named.
const NAMED: usize = 3;

/// What was promised and what is there.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// Receipts of accepted records.
    pub receipts: Vec<AcceptedRecord>,
    /// Rows in PostgreSQL.
    pub rows: BTreeMap<Source, Vec<Row>>,
    /// Ids of documents in MongoDB.
    pub documents: BTreeMap<Source, Vec<RecordId>>,
    /// Dead letters by topic, partition and offset of the original, with the place of the record.
    pub dead_letters: Vec<(String, i32, i64, Option<i32>)>,
}

impl Evidence {
    /// Reads stores and dead-letter topics.
    pub async fn collect(
        stores: &Stores,
        kafka: &Kafka,
        names: &Names,
        receipts: Vec<AcceptedRecord>,
    ) -> Result<Evidence> {
        let mut evidence = Evidence {
            receipts,
            ..Evidence::default()
        };
        let exist = kafka.topic_names().await?;
        let stored = names.sources.iter().map(async |source| {
            let (rows, documents) = tokio::try_join!(stores.rows(*source), stores.documents(*source))?;
            anyhow::Ok((*source, rows, documents))
        });
        for (source, rows, documents) in try_join_all(stored).await? {
            evidence.rows.insert(source, rows);
            evidence.documents.insert(source, documents);
            let topic = names.dead_letter_topic(source);
            if exist.contains(&topic) {
                for letter in kafka.dead_letters(&topic).await? {
                    let index = letter.index();
                    let origin = letter.origin();
                    evidence
                        .dead_letters
                        .extend(origin.map(|(topic, partition, offset)| (topic, partition, offset, index)));
                }
            }
        }
        Ok(evidence)
    }
}

/// The judgement over some [`Evidence`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Receipts.
    pub receipts: usize,
    /// Rows in PostgreSQL, also of records without a receipt.
    pub rows: usize,
    /// Documents in MongoDB, also of records without a receipt.
    pub documents: usize,
    /// Receipts that ended in a dead-letter topic.
    pub dead_lettered: usize,
    /// Receipts without a row, nor a dead letter.
    pub without_row: Vec<String>,
    /// Receipts without a document, nor a dead letter.
    pub without_document: Vec<String>,
    /// Record ids in more than one row.
    pub records_twice: Vec<String>,
    /// Deliveries in more than one row.
    pub deliveries_twice: Vec<String>,
}

impl Verdict {
    /// Judges.
    pub fn of(evidence: &Evidence) -> Verdict {
        let mut verdict = Verdict {
            receipts: evidence.receipts.len(),
            rows: evidence.rows.values().map(Vec::len).sum(),
            documents: evidence.documents.values().map(Vec::len).sum(),
            ..Verdict::default()
        };
        let mut rows: HashSet<(Source, RecordId)> = HashSet::new();
        let mut deliveries: HashSet<(Uuid, i32, i64, i32)> = HashSet::new();
        for (source, row) in evidence
            .rows
            .iter()
            .flat_map(|(source, rows)| rows.iter().map(move |row| (*source, row)))
        {
            if !rows.insert((source, row.record_id)) {
                verdict.records_twice.push(format!("{source} record {}", row.record_id));
            }
            if !deliveries.insert((row.topic_id, row.partition, row.offset, row.index)) {
                verdict.deliveries_twice.push(format!(
                    "{source} partition {} offset {} index {}",
                    row.partition, row.offset, row.index
                ));
            }
        }
        let documents = set(evidence
            .documents
            .iter()
            .flat_map(|(source, ids)| ids.iter().map(|id| (*source, *id))));
        let dead = set(evidence.dead_letters.iter().cloned());
        for AcceptedRecord { source, receipt } in &evidence.receipts {
            let place = |index| (receipt.topic.clone(), receipt.partition, receipt.offset, index);
            if dead.contains(&place(None)) || dead.contains(&place(Some(receipt.index))) {
                verdict.dead_lettered += 1;
                continue;
            }
            let id = (*source, receipt.record_id);
            let name = || {
                let (partition, offset, index) = (receipt.partition, receipt.offset, receipt.index);
                format!(
                    "{source} record {} of partition {partition} offset {offset} index {index}",
                    receipt.record_id
                )
            };
            if !rows.contains(&id) {
                verdict.without_row.push(name());
            }
            if !documents.contains(&id) {
                verdict.without_document.push(name());
            }
        }
        verdict
    }

    /// Records that a store lacks; one that both lack counts once.
    pub fn lost(&self) -> usize {
        set(self.without_row.iter().chain(&self.without_document)).len()
    }

    /// Rows too many.
    pub fn twice(&self) -> usize {
        self.records_twice.len().max(self.deliveries_twice.len())
    }
}

fn set<T: Eq + Hash>(items: impl Iterator<Item = T>) -> HashSet<T> {
    items.collect()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict {
            receipts,
            rows,
            documents,
            ..
        } = self;
        write!(f, "{receipts} receipts, {rows} rows, {documents} documents, ")?;
        write!(
            f,
            "{} dead letters: {} lost, {} twice",
            self.dead_lettered,
            self.lost(),
            self.twice()
        )?;
        let kinds = [
            ("no row", &self.without_row),
            ("no document", &self.without_document),
            ("two rows of one record", &self.records_twice),
            ("two rows of one delivery", &self.deliveries_twice),
        ];
        for (kind, found) in kinds.into_iter().filter(|(_, found)| !found.is_empty()) {
            let named = found.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
            write!(f, "\n  {kind}: {}, for example {named}", found.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Receipt;

    fn receipt(offset: i64) -> AcceptedRecord {
        AcceptedRecord {
            source: Source::Sms,
            receipt: Receipt {
                cluster: "c".into(),
                topic: "sms_batched".into(),
                partition: 0,
                offset,
                index: 0,
                record_id: Uuid::from_u128(offset as u128),
            },
        }
    }

    fn row(id: u128, offset: i64) -> Row {
        Row {
            record_id: Uuid::from_u128(id),
            topic_id: Uuid::nil(),
            partition: 0,
            offset,
            index: 0,
        }
    }

    fn evidence(rows: Vec<Row>, documents: &[u128]) -> Evidence {
        Evidence {
            receipts: vec![receipt(1), receipt(2)],
            rows: [(Source::Sms, rows)].into(),
            documents: [(Source::Sms, documents.iter().map(|id| Uuid::from_u128(*id)).collect())].into(),
            dead_letters: Vec::new(),
        }
    }

    #[test]
    fn everything_in_its_place_is_neither_lost_nor_twice() {
        let verdict = Verdict::of(&evidence(vec![row(1, 1), row(2, 2), row(3, 3)], &[1, 2, 3]));
        assert_eq!((verdict.lost(), verdict.twice()), (0, 0));
        assert_eq!(
            verdict.to_string(),
            "2 receipts, 3 rows, 3 documents, 0 dead letters: 0 lost, 0 twice"
        );
    }

    #[test]
    fn a_record_missing_in_either_store_is_lost_once() {
        assert_eq!(Verdict::of(&evidence(vec![row(1, 1)], &[1])).lost(), 1);
        assert_eq!(Verdict::of(&evidence(vec![row(1, 1)], &[1, 2])).lost(), 1);
        assert_eq!(Verdict::of(&evidence(vec![row(1, 1)], &[2])).lost(), 2);
    }

    #[test]
    fn a_record_under_another_source_is_lost() {
        let mut moved = evidence(vec![row(1, 1), row(2, 2)], &[1, 2]);
        let rows = moved.rows.remove(&Source::Sms).unwrap();
        moved.rows.insert(Source::Events, rows);
        assert_eq!(Verdict::of(&moved).lost(), 2);
    }

    #[test]
    fn a_dead_letter_is_neither_lost_nor_stored() {
        let mut found = evidence(vec![row(1, 1)], &[1]);
        found.dead_letters = vec![("sms_batched".into(), 0, 2, None)];
        let verdict = Verdict::of(&found);
        assert_eq!((verdict.lost(), verdict.dead_lettered), (0, 1));
        found.dead_letters = vec![("sms_batched".into(), 0, 2, Some(1))];
        assert_eq!(
            Verdict::of(&found).lost(),
            1,
            "another record of the message is dead, not this one"
        );
    }

    #[test]
    fn a_record_or_a_delivery_in_two_rows_is_twice() {
        let verdict = Verdict::of(&evidence(vec![row(1, 1), row(2, 2), row(2, 3)], &[1, 2]));
        assert_eq!(
            (
                verdict.records_twice.len(),
                verdict.deliveries_twice.len(),
                verdict.twice()
            ),
            (1, 0, 1)
        );
        let verdict = Verdict::of(&evidence(vec![row(1, 1), row(2, 2), row(3, 2)], &[1, 2, 3]));
        assert_eq!(
            (
                verdict.records_twice.len(),
                verdict.deliveries_twice.len(),
                verdict.twice()
            ),
            (0, 1, 1)
        );
        assert!(verdict.to_string().contains("two rows of one delivery: 1"), "{verdict}");
    }
}
