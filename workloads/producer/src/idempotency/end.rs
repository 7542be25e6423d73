//! The end of a request that may be repeated: its answer is kept, or its claim is given up, also where PostgreSQL has no
//! time just then. Otherwise a repeat would be done anew, and answered with other receipts than the first time.

use super::{Answers, CLAIM, Kept, request::RepeatableRequest};
use crate::{
    database::{Away, care::jittered},
    intake::Room,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How long after the claim the end may be noted: within the claim, after which somebody else may be at the request.
const PATIENCE: Duration = CLAIM.saturating_sub(Duration::from_secs(5));
/// First and longest pause between two attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// What is to be noted.
#[derive(Debug)]
pub struct End {
    /// The request.
    pub request: RepeatableRequest,
    /// The name under which it is claimed.
    pub claim: Uuid,
    /// When it was claimed, or a little before.
    pub claimed: Instant,
    /// The answer to be kept. The claim is given up where there is none.
    pub answer: Option<Kept>,
    /// The memory of the answer.
    pub room: Option<Arc<Room>>,
}

impl End {
    /// Notes it, if that is possible now.
    pub async fn note(&self, answers: &dyn Answers) -> Result<(), Away> {
        match self.answer.clone() {
            Some(answer) => answers.keep(self.request.clone(), self.claim, answer).await,
            None => answers.release(self.request.clone(), self.claim).await,
        }
    }

    /// Notes it as soon as that is possible, or gives up when the claim is nearly over.
    pub async fn note_later(self, answers: Arc<dyn Answers>) {
        let mut pause = BACKOFF.0;
        loop {
            let wait = jittered(pause);
            if self.claimed.elapsed() + wait > PATIENCE {
                // A repeat is done anew: its records are stored once all the same.
                tracing::warn!("the end of a repeatable request is not noted; a repeat of it is done anew");
                return;
            }
            sleep(wait).await;
            match self.note(answers.as_ref()).await {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "the end of a repeatable request is not noted yet"),
            }
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idempotency::{
        Claim,
        request::{Fingerprint, Sender},
    };
    use contract::Source;
    use futures::{FutureExt, future::BoxFuture};
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Fails for so many attempts.
    struct Failing {
        left: AtomicUsize,
        attempts: AtomicUsize,
    }

    impl Failing {
        fn times(left: usize) -> Arc<Failing> {
            Arc::new(Failing {
                left: AtomicUsize::new(left),
                attempts: AtomicUsize::new(0),
            })
        }

        fn attempt(&self) -> BoxFuture<'_, Result<(), Away>> {
            self.attempts.fetch_add(1, Ordering::Relaxed);
            let less = |left: usize| left.checked_sub(1);
            let outcome = match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
                Ok(_) => Err(Away("test".to_owned())),
                Err(_) => Ok(()),
            };
            async move { outcome }.boxed()
        }
    }

    impl Answers for Failing {
        fn claim(&self, _: RepeatableRequest) -> BoxFuture<'_, Result<Claim, Away>> {
            async { panic!("claimed already") }.boxed()
        }

        fn keep(&self, _: RepeatableRequest, _: Uuid, _: Kept) -> BoxFuture<'_, Result<(), Away>> {
            self.attempt()
        }

        fn release(&self, _: RepeatableRequest, _: Uuid) -> BoxFuture<'_, Result<(), Away>> {
            self.attempt()
        }
    }

    fn end(answer: Option<Kept>) -> End {
        End {
            request: RepeatableRequest {
                sender: Sender::new("", "default", "u", "d"),
                key: "a".to_owned(),
                fingerprint: Fingerprint::of(Source::Sms, "sms_batched", "default", b"{}"),
            },
            claim: Uuid::nil(),
            claimed: Instant::now(),
            answer,
            room: None,
        }
    }

    #[tokio::test]
    async fn an_end_is_noted_as_soon_as_that_is_possible() {
        let kept = Kept {
            status: 200,
            body: "{}".into(),
        };
        for answer in [Some(kept), None] {
            let answers = Failing::times(2);
            end(answer).note_later(answers.clone()).await;
            assert_eq!(answers.attempts.load(Ordering::Relaxed), 3);
        }
    }

    #[tokio::test]
    async fn nothing_is_noted_of_a_claim_that_may_be_over() {
        let answers = Failing::times(0);
        let mut end = end(None);
        end.claimed = end.claimed.checked_sub(PATIENCE).unwrap();
        end.note_later(answers.clone()).await;
        assert_eq!(answers.attempts.load(Ordering::Relaxed), 0);
    }
}
