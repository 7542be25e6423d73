//! The arithmetic of the ledger: which offset each partition is at, and where a batch moves it.

use crate::topic::Partition;
use std::collections::{BTreeMap, BTreeSet};

/// What a batch does to one partition's row in the ledger: from `expected` to `next`, or nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// What the ledger holds before.
    pub expected: i64,
    /// The offset of the first message: later than expected where Kafka has none in between, earlier where the log was
    /// cut.
    pub first: i64,
    /// The offset after the last message. Offsets in between may be missing (transactions, compaction).
    pub next: i64,
}

impl Move {
    /// Where the offsets begin that this move passes.
    pub fn begin(&self) -> i64 {
        self.expected.min(self.first)
    }

    /// How many offsets are passed once more.
    pub fn moved_back(&self) -> i64 {
        self.expected - self.begin()
    }
}

/// A message came before one that is in the batch already.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("partition {partition}: offset {offset} came after offset {last}; the topic was recreated or its log cut")]
pub struct OutOfOrder {
    /// The partition.
    pub partition: String,
    /// Offset of the message.
    pub offset: i64,
    /// The offset before it, in order of arrival.
    pub last: i64,
}

/// The moves of one batch.
#[derive(Debug, Clone, Default)]
pub struct Moves {
    /// In the order of the partitions.
    by_partition: Vec<(Partition, Move)>,
    /// Where the partition is that moved last: messages come in runs of one.
    latest: usize,
}

impl PartialEq for Moves {
    fn eq(&self, other: &Moves) -> bool {
        self.by_partition == other.by_partition
    }
}

impl Moves {
    /// Takes the message at `offset` into account. `ledger` is what the ledger holds when this batch's turn comes;
    /// it counts for the partition's first message only.
    pub fn advance(&mut self, partition: &Partition, ledger: i64, offset: i64) -> Result<(), OutOfOrder> {
        match self.next(partition) {
            Some(next) if offset < next => Err(OutOfOrder {
                partition: partition.to_string(),
                offset,
                last: next - 1,
            }),
            _ => {
                self.pass(partition, ledger, offset);
                Ok(())
            }
        }
    }

    /// As [`advance`](Self::advance), of a message that is known to come after those before.
    pub(crate) fn pass(&mut self, partition: &Partition, ledger: i64, offset: i64) {
        let next = offset + 1;
        self.latest = match self.place(partition) {
            Ok(place) => {
                self.by_partition[place].1.next = next;
                place
            }
            Err(place) => {
                let first = Move {
                    expected: ledger,
                    first: offset,
                    next,
                };
                self.by_partition.insert(place, (partition.clone(), first));
                place
            }
        };
    }

    /// The offset that is to come next; `None` when the partition does not move.
    pub fn next(&self, partition: &Partition) -> Option<i64> {
        let place = self.place(partition).ok()?;
        Some(self.by_partition[place].1.next)
    }

    /// Where the partition is, or would be.
    fn place(&self, partition: &Partition) -> Result<usize, usize> {
        match self.by_partition.get(self.latest) {
            Some((latest, _)) if latest == partition => Ok(self.latest),
            _ => self.by_partition.binary_search_by(|(other, _)| other.cmp(partition)),
        }
    }

    /// Leaves these partitions alone.
    pub fn forget(&mut self, partitions: &BTreeSet<Partition>) {
        self.by_partition
            .retain(|(partition, _)| !partitions.contains(partition));
    }

    /// The moves, always in the same order, so that two readers cannot lock each other out.
    pub fn iter(&self) -> impl Iterator<Item = (&Partition, &Move)> {
        self.by_partition.iter().map(|(partition, step)| (partition, step))
    }

    /// The partitions that move.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.by_partition.iter().map(|(partition, _)| partition)
    }

    /// How many partitions move.
    pub fn len(&self) -> usize {
        self.by_partition.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.by_partition.is_empty()
    }
}

/// Where this reader is in the partitions that it was assigned.
#[derive(Debug, Default)]
pub struct Positions {
    by_partition: BTreeMap<Partition, Position>,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    /// What the ledger will hold once every batch handed over so far is written.
    handed_over: i64,
    /// The offset from which messages are new: the same, unless the log was cut.
    next: i64,
    /// What both stores are known to hold.
    written: i64,
    /// What Kafka is known to hold as committed.
    committed: Option<i64>,
}

impl Positions {
    /// A partition is this reader's from now on, beginning at the ledger's offset.
    pub fn assign(&mut self, partition: Partition, ledger: i64) {
        self.by_partition.insert(
            partition,
            Position {
                handed_over: ledger,
                next: ledger,
                written: ledger,
                committed: None,
            },
        );
    }

    /// A partition is not this reader's any more.
    pub fn revoke(&mut self, partition: &Partition) {
        self.by_partition.remove(partition);
    }

    /// What the ledger will hold for the partition once all batches handed over are written; `None` when the
    /// partition is not this reader's.
    pub fn ledger(&self, partition: &Partition) -> Option<i64> {
        Some(self.by_partition.get(partition)?.handed_over)
    }

    /// The offset from which messages are new; `None` when the partition is not this reader's.
    pub fn next(&self, partition: &Partition) -> Option<i64> {
        Some(self.by_partition.get(partition)?.next)
    }

    /// The partition's log was cut, and begins again at this offset. The ledger is moved back by the next batch.
    pub fn rewind(&mut self, partition: &Partition, offset: i64) {
        if let Some(position) = self.by_partition.get_mut(partition) {
            position.next = offset;
            position.written = offset;
        }
    }

    /// A batch with these moves was handed over.
    pub fn hand_over(&mut self, moves: &Moves) {
        for (partition, step) in moves.iter() {
            if let Some(position) = self.by_partition.get_mut(partition) {
                position.handed_over = step.next;
                position.next = step.next;
            }
        }
    }

    /// Both stores hold a batch with these moves.
    pub fn written(&mut self, moves: &Moves) {
        for (partition, step) in moves.iter() {
            if let Some(position) = self.by_partition.get_mut(partition) {
                // A batch from before a revocation may end after the partition came back further on.
                position.written = position.written.max(step.next);
            }
        }
    }

    /// Where the ledger is for certain, if nobody else has moved it: for the partitions of which no batch is on its way.
    pub fn settled(&self) -> BTreeMap<Partition, i64> {
        let settled = self.by_partition.iter();
        settled
            .filter(|(_, position)| position.handed_over == position.written)
            .map(|(partition, position)| (partition.clone(), position.written))
            .collect()
    }

    /// Kafka acknowledged this commit.
    pub fn committed(&mut self, partition: &Partition, offset: i64) {
        if let Some(position) = self.by_partition.get_mut(partition) {
            position.committed = Some(offset);
        }
    }

    /// What both stores hold and Kafka does not know yet.
    pub fn to_commit(&self) -> Vec<(Partition, i64)> {
        self.by_partition
            .iter()
            .filter(|(_, position)| position.committed != Some(position.written))
            .map(|(partition, position)| (partition.clone(), position.written))
            .collect()
    }

    /// The partitions of this reader.
    pub fn partitions(&self) -> BTreeSet<Partition> {
        self.by_partition.keys().cloned().collect()
    }

    /// How many partitions this reader has.
    pub fn len(&self) -> usize {
        self.by_partition.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.by_partition.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::partition;
    use proptest::prelude::*;

    #[test]
    fn a_move_goes_from_the_ledger_to_after_the_last_message_over_gaps() {
        let mut moves = Moves::default();
        for offset in [12, 13, 17] {
            moves.advance(&partition(0), 10, offset).unwrap();
        }
        let all: Vec<_> = moves.iter().map(|(_, step)| *step).collect();
        assert_eq!(
            all,
            [Move {
                expected: 10,
                first: 12,
                next: 18
            }]
        );
    }

    #[test]
    fn a_message_out_of_order_is_refused_by_partition_and_offset() {
        let mut moves = Moves::default();
        moves.advance(&partition(3), 0, 5).unwrap();
        assert_eq!(
            moves.advance(&partition(3), 0, 5).unwrap_err().to_string(),
            "partition events_log/3: offset 5 came after offset 5; the topic was recreated or its log cut"
        );
    }

    #[test]
    fn a_commit_is_due_until_kafka_acknowledged_the_same_offset() {
        let mut positions = Positions::default();
        positions.assign(partition(0), 5);
        assert_eq!(
            positions.to_commit(),
            [(partition(0), 5)],
            "Kafka may hold less than the ledger"
        );
        positions.committed(&partition(0), 5);
        assert_eq!(positions.to_commit(), []);

        let mut moves = Moves::default();
        moves.advance(&partition(0), 5, 9).unwrap();
        positions.hand_over(&moves);
        assert_eq!(positions.to_commit(), [], "handed over is not written");
        positions.written(&moves);
        assert_eq!(positions.to_commit(), [(partition(0), 10)]);
        positions.committed(&partition(0), 5);
        assert_eq!(
            positions.to_commit(),
            [(partition(0), 10)],
            "an older acknowledgement does not count"
        );
        positions.committed(&partition(0), 10);
        assert_eq!(positions.to_commit(), []);
    }

    #[test]
    fn the_ledger_is_certain_where_no_batch_is_on_its_way() {
        let mut positions = Positions::default();
        positions.assign(partition(0), 5);
        positions.assign(partition(1), 7);
        let mut moves = Moves::default();
        moves.advance(&partition(0), 5, 9).unwrap();
        positions.hand_over(&moves);
        assert_eq!(positions.settled(), [(partition(1), 7)].into());
        positions.written(&moves);
        assert_eq!(positions.settled(), [(partition(0), 10), (partition(1), 7)].into());
        positions.rewind(&partition(1), 0);
        assert_eq!(
            positions.settled(),
            [(partition(0), 10)].into(),
            "the ledger is not there yet"
        );
    }

    #[test]
    fn after_a_cut_the_next_batch_moves_the_ledger_back() {
        let mut positions = Positions::default();
        positions.assign(partition(0), 100);
        positions.rewind(&partition(0), 0);
        assert_eq!(positions.next(&partition(0)), Some(0));
        let mut moves = Moves::default();
        moves
            .advance(&partition(0), positions.ledger(&partition(0)).unwrap(), 0)
            .unwrap();
        assert_eq!(
            moves.iter().next().unwrap().1,
            &Move {
                expected: 100,
                first: 0,
                next: 1
            }
        );
        assert_eq!(moves.iter().next().unwrap().1.moved_back(), 100);
        positions.hand_over(&moves);
        assert_eq!(
            (positions.ledger(&partition(0)), positions.next(&partition(0))),
            (Some(1), Some(1))
        );
    }

    #[test]
    fn what_comes_late_for_a_partition_that_is_gone_changes_nothing() {
        let mut positions = Positions::default();
        positions.assign(partition(0), 0);
        let mut moves = Moves::default();
        moves.advance(&partition(0), 0, 0).unwrap();
        positions.revoke(&partition(0));
        positions.written(&moves);
        positions.committed(&partition(0), 1);
        assert!(positions.is_empty());
        assert_eq!(positions.ledger(&partition(0)), None);
    }

    proptest! {
        /// Any way of cutting the offsets into batches gives a chain: each batch expects what the one before left.
        #[test]
        fn batches_chain(steps in proptest::collection::vec((1..4_i64, any::<bool>()), 1..60)) {
            let mut positions = Positions::default();
            positions.assign(partition(0), 0);
            let (mut offset, mut ledger, mut moves) = (-1, 0, Moves::default());
            let mut batches = vec![];
            for (gap, cut) in steps {
                offset += gap;
                moves.advance(&partition(0), positions.ledger(&partition(0)).unwrap(), offset).unwrap();
                if cut {
                    positions.hand_over(&moves);
                    batches.push(std::mem::take(&mut moves));
                }
            }
            batches.push(moves);
            for moves in batches {
                for (_, step) in moves.iter() {
                    prop_assert_eq!(step.expected, ledger);
                    prop_assert!(step.next > step.expected);
                    ledger = step.next;
                }
            }
            prop_assert_eq!(ledger, offset + 1);
        }
    }
}
