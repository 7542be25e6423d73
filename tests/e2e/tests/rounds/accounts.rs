//! What the consumers say became of everything, held against Kafka and the stores.

use crate::messages::{Messages, Place};
use crate::stage::NAME;
use crate::stores::{ANSWER, Stored, Stores};
use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use contract::Source;
use sqlx::FromRow;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::timeout;
use uuid::Uuid;

/// One partition's hour in the consumers' accounts.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Tally {
    topic: String,
    partition: i32,
    hour: DateTime<Utc>,
    pub(crate) messages: i64,
    expired: i64,
    absent: i64,
    records: i64,
    stored: i64,
    duplicate: i64,
    dead_lettered: i64,
    erased: i64,
}

/// One partition's place in the ledger.
#[derive(Debug, Clone, FromRow)]
struct Passed {
    topic: String,
    partition: i32,
    first_offset: i64,
    next_offset: i64,
    moved_back: i64,
}

#[derive(Debug, FromRow)]
struct Letter {
    topic_id: Uuid,
    partition: i32,
    offset: i64,
    index: i32,
    class: String,
}

/// The consumers' accounts.
#[derive(Debug, Clone)]
pub(crate) struct Accounts {
    passed: Vec<Passed>,
    pub(crate) tallies: Vec<Tally>,
    /// Place of the record in its message, or -1; and the class of the error.
    letters: BTreeMap<(Source, Place), String>,
}

impl Accounts {
    /// Reads them.
    pub(crate) async fn read(stores: &Stores, topics: &BTreeMap<Source, Uuid>) -> Result<Accounts> {
        let mut connection = stores.postgres().await?;
        let passed = sqlx::query_as(
            "SELECT topic, partition, first_offset, next_offset, moved_back FROM ledger WHERE group_id = $1",
        );
        let passed = timeout(ANSWER, passed.bind(NAME).fetch_all(&mut connection)).await??;
        let tallies = sqlx::query_as(
            "SELECT topic, partition, hour, messages, expired, absent, records, stored, duplicate, dead_lettered, erased \
             FROM tallies WHERE group_id = $1",
        );
        let tallies = timeout(ANSWER, tallies.bind(NAME).fetch_all(&mut connection)).await??;
        let letters =
            sqlx::query_as::<_, Letter>("SELECT topic_id, partition, \"offset\", index, class FROM dead_letters");
        let letters: Vec<Letter> = timeout(ANSWER, letters.fetch_all(&mut connection)).await??;
        let letters = letters.into_iter().map(|letter| {
            let of = topics.iter().find(|(_, id)| **id == letter.topic_id);
            let (source, _) = of.with_context(|| format!("a dead letter is of topic {}", letter.topic_id))?;
            Ok(((*source, (letter.partition, letter.offset, letter.index)), letter.class))
        });
        Ok(Accounts {
            passed,
            tallies,
            letters: letters.collect::<Result<_>>()?,
        })
    }

    /// What does not agree with Kafka's topics, or with PostgreSQL's rows; each with what it is about.
    pub(crate) fn findings(
        &self,
        messages: &Messages,
        rows: &BTreeMap<Source, Vec<Stored>>,
    ) -> Vec<(&'static str, String)> {
        let mut findings = Vec::new();
        self.offsets(&mut findings);
        self.hours(messages, &mut findings);
        self.rows(rows, &mut findings);
        let graves = messages.graves.iter().map(|((source, (partition, offset, _)), grave)| {
            let place = (*partition, *offset, grave.index.unwrap_or(-1));
            ((*source, place), grave.class.to_owned())
        });
        let graves: BTreeSet<_> = graves.collect();
        let letters: BTreeSet<_> = self.letters.clone().into_iter().collect();
        for letter in graves.symmetric_difference(&letters) {
            findings.push(("a dead letter", format!("{letter:?}")));
        }
        findings
    }

    /// Each offset that was passed is one of a message, of an expired one, or of none.
    fn offsets(&self, findings: &mut Vec<(&'static str, String)>) {
        for passed in &self.passed {
            let tallies = self.tallies.iter();
            let own = tallies.filter(|tally| (&tally.topic, tally.partition) == (&passed.topic, passed.partition));
            let told: i64 = own.map(|tally| tally.messages + tally.expired + tally.absent).sum();
            if passed.first_offset + told - passed.moved_back != passed.next_offset {
                findings.push(("offsets", format!("{passed:?}, and {told} are told")));
            }
        }
    }

    /// Each hour has the messages and records that Kafka has of it, and each record became something.
    fn hours(&self, messages: &Messages, findings: &mut Vec<(&'static str, String)>) {
        let mut left = messages.counts.clone();
        for tally in &self.tallies {
            let ends = tally.stored + tally.duplicate + tally.dead_lettered + tally.erased;
            if ends != tally.records || tally.expired + tally.absent + tally.erased != 0 {
                findings.push(("records", format!("{tally:?}")));
            }
            let source = Source::of_topic(&tally.topic, "");
            let counts = source.and_then(|source| left.remove(&(source, tally.partition, tally.hour)));
            let counts = counts.unwrap_or_default();
            if (counts.messages, counts.records) != (tally.messages, tally.records) {
                findings.push(("an hour", format!("{tally:?}, and Kafka has {counts:?}")));
            }
        }
        for (hour, counts) in left {
            findings.push(("an hour", format!("{hour:?} with {counts:?} is missing")));
        }
    }

    /// What is stored is what was told to be stored; a versioned source has the newest of several.
    fn rows(&self, rows: &BTreeMap<Source, Vec<Stored>>, findings: &mut Vec<(&'static str, String)>) {
        for source in Source::ALL {
            let tallies = self.tallies.iter();
            let own = tallies.filter(|tally| Source::of_topic(&tally.topic, "") == Some(source));
            let told: i64 = own.map(|tally| tally.stored).sum();
            let found = rows.get(&source).map_or(0, Vec::len) as i64;
            let agree = match source.storage() {
                contract::source::Storage::Append => told == found,
                contract::source::Storage::VersionedUpsert => told >= found,
            };
            if !agree {
                findings.push(("rows", format!("{source} has {found}, and {told} are told")));
            }
        }
    }
}
