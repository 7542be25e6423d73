//! Which of several copies of a record is stored: of facts the first one, of versions the newest. What could be stored
//! in its place is kept, for where a store refuses it. Pure.

use crate::batch::Row;
use contract::{RecordId, Source, source::Storage};
use std::collections::{BTreeMap, HashMap, hash_map::Entry};

/// Rows by source, each record id once.
pub type RowsBySource<'a> = BTreeMap<Source, Vec<&'a Row<'a>>>;

/// Rows of a batch that may be stored.
#[derive(Debug, Default)]
pub struct Candidates<'a> {
    /// Those that are to be stored.
    pub chosen: RowsBySource<'a>,
    /// Other copies of some of them, the best one last.
    others: HashMap<(Source, RecordId), Vec<&'a Row<'a>>>,
}

impl<'a> Candidates<'a> {
    /// Chooses among these rows, which are in the order in which they were read.
    pub fn of(rows: impl Iterator<Item = &'a Row<'a>>) -> Candidates<'a> {
        let mut candidates = Candidates::default();
        let mut places: HashMap<(Source, RecordId), usize> = HashMap::new();
        for row in rows {
            let source = row.partition.topic.source;
            let chosen = candidates.chosen.entry(source).or_default();
            match places.entry((source, row.id)) {
                Entry::Vacant(place) => {
                    place.insert(chosen.len());
                    chosen.push(row);
                }
                Entry::Occupied(place) => {
                    let chosen = &mut chosen[*place.get()];
                    let others = candidates.others.entry((source, row.id)).or_default();
                    match is_newer(row, chosen) {
                        // Of its version it was the first one.
                        true => others.insert(0, std::mem::replace(chosen, row)),
                        false => others.push(row),
                    }
                }
            }
        }
        for ((source, _), others) in &mut candidates.others {
            others.reverse();
            if source.storage() == Storage::VersionedUpsert {
                // Stable: of equal versions the first one stays the last here.
                others.sort_by_key(|row| row.version());
            }
        }
        candidates
    }

    /// The copy that is to be stored now that this one cannot be.
    pub fn instead_of(&mut self, refused: &Row<'_>) -> Option<&'a Row<'a>> {
        self.others
            .get_mut(&(refused.partition.topic.source, refused.id))?
            .pop()
    }
}

fn is_newer(row: &Row<'_>, chosen: &Row<'_>) -> bool {
    row.partition.topic.source.storage() == Storage::VersionedUpsert && row.version() > chosen.version()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        batch::tests::{kept, row},
        topic::{Partition, Topic},
    };
    use proptest::prelude::*;
    use std::{cmp::Reverse, sync::Arc};
    use uuid::Uuid;

    fn of_source<'a>(source: Source, mut row: Row<'a>) -> Row<'a> {
        let topic = Topic {
            name: source.topic().to_owned(),
            id: Uuid::from_u128(9),
            source,
        };
        row.partition = kept(Partition {
            topic: Arc::new(topic),
            number: 0,
        });
        row
    }

    #[test]
    fn of_facts_the_first_is_kept_and_of_versions_the_newest() {
        let rows = [
            of_source(Source::Sms, row(1, 10)),
            of_source(Source::Contacts, row(1, 10)),
            of_source(Source::Sms, row(1, 20)),
            of_source(Source::Contacts, row(1, 30)),
            of_source(Source::Contacts, row(1, 20)),
            of_source(Source::Sms, row(2, 5)),
        ];
        let candidates = Candidates::of(rows.iter());
        let times = |source| -> Vec<(Uuid, i64)> {
            candidates.chosen[&source]
                .iter()
                .map(|row| (row.id, row.event_time.timestamp_micros()))
                .collect()
        };
        assert_eq!(times(Source::Sms), [(Uuid::from_u128(1), 10), (Uuid::from_u128(2), 5)]);
        assert_eq!(times(Source::Contacts), [(Uuid::from_u128(1), 30)]);
    }

    proptest! {
        /// Whatever is refused, the best of the other copies comes next, until there is none left.
        #[test]
        fn no_copy_is_lost(source in proptest::sample::select(Source::ALL.to_vec()), times in proptest::collection::vec(0..6_i64, 1..12)) {
            let rows: Vec<Row> = times
                .iter()
                .zip(0..)
                .map(|(time, offset)| Row { offset, ..of_source(source, row(1, *time)) })
                .collect();
            let mut candidates = Candidates::of(rows.iter());
            let mut order = vec![candidates.chosen[&source][0]];
            while let Some(next) = candidates.instead_of(order[0]) {
                order.push(next);
            }
            let mut wanted: Vec<&Row> = rows.iter().collect();
            if source.storage() == Storage::VersionedUpsert {
                wanted.sort_by_key(|row| Reverse(row.version()));
            }
            let offsets = |rows: &[&Row]| rows.iter().map(|row| row.offset).collect::<Vec<_>>();
            prop_assert_eq!(offsets(&order), offsets(&wanted));
        }
    }
}
