//! What became of the uploads: progress for a glance, receipts for a proof.

use contract::{Receipt, RecordId, RecordResult, Source, SyncResponse};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Messages of refusals that are kept.
const KEPT_REFUSALS: usize = 5;

/// Counts of uploads, and of the records in accepted ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Counts {
    /// Uploads handed to the producer at least once.
    pub sent: u64,
    /// Uploads with a receipt for every record.
    pub accepted: u64,
    /// Attempts after an upload's first.
    pub retried: u64,
    /// Uploads that the producer refused for good.
    pub refused: u64,
    /// Uploads without a final answer when the run gave up: stored or not.
    pub unknown: u64,
    /// Records in accepted uploads.
    pub records: u64,
}

/// Answer of `GET /progress`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Name of the present phase; of the last one after the end.
    pub phase: String,
    /// Every phase is over and every upload has its answer or was given up.
    pub finished: bool,
    /// Since the first phase began.
    pub elapsed_seconds: f64,
    /// All sources together.
    #[serde(flatten)]
    pub total: Counts,
    /// Uploads that wait for an answer or a retry.
    pub in_flight: u64,
    /// Uploads that were due but not sent, because too many others waited for an answer.
    pub withheld: u64,
    /// Each source.
    pub sources: BTreeMap<Source, Counts>,
    /// Sources that the producer does not take in its region, with its words.
    pub skipped: BTreeMap<Source, String>,
    /// The first refusals, in the producer's words.
    pub refusals: Vec<String>,
}

/// One line of `GET /receipts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedRecord {
    /// Source of the record.
    pub source: Source,
    /// Its receipt.
    #[serde(flatten)]
    pub receipt: Receipt,
}

/// How an upload ended.
#[derive(Debug)]
pub enum Outcome {
    /// The producer's answer.
    Accepted(SyncResponse),
    /// The producer's words.
    Refused(String),
    /// The producer's words: not in this region.
    NotInRegion(String),
    /// Given up without an answer.
    Unknown,
}

/// Collects outcomes; shared by all senders.
#[derive(Debug)]
pub struct Tally {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    phase: String,
    ended: Option<Duration>,
    withheld: u64,
    sources: BTreeMap<Source, Counts>,
    skipped: BTreeMap<Source, String>,
    refusals: Vec<String>,
    /// Cluster and topic of receipts: few, so that each receipt holds a number only.
    places: Vec<(String, String)>,
    receipts: Vec<Kept>,
}

#[derive(Debug)]
struct Kept {
    source: Source,
    place: usize,
    partition: i32,
    offset: i64,
    index: i32,
    record_id: RecordId,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            began: Instant::now(),
            state: Mutex::default(),
        }
    }
}

impl Tally {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is complete in itself, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A phase begins.
    pub fn enter(&self, phase: &str) {
        self.state().phase = phase.to_owned();
    }

    /// The run is over.
    pub fn finish(&self) {
        let elapsed = self.began.elapsed();
        self.state().ended.get_or_insert(elapsed);
    }

    /// Uploads that were due and could not be sent.
    pub fn withhold(&self, uploads: u64) {
        self.state().withheld += uploads;
    }

    /// Whether the producer said that it does not take this source.
    pub fn is_skipped(&self, source: Source) -> bool {
        self.state().skipped.contains_key(&source)
    }

    /// An upload goes out for the first time.
    pub fn sent(&self, source: Source) {
        self.state().sources.entry(source).or_default().sent += 1;
    }

    /// An upload goes out again.
    pub fn retried(&self, source: Source) {
        self.state().sources.entry(source).or_default().retried += 1;
    }

    /// An upload has ended.
    pub fn ended(&self, source: Source, outcome: Outcome) {
        let state = &mut *self.state();
        let counts = state.sources.entry(source).or_default();
        match outcome {
            Outcome::Accepted(response) => {
                counts.accepted += 1;
                counts.records += response.receipts().count() as u64;
                for result in response.results {
                    if let RecordResult::Stored { receipt } = result {
                        state.keep(source, receipt);
                    }
                }
            }
            Outcome::Refused(words) => {
                counts.refused += 1;
                if state.refusals.len() < KEPT_REFUSALS {
                    state.refusals.push(format!("{source}: {words}"));
                }
            }
            Outcome::NotInRegion(words) => {
                // It was no traffic for this producer.
                counts.sent -= 1;
                state.skipped.entry(source).or_insert(words);
            }
            Outcome::Unknown => counts.unknown += 1,
        }
    }

    /// How far the run is.
    pub fn progress(&self) -> Progress {
        let state = self.state();
        let mut total = Counts::default();
        for counts in state.sources.values() {
            total.sent += counts.sent;
            total.accepted += counts.accepted;
            total.retried += counts.retried;
            total.refused += counts.refused;
            total.unknown += counts.unknown;
            total.records += counts.records;
        }
        Progress {
            phase: state.phase.clone(),
            finished: state.ended.is_some(),
            elapsed_seconds: state.ended.unwrap_or_else(|| self.began.elapsed()).as_secs_f64(),
            in_flight: total.sent - total.accepted - total.refused - total.unknown,
            total,
            withheld: state.withheld,
            sources: state.sources.clone(),
            skipped: state.skipped.clone(),
            refusals: state.refusals.clone(),
        }
    }

    /// Up to `limit` receipts from the `from`-th on, in the order of their arrival.
    pub fn receipts(&self, from: usize, limit: usize) -> Vec<AcceptedRecord> {
        let state = self.state();
        state
            .receipts
            .iter()
            .skip(from)
            .take(limit)
            .map(|kept| state.show(kept))
            .collect()
    }
}

impl State {
    fn keep(&mut self, source: Source, receipt: Receipt) {
        let known = self
            .places
            .iter()
            .position(|(cluster, topic)| *cluster == receipt.cluster && *topic == receipt.topic);
        let place = known.unwrap_or_else(|| {
            self.places.push((receipt.cluster, receipt.topic));
            self.places.len() - 1
        });
        self.receipts.push(Kept {
            source,
            place,
            partition: receipt.partition,
            offset: receipt.offset,
            index: receipt.index,
            record_id: receipt.record_id,
        });
    }

    fn show(&self, kept: &Kept) -> AcceptedRecord {
        let (cluster, topic) = self.places[kept.place].clone();
        AcceptedRecord {
            source: kept.source,
            receipt: Receipt {
                cluster,
                topic,
                partition: kept.partition,
                offset: kept.offset,
                index: kept.index,
                record_id: kept.record_id,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn receipt(topic: &str, offset: i64) -> Receipt {
        Receipt {
            cluster: "c".into(),
            topic: topic.into(),
            partition: 3,
            offset,
            index: 1,
            record_id: Uuid::from_u128(offset as u128),
        }
    }

    fn stored(topic: &str, offset: i64) -> RecordResult {
        RecordResult::Stored {
            receipt: receipt(topic, offset),
        }
    }

    #[test]
    fn every_upload_ends_in_exactly_one_count() {
        let tally = Tally::default();
        tally.enter("burst");
        for _ in 0..5 {
            tally.sent(Source::Sms);
        }
        tally.sent(Source::Contacts);
        tally.retried(Source::Sms);
        let response = SyncResponse {
            batch_id: Uuid::nil(),
            results: vec![stored("a", 1), stored("a", 2)],
        };
        tally.ended(Source::Sms, Outcome::Accepted(response));
        tally.ended(Source::Sms, Outcome::Refused("body: is missing".into()));
        tally.ended(Source::Sms, Outcome::Unknown);
        tally.ended(Source::Contacts, Outcome::NotInRegion("not in region India".into()));
        let progress = tally.progress();
        let counts = Counts {
            sent: 5,
            accepted: 1,
            retried: 1,
            refused: 1,
            unknown: 1,
            records: 2,
        };
        assert_eq!(progress.total, counts);
        assert_eq!(progress.in_flight, 2);
        assert_eq!(progress.refusals, ["sms: body: is missing"]);
        assert!(tally.is_skipped(Source::Contacts));
        assert!(!progress.finished);
        let read: Progress = serde_json::from_str(&serde_json::to_string(&progress).unwrap()).unwrap();
        assert_eq!(read, progress);
    }

    #[test]
    fn receipts_come_back_whole_and_in_order() {
        let tally = Tally::default();
        for (offset, topic) in [(1, "a"), (2, "b"), (3, "a")] {
            let results = vec![stored(topic, offset)];
            let batch_id = Uuid::nil();
            tally.ended(Source::Events, Outcome::Accepted(SyncResponse { batch_id, results }));
        }
        let shown = tally.receipts(1, 9);
        let expected = [(2, "b"), (3, "a")].map(|(offset, topic)| AcceptedRecord {
            source: Source::Events,
            receipt: receipt(topic, offset),
        });
        assert_eq!(shown, expected);
        let line = serde_json::to_string(&shown[0]).unwrap();
        assert_eq!(serde_json::from_str::<AcceptedRecord>(&line).unwrap(), shown[0]);
    }
}
