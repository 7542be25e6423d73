//! Finds the items that a store refuses.

use std::ops::Range;

/// Fewest items that are offered after a guilty one: the next ones often are guilty, too, and whatever is offered beyond a
/// guilty one was offered in vain.
const FEW: usize = 64;
/// So many times more are offered each time that all goes well.
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
/// the place that the store tells, else in halves. `suspect` is where the store has found one before, if it has. `offer`
/// must have no effect when it refuses. Returns the guilty ones with the refusal of each; every other item was accepted
/// exactly once, in order.
///
/// `offer` answers `Ok(None)` when it accepts the range, `Ok(Some(refusal))` when an item in it is bad, and an error
/// when the store cannot judge: that ends the search.
pub async fn isolate<R, E>(
    count: usize,
    suspect: Option<usize>,
    mut offer: impl AsyncFnMut(Range<usize>) -> Result<Option<Refusal<R>>, E>,
) -> Result<Vec<(usize, R)>, E> {
    let mut guilty = Vec::new();
    // What is known to hold a guilty item, in parts, the first one last; and all behind it.
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut rest = 0..count;
    let mut size = count;
    if let Some(suspect) = suspect.filter(|suspect| *suspect < count) {
        rest.start = suspect + 1;
        size = FEW;
        parts.extend([suspect..suspect + 1, 0..suspect]);
    }
    loop {
        let is_new = parts.is_empty();
        let range = match parts.pop() {
            Some(part) => part,
            None => {
                let end = rest.end.min(rest.start.saturating_add(size));
                std::mem::replace(&mut rest.start, end)..end
            }
        };
        if range.is_empty() {
            match is_new {
                true => return Ok(guilty),
                false => continue,
            }
        }
        let Some(refusal) = offer(range.clone()).await? else {
            if is_new {
                size = size.saturating_mul(GROWTH);
            }
            continue;
        };
        if range.len() == 1 {
            guilty.push((range.start, refusal.reason));
            size = spacing(range.end, guilty.len());
            continue;
        }
        match refusal.place.filter(|place| *place < range.len()) {
            Some(place) => {
                let suspect = range.start + place;
                match is_new {
                    true => rest.start = suspect + 1,
                    false => parts.push(suspect + 1..range.end),
                }
                // Nobody is guilty who was not refused alone.
                parts.push(suspect..suspect + 1);
                parts.push(range.start..suspect);
            }
            None => {
                let middle = range.start + range.len() / 2;
                parts.push(middle..range.end);
                parts.push(range.start..middle);
            }
        }
    }
}

/// How many items are offered after a guilty one: half of what lies between two of them so far.
fn spacing(judged: usize, guilty: usize) -> usize {
    FEW.max(judged / guilty / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, convert::Infallible};

    /// The place that a store tells, of that of a range's first guilty item.
    type Tells = fn(usize) -> Option<usize>;

    /// What was found in a search.
    struct Found {
        guilty: Vec<usize>,
        accepted: Vec<usize>,
        offers: usize,
        /// Items that the store has looked at, again and again where they are offered in vain.
        looked_at: usize,
    }

    fn search(size: usize, suspect: Option<usize>, bad: &BTreeSet<usize>, tells: Tells) -> Found {
        let (mut accepted, mut offers, mut looked_at) = (vec![], 0, 0);
        let guilty = futures::executor::block_on(isolate(size, suspect, async |range| {
            offers += 1;
            if let Some(first) = range.clone().position(|item| bad.contains(&item)) {
                looked_at += first + 1;
                let (reason, place) = ("bad", tells(first));
                return Ok::<_, Infallible>(Some(Refusal { reason, place }));
            }
            looked_at += range.len();
            accepted.extend(range);
            Ok(None)
        }));
        Found {
            guilty: guilty.unwrap().into_iter().map(|(index, _)| index).collect(),
            accepted,
            offers,
            looked_at,
        }
    }

    #[test]
    fn one_bad_item_in_a_thousand_takes_few_offers() {
        let bad = BTreeSet::from([617]);
        let found = search(1_000, None, &bad, |_| None);
        assert_eq!(found.guilty, [617]);
        assert!(found.offers <= 2 * 10 + 1, "{}", found.offers);
        let found = search(1_000, None, &bad, Some);
        assert_eq!(found.guilty, [617]);
        // All, those before, itself, half as many as were before, and the rest.
        assert_eq!(found.offers, 5);
        let found = search(1_000, Some(617), &bad, Some);
        assert_eq!((found.guilty, found.offers), (vec![617], 4));
    }

    #[test]
    fn bad_items_in_a_row_cost_one_small_offer_each_and_a_look_at_each() {
        let bad = (100..140).collect();
        let found = search(5_000, None, &bad, Some);
        assert_eq!((found.guilty.len(), found.accepted.len()), (40, 4_960));
        assert!(found.offers <= 2 * 40 + 20, "{}", found.offers);
    }

    #[test]
    fn one_in_a_hundred_is_found_without_looking_at_all_of_them_twice() {
        let bad: BTreeSet<usize> = (0..50).map(|number| number * 100 + number * 37 % 100).collect();
        let found = search(5_000, bad.first().copied(), &bad, Some);
        assert_eq!(found.guilty.len(), 50);
        assert!(found.looked_at < 2 * 5_000, "{}", found.looked_at);
        assert!(found.offers < 4 * 50, "{}", found.offers);
    }

    #[test]
    fn a_store_that_cannot_judge_ends_the_search() {
        let outcome = futures::executor::block_on(isolate(3, None, async |range| match range.len() {
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
            suspect in proptest::option::of(0..250_usize),
        ) {
            let expected: Vec<usize> = bad.iter().copied().filter(|item| *item < size).collect();
            let good: Vec<usize> = (0..size).filter(|item| !bad.contains(item)).collect();
            // The place, none, one that is wrong, and one that is not in the range.
            let stores: [Tells; 4] = [Some, |_| None, |place| Some(place / 2), |_| Some(usize::MAX)];
            for tells in stores {
                let found = search(size, suspect, &bad, tells);
                prop_assert_eq!(&found.guilty, &expected);
                prop_assert_eq!(&found.accepted, &good);
            }
        }
    }
}
