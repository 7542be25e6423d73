//! Whether everything is alive again, and everything stored: conditions, never times.

use crate::load::{self, Load};
use crate::messages;
use crate::plan::Fault;
use crate::poison::Poison;
use crate::stage::{PARTITIONS, Stage};
use crate::stores::Stores;
use anyhow::{Context, Result, ensure};
use contract::Source;
use e2e::eventually::eventually;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for each of the conditions.
const PATIENCE: Duration = Duration::from_secs(150);
/// Uploads that show that a producer works.
const UPLOADS: u64 = 3;

/// Waits until workloads and brokers are as before, and all that was written by then is stored. Answers how many
/// workloads had ended by themselves and were started again, as a kubelet would.
pub(crate) async fn again(stage: &Arc<Stage>, load: &Load, poison: &Poison, faults: &[Fault]) -> Result<u32> {
    let mut restarts = 0;
    eventually("everything is ready", PATIENCE, async || {
        for workload in &stage.workloads {
            if !workload.is_running() {
                restarts += 1;
                workload.start()?;
            }
        }
        for workload in &stage.workloads {
            workload.ready().await?;
        }
        every_partition_is_read(stage).await?;
        let stage = stage.clone();
        tokio::task::spawn_blocking(move || messages::in_sync(&stage)).await??;
        Ok(Some(()))
    })
    .await?;
    until_all_is_stored(stage).await?;
    if faults
        .iter()
        .any(|fault| matches!(fault, Fault::Restored { quiet: true, .. }))
    {
        load.resume();
        poison.resume();
    }
    load::until_each_accepts(load, UPLOADS, PATIENCE).await?;
    Ok(restarts)
}

/// Each partition is one consumer's, and each consumer has some.
async fn every_partition_is_read(stage: &Stage) -> Result<()> {
    let mut shares = Vec::new();
    for consumer in stage.consumers() {
        shares.push(consumer.partitions().await?);
    }
    let all = f64::from(PARTITIONS) * Source::ALL.len() as f64;
    ensure!(
        shares.iter().sum::<f64>() == all && shares.iter().all(|share| *share > 0.0),
        "the consumers have {shares:?} of {all} partitions"
    );
    Ok(())
}

/// Waits until each producer tells that everything is accounted for and nothing is in flight any more. What it tells may
/// be some seconds old, and must balance at any time.
pub(crate) async fn until_accounts_balance(stage: &Stage) -> Result<()> {
    for producer in stage.producers() {
        let account = eventually("nothing is in flight", PATIENCE, async || {
            let account = producer.account().await?;
            let sources = account["sources"].as_array().context("an account without sources")?;
            let done = sources.iter().all(|source| source["messages"]["inFlight"] == 0);
            Ok(done.then_some(account))
        })
        .await?;
        ensure!(account["balanced"] == true, "something is unaccounted for: {account}");
    }
    Ok(())
}

/// Waits until the ledger is where the topics end now; answers where that is.
pub(crate) async fn until_all_is_stored(stage: &Arc<Stage>) -> Result<BTreeMap<(Source, i32), i64>> {
    let ends = eventually("the topics' ends", PATIENCE, async || {
        let stage = stage.clone();
        tokio::task::spawn_blocking(move || messages::ends(&stage))
            .await?
            .map(Some)
    })
    .await?;
    let stores = Stores::of(&stage.running);
    eventually("what was written is stored", PATIENCE, async || {
        let ledger = stores.ledger().await?;
        let behind = behind(&ends, &ledger);
        ensure!(behind.is_empty(), "{}", behind.join(", "));
        Ok(Some(()))
    })
    .await
    .context("the ledger stands still")?;
    Ok(ends)
}

/// Partitions that the ledger has not read up to these ends.
fn behind(ends: &BTreeMap<(Source, i32), i64>, ledger: &BTreeMap<(Source, i32), i64>) -> Vec<String> {
    ends.iter()
        .filter_map(|(place, end)| {
            let next = ledger.get(place).copied().unwrap_or(0);
            let (source, partition) = place;
            (next < *end).then(|| format!("{source}/{partition} is at {next} of {end}"))
        })
        .collect()
}
