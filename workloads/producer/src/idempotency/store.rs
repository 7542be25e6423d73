//! Claims and kept answers in PostgreSQL.

use super::{Answers, CLAIM, Claim, Kept, request::RepeatableRequest};
use crate::database::{Away, Database};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{PgPool, Row, postgres::PgRow};
use std::time::Duration;
use uuid::Uuid;

/// A row may be deleted between two statements, once.
const ATTEMPTS: usize = 3;

/// Takes a key that is not in use: because it never was, because its window is over, or because whoever was at the
/// same request is gone.
const TAKE: &str = "\
    INSERT INTO idempotent_request AS old (client, key, fingerprint, claim, claimed_until, expires_at) \
    VALUES ($1, $2, $3, $4, now() + $5 * interval '1 second', now() + $6 * interval '1 second') \
    ON CONFLICT (client, key) DO UPDATE SET \
        fingerprint = excluded.fingerprint, claim = excluded.claim, claimed_until = excluded.claimed_until, \
        expires_at = excluded.expires_at, status = NULL, answer = NULL \
    WHERE old.expires_at <= now() \
       OR old.status IS NULL AND old.claimed_until <= now() AND old.fingerprint = excluded.fingerprint";

const LOOK: &str = "\
    SELECT fingerprint = $3 AS same, status, answer, \
        greatest(ceil(extract(epoch FROM claimed_until - now())), 1)::int AS seconds \
    FROM idempotent_request WHERE client = $1 AND key = $2 AND expires_at > now()";

const KEEP: &str = "\
    UPDATE idempotent_request SET status = $4, answer = $5, expires_at = now() + $6 * interval '1 second' \
    WHERE client = $1 AND key = $2 AND claim = $3 AND status IS NULL";

const RELEASE: &str = "\
    DELETE FROM idempotent_request WHERE client = $1 AND key = $2 AND claim = $3 AND status IS NULL";

/// What is kept in PostgreSQL for `window`.
#[derive(Debug, Clone)]
pub struct KeptAnswers {
    /// PostgreSQL.
    pub database: Database,
    /// How long an answer is kept.
    pub window: Duration,
}

impl Answers for KeptAnswers {
    fn claim(&self, request: RepeatableRequest) -> BoxFuture<'_, Result<Claim, Away>> {
        let window = self.window.as_secs_f64();
        self.database
            .ask(async move |pool| {
                for _ in 0..ATTEMPTS {
                    if let Some(claim) = attempt(&pool, &request, window).await? {
                        return Ok(claim);
                    }
                }
                Ok(Claim::UnderWay { seconds: 1 })
            })
            .boxed()
    }

    fn keep(&self, request: RepeatableRequest, claim: Uuid, answer: Kept) -> BoxFuture<'_, Result<(), Away>> {
        let window = self.window.as_secs_f64();
        self.database
            .ask(async move |pool| {
                // An HTTP status.
                let status = answer.status as i16;
                let query = sqlx::query(KEEP)
                    .bind(request.sender.as_str())
                    .bind(request.key)
                    .bind(claim);
                let query = query.bind(status).bind(&answer.body[..]).bind(window);
                query.execute(&pool).await.map(drop)
            })
            .boxed()
    }

    fn release(&self, request: RepeatableRequest, claim: Uuid) -> BoxFuture<'_, Result<(), Away>> {
        self.database
            .ask(async move |pool| {
                let query = sqlx::query(RELEASE)
                    .bind(request.sender.as_str())
                    .bind(request.key)
                    .bind(claim);
                query.execute(&pool).await.map(drop)
            })
            .boxed()
    }
}

/// What is known of the request; nothing where that changed while it was asked.
async fn attempt(pool: &PgPool, request: &RepeatableRequest, window: f64) -> Result<Option<Claim>, sqlx::Error> {
    let claim = Uuid::new_v4();
    let take = sqlx::query(TAKE)
        .bind(request.sender.as_str())
        .bind(&request.key)
        .bind(request.fingerprint.as_bytes());
    let take = take.bind(claim).bind(CLAIM.as_secs_f64()).bind(window);
    if take.execute(pool).await?.rows_affected() == 1 {
        return Ok(Some(Claim::Ours(claim)));
    }
    let look = sqlx::query(LOOK)
        .bind(request.sender.as_str())
        .bind(&request.key)
        .bind(request.fingerprint.as_bytes());
    look.try_map(known).fetch_optional(pool).await
}

fn known(row: PgRow) -> Result<Claim, sqlx::Error> {
    if !row.try_get::<bool, _>("same")? {
        return Ok(Claim::OtherRequest);
    }
    let status: Option<i16> = row.try_get("status")?;
    let answer: Option<Vec<u8>> = row.try_get("answer")?;
    let seconds: i32 = row.try_get("seconds")?;
    Ok(match (status, answer) {
        (Some(status), Some(answer)) => Claim::Answered(Kept {
            status: status.unsigned_abs(),
            body: answer.into(),
        }),
        _ => Claim::UnderWay {
            seconds: wait(seconds.unsigned_abs()),
        },
    })
}

/// How long to wait for a request whose claim lasts for so many seconds more: as long as it is under way already. Most
/// take a fraction of a second; the claim of a pod that died is waited for to its end.
fn wait(left: u32) -> u32 {
    let whole = u32::try_from(CLAIM.as_secs()).unwrap_or(u32::MAX);
    whole.saturating_sub(left).clamp(1, left.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_repeats_a_request_waits_as_long_as_it_is_under_way() {
        for (left, seconds) in [(30, 1), (29, 1), (27, 3), (20, 10), (10, 10), (1, 1), (0, 1), (31, 1)] {
            assert_eq!(wait(left), seconds, "{left}");
        }
        let mut left = 30;
        let repeats = (0..30).take_while(|_| {
            left -= wait(left).min(left);
            left > 0
        });
        assert!(repeats.count() < 8, "the pauses grow");
    }
}
