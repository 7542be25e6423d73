//! What is read together: messages of one lane, not looked into yet. The lane's writer decodes them, so that lanes decode
//! side by side and the reader only reads.

use crate::{
    batch::{Batch, Delivery},
    config::BatchLimits,
    decode::decode,
    ledger::{Moves, OutOfOrder},
    topic::Partition,
};
use bytes::{Bytes, BytesMut};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Bytes of memory that are taken at a time.
const PIECE: usize = 256 * 1024;

/// Messages as they came, with the moves of the ledger that they mean.
#[derive(Debug)]
pub struct Collected {
    /// The reader's epoch in which they were read: after a fence, older ones are not worth writing.
    pub epoch: u64,
    /// The messages, by partition in the order of their offsets.
    pub deliveries: Vec<Delivery>,
    /// What the ledger must hold before, and holds after.
    pub moves: Moves,
    limits: BatchLimits,
    /// Messages that presumably have as many records as one batch may.
    most: usize,
    bytes: usize,
    /// Where their keys and values are copied to.
    copies: BytesMut,
    opened: Option<Instant>,
}

impl Collected {
    /// Nothing yet. `density` is how many records a message has, as far as that is known: whether enough is collected is
    /// told by it, because nobody looks into the messages before they are written.
    pub fn new(limits: BatchLimits, density: f64, epoch: u64) -> Collected {
        // Never negative, and of no great account where it is wrong: the batches have their limit.
        let most = (limits.records as f64 / density.max(1.0)).ceil() as usize;
        Collected {
            epoch,
            deliveries: Vec::new(),
            moves: Moves::default(),
            limits,
            most,
            bytes: 0,
            copies: BytesMut::new(),
            opened: None,
        }
    }

    /// A copy of a key or a value, beside those of the messages before: thousands of them are given up at once.
    pub fn copy(&mut self, text: &[u8]) -> Bytes {
        if self.copies.capacity() < text.len() {
            self.copies.reserve(text.len().max(PIECE));
        }
        self.copies.extend_from_slice(text);
        self.copies.split().freeze()
    }

    /// Adds a message. `ledger` is what the ledger will hold for its partition once everything that was handed over
    /// before is written.
    pub fn push(&mut self, delivery: Delivery, ledger: i64) -> Result<(), OutOfOrder> {
        self.moves.advance(&delivery.partition, ledger, delivery.offset)?;
        self.bytes += delivery.bytes();
        self.deliveries.push(delivery);
        self.opened.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Takes out everything of these partitions: another reader has them now.
    pub fn forget(&mut self, partitions: &BTreeSet<Partition>) {
        self.deliveries
            .retain(|delivery| !partitions.contains(&delivery.partition));
        self.moves.forget(partitions);
        self.bytes = self.deliveries.iter().map(Delivery::bytes).sum();
        if self.deliveries.is_empty() {
            self.opened = None;
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Whether it must not wait for more.
    pub fn is_full(&self) -> bool {
        self.deliveries.len() >= self.most || self.bytes >= self.limits.bytes
    }

    /// How long it may still wait to be written; zero when it is full or its time is over, `None` while it is empty.
    pub fn due_in(&self) -> Option<Duration> {
        let opened = self.opened?;
        if self.is_full() {
            return Some(Duration::ZERO);
        }
        Some(self.limits.linger.saturating_sub(opened.elapsed()))
    }

    /// Decodes everything: into one batch, or into several of one size where that would hold too many records.
    pub fn batches(&self) -> Vec<Batch<'_>> {
        let messages: Vec<_> = self.deliveries.iter().map(decode).collect();
        let records: usize = messages.iter().map(|message| message.records()).sum();
        let parts = records.div_ceil(self.limits.records).max(1);
        let size = records.div_ceil(parts).max(1);
        if parts == 1 {
            return vec![Batch::of(messages, self.moves.clone())];
        }
        let starts = self.moves.iter().map(|(partition, step)| (partition, step.expected));
        let mut ledger: BTreeMap<&Partition, i64> = starts.collect();
        let mut batches = Vec::with_capacity(parts);
        let mut batch = Batch::default();
        for message in messages {
            if !batch.messages.is_empty() && batch.records() >= size {
                batches.push(std::mem::take(&mut batch));
            }
            let offset = message.delivery.offset;
            let ledger = ledger.entry(&message.delivery.partition).or_insert(offset);
            batch.push(message, std::mem::replace(ledger, offset + 1));
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
        batch::tests::{delivery, partition},
    };
    use contract::{Envelope, Source, message::ENVELOPE_VERSION};
    use proptest::prelude::*;
    use serde_json::json;

    const LONG: Duration = Duration::from_secs(3_600);

    fn limits(records: usize, bytes: usize, linger: Duration) -> BatchLimits {
        BatchLimits { records, bytes, linger }
    }

    /// A message of so many records.
    fn message(number: i32, offset: i64, records: usize) -> Delivery {
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
        delivery(number, offset, Some(envelope.encode(Source::Events)))
    }

    fn text(number: i32, offset: i64, bytes: usize) -> Delivery {
        delivery(number, offset, Some(vec![b'x'; bytes]))
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
        let sizes: Vec<usize> = collected.batches().iter().map(Batch::records).collect();
        assert_eq!(sizes, [8, 8, 8]);
    }

    proptest! {
        #[test]
        fn forgetting_partitions_leaves_what_there_would_be_without_them(
            messages in proptest::collection::vec((0..4_i32, 1..5_usize), 0..40),
            gone in proptest::collection::btree_set(0..4_i32, 0..4),
        ) {
            let collected = || Collected::new(limits(1_000, 1_000, LONG), 1.0, 0);
            let (mut all, mut kept) = (collected(), collected());
            for (offset, (number, bytes)) in messages.into_iter().enumerate() {
                let message = text(number, offset as i64, bytes);
                if !gone.contains(&number) {
                    kept.push(message.clone(), 0).unwrap();
                }
                all.push(message, 0).unwrap();
            }
            all.forget(&gone.into_iter().map(partition).collect());
            prop_assert_eq!(all.deliveries.len(), kept.deliveries.len());
            prop_assert_eq!(all.bytes, kept.bytes);
            prop_assert_eq!(&all.moves, &kept.moves);
            prop_assert_eq!(all.is_empty(), kept.is_empty());
            prop_assert_eq!(all.due_in().is_some(), kept.due_in().is_some());
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
            let batches = collected.batches();
            let mut at: BTreeMap<Partition, i64> = BTreeMap::new();
            let (mut offsets, mut passed) = (Vec::new(), 0);
            for batch in &batches {
                let largest = batch.messages.iter().map(|message| message.records()).max().unwrap();
                prop_assert!(batch.records() < records + largest);
                for (partition, step) in batch.moves.iter() {
                    prop_assert_eq!(step.expected, at.get(partition).copied().unwrap_or(ledger));
                    at.insert(partition.clone(), step.next);
                }
                offsets.extend(batch.messages.iter().map(|message| message.delivery.offset));
                let account = Account::of(batch, &messages(batch), &[], &[], &[]);
                passed += account.iter().map(|(_, _, of)| of.messages + of.absent).sum::<i64>();
            }
            offsets.sort_unstable();
            let all: Vec<i64> = collected.deliveries.iter().map(|delivery| delivery.offset).collect();
            prop_assert_eq!(offsets, all);
            let ends: BTreeMap<Partition, i64> =
                collected.moves.iter().map(|(partition, step)| (partition.clone(), step.next)).collect();
            let whole: i64 = collected.moves.iter().map(|(_, step)| step.next - step.begin()).sum();
            prop_assert_eq!(at, ends);
            prop_assert_eq!(passed, whole);
        }
    }
}
