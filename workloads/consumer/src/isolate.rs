//! Finds the items that a store refuses.

use std::ops::Range;

/// After a guilty item so many are offered, and each time so many times more as long as all goes well: where one is
/// guilty, the next ones often are, and whatever is offered beyond a guilty one was offered in vain.
const FEW: usize = 64;
const GROWTH: usize = 4;

/// Why a store refuses a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<R> {
    /// In the store's words.
    pub reason: R,
    /// The place within the range of the first guilty item, where the store tells it. A wrong one costs time only.
    pub place: Option<usize>,
}

/// Offers all of `count` items to `offer`, and divides whatever it refuses until the single guilty items are found: at
/// the place that the store tells, else in halves. `offer` must have no effect when it refuses. Returns the guilty ones
/// with the refusal of each; every other item was accepted exactly once, in order.
///
/// `offer` answers `Ok(None)` when it accepts the range, `Ok(Some(refusal))` when an item in it is bad, and an error
/// when the store cannot judge: that ends the search.
pub async fn isolate<R, E>(
    count: usize,
    mut offer: impl AsyncFnMut(Range<usize>) -> Result<Option<Refusal<R>>, E>,
) -> Result<Vec<(usize, R)>, E> {
    let mut guilty = Vec::new();
    // A stack rather than recursion; what comes last goes in first, so that items keep their order.
    let mut ranges: Vec<Range<usize>> = std::iter::once(0..count).collect();
    while let Some(range) = ranges.pop() {
        if range.is_empty() {
            continue;
        }
        let Some(refusal) = offer(range.clone()).await? else {
            continue;
        };
        if range.len() == 1 {
            guilty.push((range.start, refusal.reason));
            continue;
        }
        match refusal.place.filter(|place| *place < range.len()) {
            Some(place) => {
                let suspect = range.start + place;
                let after = pieces(suspect + 1..range.end);
                ranges.extend(after.into_iter().rev());
                // Nobody is guilty who was not refused alone.
                ranges.push(suspect..suspect + 1);
                ranges.push(range.start..suspect);
            }
            None => {
                let middle = range.start + range.len() / 2;
                ranges.push(middle..range.end);
                ranges.push(range.start..middle);
            }
        }
    }
    Ok(guilty)
}

/// The range in pieces, a few first and then more and more.
fn pieces(range: Range<usize>) -> Vec<Range<usize>> {
    let (mut start, mut size) = (range.start, FEW);
    let mut pieces = Vec::new();
    while start < range.end {
        let end = range.end.min(start + size);
        pieces.push(start..end);
        start = end;
        size *= GROWTH;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, convert::Infallible};

    /// The place that a store tells, of that of a range's first guilty item.
    type Tells = fn(usize) -> Option<usize>;

    fn run(size: usize, bad: &BTreeSet<usize>, tells: Tells) -> (Vec<usize>, Vec<usize>, usize) {
        let (mut accepted, mut offers) = (vec![], 0);
        let guilty = futures::executor::block_on(isolate(size, async |range| {
            offers += 1;
            if let Some(first) = range.clone().position(|item| bad.contains(&item)) {
                let (reason, place) = ("bad", tells(first));
                return Ok::<_, Infallible>(Some(Refusal { reason, place }));
            }
            accepted.extend(range);
            Ok(None)
        }));
        let guilty = guilty.unwrap().into_iter().map(|(index, _)| index).collect();
        (guilty, accepted, offers)
    }

    #[test]
    fn one_bad_item_in_a_thousand_takes_few_offers() {
        let bad = BTreeSet::from([617]);
        let (guilty, _, offers) = run(1_000, &bad, |_| None);
        assert_eq!(guilty, [617]);
        assert!(offers <= 2 * 10 + 1, "{offers}");
        let (guilty, _, offers) = run(1_000, &bad, Some);
        assert_eq!(guilty, [617]);
        // All, those before, itself, and 64, 256 and the rest of those after.
        assert_eq!(offers, 6);
    }

    #[test]
    fn bad_items_in_a_row_cost_one_small_offer_each_and_a_look_at_each() {
        let bad = (100..140).collect();
        let (guilty, accepted, offers) = run(5_000, &bad, Some);
        assert_eq!((guilty.len(), accepted.len()), (40, 4_960));
        assert!(offers <= 2 * 40 + 20, "{offers}");
    }

    #[test]
    fn a_store_that_cannot_judge_ends_the_search() {
        let outcome = futures::executor::block_on(isolate(3, async |range| match range.len() {
            3 => Ok(Some(Refusal {
                reason: "bad",
                place: None,
            })),
            _ => Err("away"),
        }));
        assert_eq!(outcome, Err("away"));
    }

    proptest! {
        #[test]
        fn each_item_is_found_guilty_or_accepted_exactly_once(
            size in 0..200_usize,
            bad in proptest::collection::btree_set(0..200_usize, 0..12),
        ) {
            let expected: Vec<usize> = bad.iter().copied().filter(|item| *item < size).collect();
            let good: Vec<usize> = (0..size).filter(|item| !bad.contains(item)).collect();
            // The place, none, one that is wrong, and one that is not in the range.
            let stores: [Tells; 4] = [Some, |_| None, |place| Some(place / 2), |_| Some(usize::MAX)];
            for tells in stores {
                let (guilty, accepted, _) = run(size, &bad, tells);
                prop_assert_eq!(&guilty, &expected);
                prop_assert_eq!(&accepted, &good);
            }
        }
    }
}
