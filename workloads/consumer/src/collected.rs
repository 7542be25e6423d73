//! What is read together: messages of one lane, not looked into yet. The lane's writer decodes them, so that lanes decode
//! side by side and the reader only reads.

use crate::{
    batch::{Batch, Delivery, Header},
    config::BatchLimits,
    copies::{Copies, Place},
    decode::{SenderOnce, decode},
    ledger::{Moves, OutOfOrder},
    topic::Partition,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Most messages for which there is room from the first one on.
const MOST_RESERVED: usize = 10_000;

/// Messages as they came, with the moves of the ledger that they mean.
#[derive(Debug)]
pub struct Collected {
    /// The reader's epoch in which they were read: after a fence, older ones are not worth writing.
    pub epoch: u64,
    /// What the ledger must hold before, and holds after.
    pub moves: Moves,
    limits: BatchLimits,
    /// Records that a message presumably has.
    density: f64,
    bytes: usize,
    /// The messages, by partition in the order of their offsets.
    messages: Vec<Kept>,
    /// Where they were read.
    partitions: Vec<Partition>,
    /// Their keys and values.
    copies: Copies,
    opened: Option<Instant>,
}

/// A message, with what is not its own by its place.
#[derive(Debug)]
struct Kept {
    partition: usize,
    offset: i64,
    timestamp: Option<i64>,
    key: Option<Place>,
    value: Option<Place>,
    headers: Vec<Header>,
    expired: i64,
}

impl Kept {
    /// Length of its value.
    fn bytes(&self) -> usize {
        self.value.map_or(0, Place::bytes)
    }
}

impl Collected {
    /// Nothing yet. `density` is how many records a message has, as far as that is known: whether enough is collected is
    /// told by it, because nobody looks into the messages before they are written.
    pub fn new(limits: BatchLimits, density: f64, epoch: u64) -> Collected {
        Collected {
            epoch,
            moves: Moves::default(),
            limits,
            // Of no great account where it is wrong: the batches have their limit.
            density: density.max(1.0),
            bytes: 0,
            messages: Vec::new(),
            partitions: Vec::new(),
            copies: Copies::default(),
            opened: None,
        }
    }

    /// Adds a copy of a message. `ledger` is what the ledger will hold for its partition once everything that was handed
    /// over before is written.
    pub fn push(&mut self, delivery: Delivery<'_>, ledger: i64) -> Result<(), OutOfOrder> {
        self.moves.advance(delivery.partition, ledger, delivery.offset)?;
        let message = Kept {
            partition: self.place_of(delivery.partition),
            offset: delivery.offset,
            timestamp: delivery.timestamp,
            key: delivery.key.map(|key| self.copies.add(key)),
            value: delivery.value.map(|value| self.copies.add(value)),
            headers: delivery.headers.to_vec(),
            expired: delivery.expired,
        };
        self.bytes += message.bytes();
        if self.messages.is_empty() {
            // What it will become, if messages have as many records as is presumed.
            let presumed = (self.limits.records as f64 / self.density) as usize;
            self.messages.reserve(presumed.min(MOST_RESERVED));
        }
        self.messages.push(message);
        self.opened.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn place_of(&mut self, partition: &Partition) -> usize {
        // Messages come in runs of one partition.
        let last = self.messages.last().map(|message| message.partition);
        if let Some(place) = last.filter(|place| self.partitions[*place] == *partition) {
            return place;
        }
        let known = self.partitions.iter().position(|known| known == partition);
        known.unwrap_or_else(|| {
            self.partitions.push(partition.clone());
            self.partitions.len() - 1
        })
    }

    /// The messages, by partition in the order of their offsets.
    pub fn deliveries(&self) -> impl Iterator<Item = Delivery<'_>> {
        self.messages.iter().map(|message| Delivery {
            partition: &self.partitions[message.partition],
            offset: message.offset,
            timestamp: message.timestamp,
            key: message.key.map(|key| self.copies.get(key)),
            value: message.value.map(|value| self.copies.get(value)),
            headers: &message.headers,
            expired: message.expired,
        })
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Takes out everything of these partitions: another reader has them now.
    pub fn forget(&mut self, partitions: &BTreeSet<Partition>) {
        let of_message = &self.partitions;
        self.messages
            .retain(|message| !partitions.contains(&of_message[message.partition]));
        self.moves.forget(partitions);
        self.bytes = self.messages.iter().map(Kept::bytes).sum();
        if self.messages.is_empty() {
            self.opened = None;
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether it must not wait for more.
    pub fn is_full(&self) -> bool {
        self.presumably() >= self.limits.records as f64 || self.bytes >= self.limits.bytes
    }

    /// How many records there presumably are.
    fn presumably(&self) -> f64 {
        self.messages.len() as f64 * self.density
    }

    /// How long it may still wait to be written; zero when it is full or its time is over, `None` while it is empty.
    pub fn due_in(&self) -> Option<Duration> {
        let opened = self.opened?;
        if self.is_full() {
            return Some(Duration::ZERO);
        }
        Some(self.limits.linger.saturating_sub(opened.elapsed()))
    }

    /// Where [`batches`](Self::batches) keeps who sent the messages.
    pub fn senders(&self) -> Vec<SenderOnce<'_>> {
        self.messages.iter().map(|_| SenderOnce::new()).collect()
    }

    /// Decodes everything: into one batch, or into several of one size where that would hold too many records.
    pub fn batches<'a, 'd: 'a>(&'d self, senders: &'a [SenderOnce<'d>]) -> Vec<Batch<'a>> {
        // All rows lie in one piece of memory. Twice a batch's limit at most is taken for what is only presumed.
        let presumed = self.presumably().min(2.0 * self.limits.records as f64);
        let mut rows = Vec::with_capacity(presumed as usize);
        let deliveries = self.deliveries().zip(senders);
        let messages: Vec<_> = deliveries
            .map(|(delivery, sender)| decode(delivery, sender, &mut rows))
            .collect();
        let records: usize = messages.iter().map(|message| message.records()).sum();
        let parts = records.div_ceil(self.limits.records).max(1);
        let size = records.div_ceil(parts).max(1);
        if parts == 1 {
            return vec![Batch::of(messages, rows, self.moves.clone())];
        }
        let mut rows = rows.into_iter();
        let starts = self.moves.iter().map(|(partition, step)| (partition, step.expected));
        let mut ledger: BTreeMap<&Partition, i64> = starts.collect();
        let mut batches = Vec::with_capacity(parts);
        let mut batch = Batch::default();
        for message in messages {
            if !batch.messages.is_empty() && batch.records() >= size {
                batches.push(std::mem::take(&mut batch));
            }
            let offset = message.delivery.offset;
            let ledger = ledger.entry(message.delivery.partition).or_insert(offset);
            let its_rows = rows.by_ref().take(message.good);
            batch.push(message, its_rows, std::mem::replace(ledger, offset + 1));
        }
        batches.push(batch);
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        account::{Account, messages},
        batch::tests::{delivery, kept, partition},
    };
    use contract::{Envelope, Source, message::ENVELOPE_VERSION};
    use proptest::prelude::*;
    use serde_json::json;

    const LONG: Duration = Duration::from_secs(3_600);

    fn limits(records: usize, bytes: usize, linger: Duration) -> BatchLimits {
        BatchLimits { records, bytes, linger }
    }

    /// A message of so many records.
    fn message(number: i32, offset: i64, records: usize) -> Delivery<'static> {
        let envelope = Envelope {
            version: ENVELOPE_VERSION,
            tenant: "default".into(),
            user: "u".into(),
            device: "d".into(),
            batch_id: uuid::Uuid::nil(),
            received_at: chrono::DateTime::UNIX_EPOCH,
            records: (0..records)
                .map(|id| json!({"id": id, "timestamp": 1, "name": "a"}))
                .collect(),
        };
        delivery(number, offset, Some(kept(envelope.encode(Source::Events))))
    }

    fn text(number: i32, offset: i64, bytes: usize) -> Delivery<'static> {
        delivery(number, offset, Some(kept(vec![b'x'; bytes])))
    }

    #[test]
    fn it_is_due_when_there_is_enough_or_when_its_time_is_over() {
        let mut by_records = Collected::new(limits(6, 1_000, LONG), 2.0, 0);
        assert_eq!(by_records.due_in(), None);
        by_records.push(text(0, 0, 1), 0).unwrap();
        by_records.push(text(0, 1, 1), 0).unwrap();
        assert!(by_records.due_in().unwrap() > Duration::ZERO);
        by_records.push(text(0, 2, 1), 0).unwrap();
        assert_eq!(
            by_records.due_in(),
            Some(Duration::ZERO),
            "three messages of two records"
        );

        let mut by_bytes = Collected::new(limits(1_000, 10, LONG), 1.0, 0);
        by_bytes.push(text(0, 0, 10), 0).unwrap();
        assert_eq!(by_bytes.due_in(), Some(Duration::ZERO));

        let mut by_time = Collected::new(limits(1_000, 1_000, Duration::ZERO), 1.0, 0);
        by_time.push(text(0, 0, 1), 0).unwrap();
        assert_eq!(by_time.due_in(), Some(Duration::ZERO));
    }

    #[test]
    fn what_nobody_can_know_of_the_density_does_no_harm() {
        for density in [0.0, f64::NAN, -1.0] {
            let mut collected = Collected::new(limits(2, 1_000, LONG), density, 0);
            collected.push(text(0, 0, 1), 0).unwrap();
            assert!(!collected.is_full());
            collected.push(text(0, 1, 1), 0).unwrap();
            assert!(collected.is_full());
        }
    }

    #[test]
    fn what_is_too_much_for_one_batch_becomes_several_of_one_size() {
        let mut collected = Collected::new(limits(10, 1 << 20, LONG), 1.0, 0);
        for offset in 0..12 {
            collected.push(message(0, offset, 2), 0).unwrap();
        }
        let senders = collected.senders();
        let batches = collected.batches(&senders);
        let sizes: Vec<_> = batches
            .iter()
            .map(|batch| (batch.records(), batch.rows.len()))
            .collect();
        assert_eq!(sizes, [(8, 8), (8, 8), (8, 8)]);
    }

    proptest! {
        #[test]
        fn forgetting_partitions_leaves_what_there_would_be_without_them(
            messages in proptest::collection::vec((0..4_i32, 1..5_usize), 0..40),
            gone in proptest::collection::btree_set(0..4_i32, 0..4),
        ) {
            let collected = || Collected::new(limits(1_000, 1_000, LONG), 1.0, 0);
            let (mut all, mut rest) = (collected(), collected());
            for (offset, (number, bytes)) in messages.into_iter().enumerate() {
                let message = text(number, offset as i64, bytes);
                if !gone.contains(&number) {
                    rest.push(message, 0).unwrap();
                }
                all.push(message, 0).unwrap();
            }
            all.forget(&gone.into_iter().map(partition).collect());
            prop_assert_eq!(all.len(), rest.len());
            prop_assert_eq!(all.bytes, rest.bytes);
            prop_assert_eq!(&all.moves, &rest.moves);
            prop_assert_eq!(all.is_empty(), rest.is_empty());
            prop_assert_eq!(all.due_in().is_some(), rest.due_in().is_some());
        }

        /// However it is divided: each message is in one batch, each batch expects the ledger where the one before left
        /// it, the last one leaves it where all together do, and every offset is accounted for once.
        #[test]
        fn batches_are_together_what_was_collected(
            messages_of in proptest::collection::vec((0..3_i32, 1..4_i64, 0..6_usize), 1..40),
            ledger in 0..20_i64,
            records in 1..20_usize,
        ) {
            let mut collected = Collected::new(limits(records, 1 << 20, LONG), 1.0, 0);
            let mut offset = 10;
            for (number, gap, count) in messages_of {
                offset += gap;
                collected.push(message(number, offset, count), ledger).unwrap();
            }
            let senders = collected.senders();
            let batches = collected.batches(&senders);
            let mut at: BTreeMap<Partition, i64> = BTreeMap::new();
            let (mut offsets, mut passed) = (Vec::new(), 0);
            for batch in &batches {
                let largest = batch.messages.iter().map(|message| message.records()).max().unwrap();
                prop_assert!(batch.records() < records + largest);
                let of_messages = batch.messages.iter().flat_map(|message| {
                    (0..message.good).map(|_| (message.delivery.partition, message.delivery.offset))
                });
                let of_rows = batch.rows.iter().map(|row| (row.partition, row.offset));
                prop_assert!(of_rows.eq(of_messages));
                for (partition, step) in batch.moves.iter() {
                    prop_assert_eq!(step.expected, at.get(partition).copied().unwrap_or(ledger));
                    at.insert(partition.clone(), step.next);
                }
                offsets.extend(batch.messages.iter().map(|message| message.delivery.offset));
                let account = Account::of(batch, &messages(batch), &[], std::iter::empty(), &[]);
                passed += account.iter().map(|(_, _, of)| of.messages + of.absent).sum::<i64>();
            }
            offsets.sort_unstable();
            let all: Vec<i64> = collected.deliveries().map(|delivery| delivery.offset).collect();
            prop_assert_eq!(offsets, all);
            let ends: BTreeMap<Partition, i64> =
                collected.moves.iter().map(|(partition, step)| (partition.clone(), step.next)).collect();
            let whole: i64 = collected.moves.iter().map(|(_, step)| step.next - step.begin()).sum();
            prop_assert_eq!(at, ends);
            prop_assert_eq!(passed, whole);
        }
    }
}
