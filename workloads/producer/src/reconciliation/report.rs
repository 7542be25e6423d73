//! From the consumers' accounts and Kafka's extents to one account of everything. Pure.
//!
//! Two equations hold for each partition, and [`Messages::difference`] and [`Records::difference`] are what is missing
//! to them:
//!
//! - accepted = settled + expired + absent + in flight, in offsets, since reading began
//! - records of the messages read = stored + deduplicated + dead-lettered + erased

use crate::{
    kafka::ends::{Extent, TopicPartition},
    ledger::account::{Account, Tally},
    topics::Topics,
};
use chrono::{DateTime, Utc};
use contract::Source;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::AddAssign,
};
use utoipa::ToSchema;

/// Seconds.
const HOUR: i64 = 3_600;

/// What has become of everything that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reconciliation {
    /// When it was read.
    pub at: DateTime<Utc>,
    /// How many hours are shown one by one.
    pub hours: u32,
    /// Whether nothing is missing and nothing counted twice: every `difference` is 0.
    pub balanced: bool,
    /// Whether Kafka told the ends of all partitions. Without one, `accepted` and `inFlight` are `null` for it and for
    /// its source.
    pub complete: bool,
    /// The enabled sources.
    pub sources: Vec<SourceAccount>,
}

/// The account of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceAccount {
    /// The source.
    pub source: &'static str,
    /// Its topic.
    pub topic: String,
    /// The consumer group whose account this is: the one that moved last. `null` where nobody has read the topic yet.
    pub group: Option<String>,
    /// Groups that have read the topic, too.
    pub other_groups: Vec<String>,
    /// Messages of all partitions.
    pub messages: Messages,
    /// Records of all partitions.
    pub records: Records,
    /// The same by hour.
    pub by_hour: Vec<Hour>,
    /// The partitions, in order.
    pub partitions: Vec<PartitionAccount>,
}

/// The account of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartitionAccount {
    /// The partition.
    pub partition: i32,
    /// Offset at which reading began; `null` before it does.
    pub first_offset: Option<i64>,
    /// Offset that is read next; `null` before reading begins.
    pub next_offset: Option<i64>,
    /// Offset that the next message will have; `null` where Kafka did not tell.
    pub end_offset: Option<i64>,
    /// Its messages.
    pub messages: Messages,
    /// Its records.
    pub records: Records,
    /// The same by hour.
    pub by_hour: Vec<Hour>,
}

/// What became of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Messages {
    /// Offsets since reading began. `null` where Kafka did not tell.
    pub accepted: Option<i64>,
    /// Messages that were read, each once.
    pub settled: i64,
    /// Messages that Kafka deleted before they were read.
    pub expired: i64,
    /// Offsets that never held a message.
    pub absent: i64,
    /// Messages that wait to be read. `null` where Kafka did not tell.
    pub in_flight: Option<i64>,
    /// What of `accepted` is none of these; 0, or something is wrong.
    pub difference: i64,
}

/// What became of the records in the messages that were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Records {
    /// All of them.
    pub records: i64,
    /// New, or newer than what was there.
    pub stored: i64,
    /// There already.
    pub deduplicated: i64,
    /// In the dead-letter topic.
    pub dead_lettered: i64,
    /// Of users that were erased.
    pub erased: i64,
    /// What of `records` is none of these; 0, or something is wrong.
    pub difference: i64,
}

/// What was taken within an hour and read since. What is still in flight is in no hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hour {
    /// When the hour began.
    pub hour: DateTime<Utc>,
    /// Messages read; those that were read twice count twice.
    pub messages: i64,
    /// Messages that Kafka deleted before they were read.
    pub expired: i64,
    /// Offsets that never held a message.
    pub absent: i64,
    /// The records of the messages.
    pub records: Records,
}

/// What a report is made of, read in this order: so no reader is ahead of the end of its partition.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The consumers' accounts of the enabled topics.
    pub accounts: Vec<Account>,
    /// How many partitions each topic has.
    pub partitions: HashMap<String, i32>,
    /// What Kafka holds.
    pub extents: HashMap<TopicPartition, Extent>,
}

impl Reconciliation {
    /// The same with the last `hours` only.
    pub fn of_last(&self, hours: u32) -> Reconciliation {
        let present = self.at.timestamp().div_euclid(HOUR);
        let is_shown = |hour: &Hour| hour.hour.timestamp().div_euclid(HOUR) > present - i64::from(hours);
        let mut report = self.clone();
        report.hours = hours;
        for source in &mut report.sources {
            source.by_hour.retain(is_shown);
            for partition in &mut source.partitions {
                partition.by_hour.retain(is_shown);
            }
        }
        report
    }
}

impl Findings {
    /// The partitions that there are to be accounts of.
    pub fn wanted(&self, topics: &Topics) -> Vec<TopicPartition> {
        let partitions = topics.names().flat_map(|topic| {
            let numbers = self.numbers(topic, &self.readings(topic));
            numbers.into_iter().map(|number| (topic.to_owned(), number))
        });
        partitions.collect()
    }

    /// The account of everything.
    pub fn report(&self, topics: &Topics, hours: u32, at: DateTime<Utc>) -> Reconciliation {
        let sources: Vec<SourceAccount> = topics.all().map(|(source, topic)| self.source(source, topic)).collect();
        let partitions = || sources.iter().flat_map(|source| &source.partitions);
        Reconciliation {
            at,
            hours,
            balanced: partitions().all(|one| one.messages.difference == 0 && one.records.difference == 0),
            complete: partitions().all(|one| one.end_offset.is_some()),
            sources,
        }
    }

    fn source(&self, source: Source, topic: &str) -> SourceAccount {
        let readings = self.readings(topic);
        let group = readings
            .iter()
            .max_by_key(|account| (account.updated_at, &account.group))
            .map(|account| account.group.clone());
        let groups: BTreeSet<&String> = readings.iter().map(|account| &account.group).collect();
        let partitions: Vec<PartitionAccount> = self
            .numbers(topic, &readings)
            .into_iter()
            .map(|number| {
                let mut ours = readings.iter().filter(|account| account.partition == number);
                let account = ours.find(|account| Some(&account.group) == group.as_ref());
                partition(number, account.copied(), self.extents.get(&(topic.to_owned(), number)))
            })
            .collect();
        let (mut messages, mut records) = (Messages::default(), Records::default());
        let mut by_hour: BTreeMap<DateTime<Utc>, Hour> = BTreeMap::new();
        for partition in &partitions {
            messages += partition.messages;
            records += partition.records;
            for hour in &partition.by_hour {
                match by_hour.get_mut(&hour.hour) {
                    Some(sum) => sum.add(hour),
                    None => drop(by_hour.insert(hour.hour, hour.clone())),
                }
            }
        }
        SourceAccount {
            source: source.name(),
            topic: topic.to_owned(),
            other_groups: groups
                .into_iter()
                .filter(|name| Some(*name) != group.as_ref())
                .cloned()
                .collect(),
            group,
            messages,
            records,
            by_hour: by_hour.into_values().collect(),
            partitions,
        }
    }

    /// The accounts of the topic's newest incarnation.
    fn readings(&self, topic: &str) -> Vec<&Account> {
        let of_topic = || self.accounts.iter().filter(|account| account.topic == topic);
        let newest = of_topic().max_by_key(|account| (account.updated_at, account.topic_id));
        let newest = newest.map(|account| account.topic_id);
        of_topic().filter(|account| Some(account.topic_id) == newest).collect()
    }

    fn numbers(&self, topic: &str, readings: &[&Account]) -> BTreeSet<i32> {
        let partitions = self.partitions.get(topic).copied().unwrap_or_default();
        (0..partitions)
            .chain(readings.iter().map(|account| account.partition))
            .collect()
    }
}

fn partition(number: i32, account: Option<&Account>, extent: Option<&Extent>) -> PartitionAccount {
    PartitionAccount {
        partition: number,
        first_offset: account.map(|account| account.first),
        next_offset: account.map(|account| account.next),
        end_offset: extent.map(|extent| extent.end),
        messages: messages(account, extent),
        records: account.map(|account| Records::from(account.all)).unwrap_or_default(),
        by_hour: account
            .iter()
            .flat_map(|account| &account.hours)
            .map(|(hour, tally)| Hour {
                hour: *hour,
                messages: tally.messages,
                expired: tally.expired,
                absent: tally.absent,
                records: (*tally).into(),
            })
            .collect(),
    }
}

fn messages(account: Option<&Account>, extent: Option<&Extent>) -> Messages {
    // Without a reader everything that Kafka holds is in flight: it will begin at the start.
    let (first, next, moved_back, all) = match (account, extent) {
        (Some(account), _) => (account.first, account.next, account.moved_back, account.all),
        (None, Some(extent)) => (extent.start, extent.start, 0, Tally::default()),
        (None, None) => (0, 0, 0, Tally::default()),
    };
    let settled = all.messages - moved_back;
    // Of the ledger alone, which holds whether Kafka tells the end or not.
    let ledger = next - first - (settled + all.expired + all.absent);
    let Some(Extent { start, end }) = extent.copied() else {
        return Messages {
            accepted: None,
            settled,
            expired: all.expired,
            absent: all.absent,
            in_flight: None,
            difference: ledger,
        };
    };
    // Deleted already, and noted by the reader when it comes to them.
    let lost = (start.min(end) - next).max(0);
    Messages {
        accepted: Some(end - first),
        settled,
        expired: all.expired + lost,
        absent: all.absent,
        in_flight: Some((end - next.max(start)).max(0)),
        // A reader past the end: Kafka has lost what was read, or the topic was made again.
        difference: ledger + (end - next).min(0),
    }
}

impl Default for Messages {
    /// Nothing, and all of it known.
    fn default() -> Messages {
        Messages {
            accepted: Some(0),
            settled: 0,
            expired: 0,
            absent: 0,
            in_flight: Some(0),
            difference: 0,
        }
    }
}

impl AddAssign for Messages {
    fn add_assign(&mut self, other: Messages) {
        let both = |one: Option<i64>, other: Option<i64>| Some(one? + other?);
        self.accepted = both(self.accepted, other.accepted);
        self.settled += other.settled;
        self.expired += other.expired;
        self.absent += other.absent;
        self.in_flight = both(self.in_flight, other.in_flight);
        self.difference += other.difference;
    }
}

impl From<Tally> for Records {
    fn from(tally: Tally) -> Records {
        Records {
            records: tally.records,
            stored: tally.stored,
            deduplicated: tally.duplicate,
            dead_lettered: tally.dead_lettered,
            erased: tally.erased,
            difference: tally.records - (tally.stored + tally.duplicate + tally.dead_lettered + tally.erased),
        }
    }
}

impl AddAssign for Records {
    fn add_assign(&mut self, other: Records) {
        self.records += other.records;
        self.stored += other.stored;
        self.deduplicated += other.deduplicated;
        self.dead_lettered += other.dead_lettered;
        self.erased += other.erased;
        self.difference += other.difference;
    }
}

impl Hour {
    fn add(&mut self, other: &Hour) {
        self.messages += other.messages;
        self.expired += other.expired;
        self.absent += other.absent;
        self.records += other.records;
    }
}
