//! Questions that come at nearly the same time, asked as one.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

/// How long a question waits for company.
const WINDOW: Duration = Duration::from_millis(20);

type Answer<T> = Shared<BoxFuture<'static, T>>;

/// Where those who ask for `K` meet.
pub(super) struct Gather<K, T: Clone> {
    open: Mutex<Option<Open<K, T>>>,
}

/// A question that was not asked yet. Whoever waits for the answer drives it; without anybody it is gone.
struct Open<K, T: Clone> {
    /// Absent once it is asked.
    keys: Keys<K>,
    answer: WeakShared<BoxFuture<'static, T>>,
}

type Keys<K> = Arc<Mutex<Option<BTreeSet<K>>>>;

impl<K, T: Clone> Default for Gather<K, T> {
    fn default() -> Self {
        Gather { open: Mutex::default() }
    }
}

impl<K, T: Clone> fmt::Debug for Gather<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather").finish_non_exhaustive()
    }
}

impl<K: Ord + Send + 'static, T: Clone + Send + 'static> Gather<K, T> {
    /// The answer to a question about at least `keys`. `question` is asked where nobody else's is open.
    pub(super) fn ask<F>(
        &self,
        keys: impl IntoIterator<Item = K>,
        question: impl FnOnce(BTreeSet<K>) -> F + Send + 'static,
    ) -> Answer<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = open.as_ref()
            && let Some(answer) = present.answer.upgrade()
            && let Some(asked_for) = lock(&present.keys).as_mut()
        {
            asked_for.extend(keys);
            return answer;
        }
        let keys: Keys<K> = Arc::new(Mutex::new(Some(keys.into_iter().collect())));
        let asked_for = keys.clone();
        let asking = async move {
            tokio::time::sleep(WINDOW).await;
            let keys = lock(&asked_for).take().unwrap_or_default();
            question(keys).await
        };
        let answer = asking.boxed().shared();
        *open = answer.downgrade().map(|answer| Open { keys, answer });
        answer
    }
}

fn lock<K>(keys: &Keys<K>) -> std::sync::MutexGuard<'_, Option<BTreeSet<K>>> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_asked_at_the_same_time_is_one_question_and_later_another() {
        let gather = Gather::<i32, BTreeSet<i32>>::default();
        let ask = |keys: [i32; 2]| gather.ask(keys, std::future::ready);
        let (one, other) = (ask([1, 2]), ask([2, 3]));
        assert_eq!(futures::join!(one, other).0, BTreeSet::from([1, 2, 3]));
        assert_eq!(ask([7, 8]).await, BTreeSet::from([7, 8]));
    }

    #[tokio::test]
    async fn a_question_that_nobody_waits_for_is_gone() {
        let gather = Gather::<i32, BTreeSet<i32>>::default();
        drop(gather.ask([1], std::future::ready));
        assert_eq!(gather.ask([2], std::future::ready).await, BTreeSet::from([2]));
    }
}
