//! Finds the items that a store refuses, by halving.

use std::ops::Range;

/// Offers all of `count` items to `offer`, and halves whatever it refuses until the single guilty items are found.
/// `offer` must have no effect when it refuses. Returns the guilty ones with the refusal of each; every other item
/// was accepted exactly once.
///
/// `offer` answers `Ok(None)` when it accepts the range, `Ok(Some(refusal))` when an item in it is bad, and an error
/// when the store cannot judge: that ends the search.
pub async fn isolate<R, E>(
    count: usize,
    mut offer: impl AsyncFnMut(Range<usize>) -> Result<Option<R>, E>,
) -> Result<Vec<(usize, R)>, E> {
    let mut guilty = Vec::new();
    // A stack rather than recursion; the right half goes in first, so that items keep their order.
    let mut ranges: Vec<Range<usize>> = std::iter::once(0..count).collect();
    while let Some(range) = ranges.pop() {
        if range.is_empty() {
            continue;
        }
        let Some(refusal) = offer(range.clone()).await? else {
            continue;
        };
        if range.len() == 1 {
            guilty.push((range.start, refusal));
        } else {
            let middle = range.start + range.len() / 2;
            ranges.push(middle..range.end);
            ranges.push(range.start..middle);
        }
    }
    Ok(guilty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{collections::BTreeSet, convert::Infallible};

    fn run(size: usize, bad: &BTreeSet<usize>) -> (Vec<usize>, Vec<usize>, usize) {
        let (mut accepted, mut offers) = (vec![], 0);
        let guilty = futures::executor::block_on(isolate(size, async |range| {
            offers += 1;
            if range.clone().any(|item| bad.contains(&item)) {
                return Ok::<_, Infallible>(Some("bad"));
            }
            accepted.extend(range);
            Ok(None)
        }));
        let guilty = guilty.unwrap().into_iter().map(|(index, _)| index).collect();
        (guilty, accepted, offers)
    }

    #[test]
    fn one_bad_item_in_a_thousand_takes_few_offers() {
        let (guilty, _, offers) = run(1_000, &BTreeSet::from([617]));
        assert_eq!(guilty, [617]);
        assert!(offers <= 2 * 10 + 1, "{offers}");
    }

    #[test]
    fn a_store_that_cannot_judge_ends_the_search() {
        let outcome = futures::executor::block_on(isolate(3, async |range| match range.len() {
            3 => Ok(Some("bad")),
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
            let (guilty, accepted, _) = run(size, &bad);
            let expected: Vec<usize> = bad.iter().copied().filter(|item| *item < size).collect();
            prop_assert_eq!(&guilty, &expected);
            let good: Vec<usize> = (0..size).filter(|item| !bad.contains(item)).collect();
            prop_assert_eq!(&accepted, &good);
        }
    }
}
