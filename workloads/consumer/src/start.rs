//! What has to be there before reading begins, and what is looked after while reading goes on.

use crate::{
    config::Config,
    poll::{KAFKA, ReadError},
    retry::Backoff,
    sink::{
        Fault, MONGODB, POSTGRES, StoreError,
        health::StoreHealth,
        mongodb::Mongodb,
        postgres::{Postgres, schema},
    },
    topic::Topics,
    topic_ids::TopicIds,
};
use runtime::health::Health;
use std::{future::Future, time::Duration};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Time between looks at the topics' ids while all is well.
const WATCH: Duration = Duration::from_secs(30);
/// The same while Kafka is away, so that readiness comes back soon.
const WATCH_CLOSELY: Duration = Duration::from_secs(3);
/// Time between looks for months to be created.
const MONTHS: Duration = Duration::from_secs(6 * 3_600);

/// Stands for the greeting among the lanes that report on a store: none of them has this number.
const GREETING: usize = usize::MAX;

/// Tables and topics, at once, however long it takes. `None` when the process is to stop.
pub(crate) async fn prepare(
    config: &Config,
    topic_ids: &TopicIds,
    health: &Health,
    stop: &CancellationToken,
) -> Option<Topics> {
    let migrated = |outcome| health.set(POSTGRES, outcome);
    let tables = until_done(migrated, stop, || schema::migrate(&config.postgres));
    let topics = async {
        let mut backoff = Backoff::brief();
        loop {
            match topic_ids.read().await {
                Ok(topics) => {
                    health.set(KAFKA, Ok(()));
                    return Some(topics);
                }
                Err(error) => health.set(KAFKA, Err(error.to_string())),
            }
            if !backoff.wait(stop).await {
                return None;
            }
        }
    };
    let (tables, topics) = tokio::join!(tables, topics);
    tables.and(topics)
}

/// Asks MongoDB until it answers, so that `/ready` says what is wrong with it. Nobody waits for that: who writes there has
/// a patience of his own, and what PostgreSQL alone takes is read meanwhile.
pub(crate) async fn greet(mongodb: Mongodb, health: StoreHealth, stop: CancellationToken) {
    let said = |outcome: Result<(), String>| match outcome {
        Ok(()) => health.works(MONGODB, GREETING),
        Err(reason) => health.fails(MONGODB, GREETING, &reason),
    };
    until_done(said, &stop, || mongodb.ping()).await;
}

/// Tries until it is done, and tells `say` what became of each attempt.
async fn until_done<F: Future<Output = Result<(), StoreError>>>(
    say: impl Fn(Result<(), String>),
    stop: &CancellationToken,
    attempt: impl Fn() -> F,
) -> Option<()> {
    let (mut brief, mut slow) = (Backoff::brief(), Backoff::slow());
    loop {
        let error = match attempt().await {
            Ok(()) => {
                say(Ok(()));
                return Some(());
            }
            Err(error) => error,
        };
        say(Err(error.reason));
        let backoff = if error.fault == Fault::Passing {
            &mut brief
        } else {
            &mut slow
        };
        if !backoff.wait(stop).await {
            return None;
        }
    }
}

/// Looks at the topics' ids for as long as they stay the same; returns what changed.
pub(crate) async fn watch(topic_ids: &TopicIds, topics: &Topics, health: &Health) -> ReadError {
    let mut calm = Duration::ZERO;
    loop {
        sleep(WATCH_CLOSELY).await;
        let away = health.readiness().not_ready.iter().any(|part| part.part == KAFKA);
        calm += WATCH_CLOSELY;
        if !away && calm < WATCH {
            continue;
        }
        calm = Duration::ZERO;
        match topic_ids.read().await {
            Ok(now) => {
                if let Err(changed) = topics.same_as(&now) {
                    return changed;
                }
                health.set(KAFKA, Ok(()));
            }
            Err(error) => health.set(KAFKA, Err(error.to_string())),
        }
    }
}

/// Creates the months around the present, now and whenever one is missing, and drops those that are kept no longer.
/// Without it nothing stops: the default partition takes the rows.
pub(crate) async fn look_after_months(postgres: &Postgres, retention_months: Option<u32>) {
    let mut backoff = Backoff::slow();
    loop {
        let created = postgres.create_months().await;
        // Whether or not those are there.
        let dropped = match retention_months {
            Some(months) => postgres.drop_months(months).await,
            None => Ok(()),
        };
        match created.and(dropped) {
            Ok(()) => {
                backoff = Backoff::slow();
                sleep(MONTHS).await;
            }
            Err(error) => {
                tracing::warn!(
                    error = error.reason,
                    "months are not created or dropped yet; the default partition takes the rows of those that are missing"
                );
                sleep(backoff.pause()).await;
            }
        }
    }
}
