//! What became of every record of a batch, by partition and hour: what the tables `tallies` and `dead_letters` are told
//! in the transaction that stores the batch. Pure.
//!
//! Records read = stored + duplicate + dead-lettered + erased, and offsets passed = messages + expired + absent.

use crate::{
    batch::{Batch, Message, Rejection, Row},
    topic::Partition,
};
use contract::Source;
use std::collections::{BTreeMap, HashMap};

/// An hour, counted from 1970.
pub type Hour = i64;

/// Seconds of an hour.
pub const HOUR: i64 = 3_600;

/// Counts of one partition and hour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages read.
    pub messages: i64,
    /// Messages that Kafka had deleted before they were read.
    pub expired: i64,
    /// Offsets without a message: markers of transactions, and what compaction removed.
    pub absent: i64,
    /// Records in the messages; a message that is no envelope counts as one.
    pub records: i64,
    /// New, or newer than what was there.
    pub stored: i64,
    /// Given up.
    pub dead_lettered: i64,
    /// Of users who were erased after the producer took them, good and bad.
    pub erased: i64,
}

impl Counts {
    /// There already, or older than what was there: all that nothing else became of.
    pub fn duplicate(&self) -> i64 {
        self.records - self.stored - self.dead_lettered - self.erased
    }
}

/// What became of the records of a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    counts: BTreeMap<(Partition, Hour), Counts>,
}

/// The messages of a batch by place.
pub type Messages<'a> = HashMap<(&'a Partition, i64), &'a Message<'a>>;

/// The messages of a batch by place, as rows and rejections name it.
pub fn messages<'a>(batch: &'a Batch<'a>) -> Messages<'a> {
    let messages = batch.messages.iter();
    let places = messages.map(|message| ((message.delivery.partition, message.delivery.offset), message));
    places.collect()
}

impl Account {
    /// An account of all that is in the batch: of it `stored`, `rejected` and the places of those `erased` are told, and
    /// the rest was there already.
    pub fn of<'a>(
        batch: &'a Batch<'a>,
        messages: &Messages<'a>,
        stored: &[&'a Row<'a>],
        erased: impl Iterator<Item = (&'a Partition, i64)>,
        rejected: &'a [Rejection],
    ) -> Account {
        let mut account = Account::default();
        account.read(batch);
        account.add(messages, places(stored), |counts, more| counts.stored += more);
        account.add(messages, erased, |counts, more| counts.erased += more);
        let rejected = rejected
            .iter()
            .map(|rejection| (&rejection.partition, rejection.offset));
        account.add(messages, rejected, |counts, more| counts.dead_lettered += more);
        account
    }

    /// Takes note of the messages, and of the offsets between them.
    fn read(&mut self, batch: &Batch) {
        let mut next: HashMap<&Partition, i64> = HashMap::new();
        for (partition, step) in batch.moves.iter() {
            next.insert(partition, step.begin());
        }
        for message in &batch.messages {
            let partition = message.delivery.partition;
            let offset = message.delivery.offset;
            let counts = self.counts.entry((partition.clone(), message.hour())).or_default();
            counts.messages += 1;
            counts.records += message.records() as i64;
            let before = next.insert(partition, offset + 1).unwrap_or(offset);
            counts.expired += message.delivery.expired;
            counts.absent += offset - before - message.delivery.expired;
        }
    }

    /// Counts records by their places, which come in runs of one message.
    fn add<'a>(
        &mut self,
        messages: &Messages<'a>,
        places: impl Iterator<Item = (&'a Partition, i64)>,
        count: impl Fn(&mut Counts, i64),
    ) {
        let mut places = places.peekable();
        while let Some(place) = places.next() {
            let mut run = 1;
            while places.next_if(|next| is_same(*next, place)).is_some() {
                run += 1;
            }
            let Some(message) = messages.get(&place) else { continue };
            let key = (place.0.clone(), message.hour());
            count(self.counts.entry(key).or_default(), run);
        }
    }

    /// The counts, in the order of partitions and hours.
    pub fn iter(&self) -> impl Iterator<Item = (&Partition, Hour, &Counts)> {
        self.counts
            .iter()
            .map(|((partition, hour), counts)| (partition, *hour, counts))
    }

    /// The counts by source.
    pub fn by_source(&self) -> BTreeMap<Source, Counts> {
        let mut sources: BTreeMap<Source, Counts> = BTreeMap::new();
        for ((partition, _), counts) in &self.counts {
            let sum = sources.entry(partition.topic.source).or_default();
            sum.messages += counts.messages;
            sum.expired += counts.expired;
            sum.absent += counts.absent;
            sum.records += counts.records;
            sum.stored += counts.stored;
            sum.dead_lettered += counts.dead_lettered;
            sum.erased += counts.erased;
        }
        sources
    }
}

/// Where these rows were read.
pub fn places<'a>(rows: &[&'a Row<'a>]) -> impl Iterator<Item = (&'a Partition, i64)> {
    rows.iter().map(|row| (row.partition, row.offset))
}

/// Partitions are told apart without their names: this is asked for every record.
fn is_same(one: (&Partition, i64), other: (&Partition, i64)) -> bool {
    one.1 == other.1 && one.0.number == other.0.number && one.0.topic.id == other.0.topic.id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{
        Delivery, RejectClass,
        tests::{delivery, partition, row},
    };
    use chrono::DateTime;
    use proptest::prelude::*;

    /// A message with `rows` good records and `bad` bad ones, taken in `hour`.
    fn message(number: i32, offset: i64, hour: Hour, rows: usize, bad: usize) -> Message<'static> {
        message_after(0, number, offset, hour, rows, bad)
    }

    /// The same, before which Kafka had deleted so many.
    fn message_after(expired: i64, number: i32, offset: i64, hour: Hour, good: usize, bad: usize) -> Message<'static> {
        let rejection = |index: usize| Rejection {
            partition: partition(number),
            offset,
            index: Some(index as i32),
            class: RejectClass::Validation,
            error: "name: is missing".to_owned(),
        };
        Message {
            delivery: Delivery {
                expired,
                ..delivery(number, offset, None)
            },
            sender: None,
            taken_at: DateTime::from_timestamp(hour * HOUR + 1_800, 0).unwrap(),
            good,
            rejections: (good..good + bad).map(rejection).collect(),
        }
    }

    fn rows(message: &Message<'static>) -> Vec<Row<'static>> {
        let Delivery { partition, offset, .. } = message.delivery;
        let row = |index: usize| Row {
            partition,
            offset,
            index: index as i32,
            ..row((offset as u128) << 32 | index as u128, 0)
        };
        (0..message.good).map(row).collect()
    }

    fn batch(messages: Vec<(Message<'static>, i64)>) -> Batch<'static> {
        let mut batch = Batch::default();
        for (message, ledger) in messages {
            let rows = rows(&message);
            batch.push(message, rows, ledger);
        }
        batch
    }

    fn counts(account: &Account) -> Vec<(i32, Hour, Counts)> {
        let all = account.iter();
        all.map(|(partition, hour, counts)| (partition.number, hour, *counts))
            .collect()
    }

    #[test]
    fn records_are_counted_by_partition_and_hour() {
        let batch = batch(vec![
            (message(0, 5, 7, 3, 1), 5),
            (message(1, 9, 7, 2, 0), 9),
            (message(0, 6, 8, 4, 0), 5),
        ]);
        let all: Vec<&Row> = batch.rows.iter().collect();
        let (stored, erased) = (&all[1..6], &all[8..]);
        let rejected = batch.messages[0].rejections.clone();
        let account = Account::of(&batch, &messages(&batch), stored, places(erased), &rejected);
        let of = |messages, records, stored, dead_lettered, erased| Counts {
            messages,
            records,
            stored,
            dead_lettered,
            erased,
            ..Counts::default()
        };
        assert_eq!(
            counts(&account),
            [
                (0, 7, of(1, 4, 2, 1, 0)),
                (0, 8, of(1, 4, 1, 0, 1)),
                (1, 7, of(1, 2, 2, 0, 0)),
            ]
        );
        let duplicates: Vec<i64> = account.iter().map(|(_, _, counts)| counts.duplicate()).collect();
        assert_eq!(duplicates, [1, 2, 0]);
        assert_eq!(account.by_source()[&Source::Events], of(3, 10, 5, 1, 1));
    }

    #[test]
    fn what_kafka_deleted_is_told_from_what_was_never_there() {
        let late = message_after(8, 0, 20, 7, 1, 0);
        let batch = batch(vec![(late, 10), (message(0, 23, 7, 1, 0), 10)]);
        let account = Account::of(&batch, &messages(&batch), &[], std::iter::empty(), &[]);
        let [(_, _, counts)] = counts(&account)[..] else {
            panic!()
        };
        assert_eq!((counts.messages, counts.expired, counts.absent), (2, 8, 4));
    }

    proptest! {
        /// Whatever there is between the offsets, and wherever the ledger stood, every offset is accounted for.
        #[test]
        fn offsets_add_up(
            ledger in 0..50_i64,
            first in 0..50_i64,
            gaps in proptest::collection::vec((0..4_i64, 0..3_i64), 1..30),
        ) {
            let mut messages_with_ledger = vec![];
            let mut offset = first;
            for (place, (gap, hour)) in gaps.into_iter().enumerate() {
                offset += if place == 0 { 0 } else { gap };
                let expired = if place == 0 { (first - ledger).max(0) / 2 } else { 0 };
                let message = message_after(expired, 0, offset, hour, 1, 0);
                messages_with_ledger.push((message, ledger));
                offset += 1;
            }
            let batch = batch(messages_with_ledger);
            let account = Account::of(&batch, &messages(&batch), &[], std::iter::empty(), &[]);
            let sum: i64 = account.iter().map(|(_, _, counts)| counts.messages + counts.expired + counts.absent).sum();
            let (_, step) = batch.moves.iter().next().unwrap();
            prop_assert_eq!(step.next, ledger + sum - step.moved_back());
        }
    }
}
