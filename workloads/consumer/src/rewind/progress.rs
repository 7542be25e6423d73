//! How far the reading into another schema is, and what it waits for: shown on standard error until everything is there.

use super::{offsets::Bounds, tail};
use crate::{
    sink::postgres::{Postgres, ledger::LedgerKey},
    topic::Partition,
};
use runtime::{env::Env, health::Health};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_secs(1);
/// Without any progress for so long, there may be nothing left to be read.
const STILL: Duration = Duration::from_secs(3);
/// Without any progress for so long, one wants to know why, and again after the same time.
const QUIET: Duration = Duration::from_secs(10);

/// A watch over a ledger that moves to where the topics ended.
pub(super) struct Progress<'a> {
    kafka: Env,
    postgres: &'a Postgres,
    key: &'a LedgerKey,
    ends: BTreeMap<Partition, i64>,
    /// Partitions without a message between the ledger and the end, and how many there were that Kafka has deleted.
    empty: BTreeMap<Partition, i64>,
}

impl<'a> Progress<'a> {
    pub(super) fn new(
        kafka: Env,
        postgres: &'a Postgres,
        key: &'a LedgerKey,
        ends: BTreeMap<Partition, i64>,
    ) -> Progress<'a> {
        Progress {
            kafka,
            postgres,
            key,
            ends,
            empty: BTreeMap::new(),
        }
    }

    /// Ends the reading when everything is there; answers whether it is.
    pub(super) async fn watch(&mut self, health: &Health, done: &CancellationToken) -> bool {
        let (mut all, mut shown) = (None, None);
        let (mut moved, mut looked, mut told) = (Instant::now(), Instant::now(), Instant::now());
        while !done.is_cancelled() {
            if let Some(left) = self.left().await {
                let count = count(&left);
                let all = *all.get_or_insert(count);
                if shown != Some(count) {
                    eprintln!("{} of {all} messages", all - count);
                    (shown, moved) = (Some(count), Instant::now());
                }
                if left.is_empty() {
                    done.cancel();
                    return true;
                }
                if moved.elapsed() >= STILL && looked.elapsed() >= STILL {
                    self.look_for_empty(left).await;
                    looked = Instant::now();
                }
            }
            if moved.elapsed() >= QUIET && told.elapsed() >= QUIET {
                for obstacle in obstacles(health) {
                    eprintln!("waiting: {obstacle}");
                }
                told = Instant::now();
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                () = done.cancelled() => {}
            }
        }
        false
    }

    /// Messages that Kafka had deleted and nobody could read.
    pub(super) fn deleted(&self) -> i64 {
        self.empty.values().sum()
    }

    /// What is left to be read; `None` while PostgreSQL does not tell.
    async fn left(&self) -> Option<Bounds> {
        let partitions: BTreeSet<Partition> = self.ends.keys().cloned().collect();
        let ledger = self.postgres.read_ledger(self.key, &partitions).await.ok()?;
        let left = self.ends.iter().filter_map(|(partition, end)| {
            let next = *ledger.get(partition).unwrap_or(&0);
            let is_left = next < *end && !self.empty.contains_key(partition);
            is_left.then(|| (partition.clone(), (next, *end)))
        });
        Some(left.collect())
    }

    /// Looks for partitions of which nothing is left that could be read.
    async fn look_for_empty(&mut self, left: Bounds) {
        let kafka = self.kafka.clone();
        // While Kafka is away, the reader says so.
        if let Ok(Ok(empty)) = spawn_blocking(move || tail::empty(&kafka, &left)).await {
            self.empty.extend(empty);
        }
    }
}

fn count(left: &Bounds) -> i64 {
    left.values().map(|(next, end)| end - next).sum()
}

/// Why nothing moves, as far as the reader knows.
fn obstacles(health: &Health) -> Vec<String> {
    let not_ready = health.readiness().not_ready;
    if not_ready.is_empty() {
        return vec!["everything is ready, and nothing more comes from Kafka".to_owned()];
    }
    not_ready
        .into_iter()
        .map(|part| format!("{}: {}", part.part, part.reason))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_it_up_is_said() {
        let health = Health::new(&["kafka", "postgres"]);
        health.set("kafka", Err("no right to read as group g-audit".to_owned()));
        health.set("postgres", Ok(()));
        assert_eq!(obstacles(&health), ["kafka: no right to read as group g-audit"]);
        health.set("kafka", Ok(()));
        assert_eq!(
            obstacles(&health),
            ["everything is ready, and nothing more comes from Kafka"]
        );
    }
}
