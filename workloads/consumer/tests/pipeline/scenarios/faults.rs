//! Processes that end in the middle of their work.

use crate::{load::Load, stage::Stage, stored::Stored, wait};
use anyhow::{Result, ensure};
use contract::{Source, env, metric};
use rdkafka::consumer::{BaseConsumer, Consumer};
use sqlx::Executor;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const BOTH: &[Source] = &[Source::Sms, Source::Events];

/// Loads both sources, some 2,000 records a second, until `disturb` has done its worst.
async fn under_load(stage: &Stage, disturb: impl AsyncFnOnce() -> Result<()>) -> Result<Load> {
    let mut load = Load::new(stage)?;
    let mut disturbed = std::pin::pin!(disturb());
    loop {
        tokio::select! {
            outcome = &mut disturbed => {
                outcome?;
                break;
            }
            loaded = async {
                load.upload(Source::Sms, 10, 25).await?;
                load.upload(Source::Events, 1, 250).await?;
                tokio::time::sleep(Duration::from_millis(250)).await;
                anyhow::Ok(())
            } => loaded?,
        }
    }
    Ok(load)
}

async fn until_stored(stored: &Stored, more: u64) -> Result<()> {
    let before = stored.count(Source::Sms).await.unwrap_or_default();
    wait::until("some records are stored", Duration::from_secs(60), async || {
        let count = stored.count(Source::Sms).await?;
        Ok((count < before + more).then(|| format!("{count} of {}", before + more)))
    })
    .await
}

/// `kill -9`, three times, then a last reader that works off the rest.
pub(crate) async fn a_reader_killed_in_mid_load(stage: Stage) -> Result<()> {
    let stored = Stored::of(&stage)?;
    let load = under_load(&stage, async || {
        for _ in 0..3 {
            let reader = stage.start_ready(BOTH).await?;
            until_stored(&stored, 1_000).await?;
            reader.kill9()?;
        }
        Ok(())
    })
    .await?;
    let reader = stage.start_ready(BOTH).await?;
    stage.until_no_lag(BOTH).await?;
    stored.ensure_exactly(&load.expected).await?;
    reader.terminate().await
}

/// A second reader joins, the first leaves, a third joins, the second is killed.
pub(crate) async fn readers_come_and_go_under_load(stage: Stage) -> Result<()> {
    let stored = Stored::of(&stage)?;
    let (mut last, mut fenced) = (None, 0.0);
    let load = under_load(&stage, async || {
        let first = stage.start_ready(BOTH).await?;
        until_stored(&stored, 500).await?;
        let second = stage.start_ready(BOTH).await?;
        until_shared(&[&first, &second]).await?;
        until_stored(&stored, 500).await?;
        fenced += first.metric(metric::CONSUMER_FENCED, "").await?;
        first.terminate().await?;
        until_shared(&[&second]).await?;
        until_stored(&stored, 500).await?;
        let third = stage.start_ready(BOTH).await?;
        until_shared(&[&second, &third]).await?;
        until_stored(&stored, 500).await?;
        fenced += second.metric(metric::CONSUMER_FENCED, "").await?;
        second.kill9()?;
        until_shared(&[&third]).await?;
        until_stored(&stored, 500).await?;
        last = Some(third);
        Ok(())
    })
    .await?;
    stage.until_no_lag(BOTH).await?;
    stored.ensure_exactly(&load.expected).await?;
    if let Some(third) = &last {
        fenced += third.metric(metric::CONSUMER_FENCED, "").await?;
    }
    println!("       fenced batches: {fenced}");
    Ok(())
}

/// All eight partitions are assigned, evenly.
async fn until_shared(readers: &[&crate::reader::Reader]) -> Result<()> {
    wait::until("partitions are shared", Duration::from_secs(60), async || {
        let mut shares = Vec::new();
        for reader in readers {
            shares.push(reader.metric(metric::CONSUMER_PARTITIONS, "").await?);
        }
        let share = 8.0 / readers.len() as f64;
        Ok(shares.iter().any(|one| *one != share).then(|| format!("{shares:?}")))
    })
    .await
}

/// Partitions that went to another member of the group while they were paused, and came back when nothing is paused
/// any more: they are read on.
pub(crate) async fn a_pause_ends_for_partitions_that_come_back(stage: Stage) -> Result<()> {
    let stored = Stored::of(&stage)?;
    let mut reader = None;
    let load = under_load(&stage, async || {
        let one = stage.start_ready(BOTH).await?;
        until_stored(&stored, 500).await?;
        services::ferretdb::kill9()?;
        until_logged(&one, "partitions are paused").await?;
        let guest = Guest::join(&stage)?;
        guest.until_assigned().await?;
        services::ferretdb::start()?;
        until_logged(&one, "partitions are read on").await?;
        guest.leave()?;
        one.until_ready().await?;
        reader = Some(one);
        Ok(())
    })
    .await?;
    stage.until_no_lag(BOTH).await?;
    stored.ensure_exactly(&load.expected).await?;
    match reader {
        Some(reader) => reader.terminate().await,
        None => Ok(()),
    }
}

/// What a fence throws away would otherwise have ended the pause when it was handed over.
pub(crate) async fn a_pause_ends_with_a_fence(stage: Stage) -> Result<()> {
    let stored = Stored::of(&stage)?;
    let mut reader = None;
    let load = under_load(&stage, async || {
        let one = stage.start_ready(BOTH).await?;
        until_stored(&stored, 500).await?;
        services::ferretdb::kill9()?;
        until_logged(&one, "partitions are paused").await?;
        stored.connection().await?.execute(crate::stored::MOVE_BACK).await?;
        services::ferretdb::start()?;
        until_logged(&one, "another reader moved the ledger").await?;
        until_logged(&one, "partitions are read on").await?;
        reader = Some(one);
        Ok(())
    })
    .await?;
    stage.until_no_lag(BOTH).await?;
    stored.ensure_exactly(&load.expected).await?;
    match reader {
        Some(reader) => reader.terminate().await,
        None => Ok(()),
    }
}

async fn until_logged(reader: &crate::reader::Reader, text: &str) -> Result<()> {
    wait::until("a line of the log", Duration::from_secs(60), async || {
        Ok((!reader.log()?.contains(text)).then(|| format!("no {text:?} yet")))
    })
    .await
}

/// A member of the group that takes partitions and reads nothing.
struct Guest {
    consumer: Arc<BaseConsumer>,
    gone: Arc<AtomicBool>,
    polling: std::thread::JoinHandle<()>,
}

impl Guest {
    fn join(stage: &Stage) -> Result<Guest> {
        let consumer: Arc<BaseConsumer> = Arc::new(
            stage
                .kafka()
                .set("group.id", &stage.name)
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("enable.auto.commit", "false")
                .create()?,
        );
        let topics: Vec<String> = BOTH.iter().map(|source| stage.topic(*source)).collect();
        consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
        let gone = Arc::new(AtomicBool::new(false));
        let (polled, stop) = (consumer.clone(), gone.clone());
        let polling = std::thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                drop(polled.poll(Duration::from_millis(100)));
            }
        });
        Ok(Guest {
            consumer,
            gone,
            polling,
        })
    }

    async fn until_assigned(&self) -> Result<()> {
        wait::until("the guest has partitions", Duration::from_secs(60), async || {
            Ok((self.consumer.assignment()?.count() == 0).then(|| "none".to_owned()))
        })
        .await
    }

    fn leave(self) -> Result<()> {
        self.gone.store(true, Ordering::Release);
        self.polling.join().map_err(|_| anyhow::anyhow!("the guest panicked"))
    }
}

/// PostgreSQL, and with it the MongoDB protocol, which stores there; then the MongoDB protocol alone.
pub(crate) async fn databases_killed_in_mid_load(stage: Stage) -> Result<()> {
    let stored = Stored::of(&stage)?;
    let mut reader = None;
    let load = under_load(&stage, async || {
        let one = stage.start_ready(BOTH).await?;
        until_stored(&stored, 1_000).await?;
        services::postgres::kill9()?;
        // FerretDB stands on it: whichever of the two the reader was writing to.
        one.until_not_ready(&["postgres", "mongodb"]).await?;
        services::postgres::start()?;
        one.until_ready().await?;
        until_stored(&stored, 1_000).await?;
        services::ferretdb::kill9()?;
        one.until_not_ready(&["mongodb"]).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        services::ferretdb::start()?;
        one.until_ready().await?;
        until_stored(&stored, 1_000).await?;
        reader = Some(one);
        Ok(())
    })
    .await?;
    stage.until_no_lag(BOTH).await?;
    stored.ensure_exactly(&load.expected).await?;
    if let Some(reader) = reader {
        let retries = reader.metric(metric::CONSUMER_RETRIES, "").await?;
        ensure!(retries > 0.0, "the faults did not reach the reader");
        reader.terminate().await?;
    }
    Ok(())
}

/// What PostgreSQL alone takes is read whether or not MongoDB is there when a reader starts.
pub(crate) async fn mongodb_holds_up_only_what_is_stored_there(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::CallLogs, 5, 10).await?;
    load.upload(Source::Sms, 5, 10).await?;
    load.upload(Source::Events, 1, 50).await?;
    services::ferretdb::kill9()?;
    let nothing_there = [(env::MONGODB_ENABLED_SOURCES, "contacts".to_owned())];
    let reader = stage.start(&[Source::CallLogs], &nothing_there)?;
    reader.until_ready().await?;
    stage.until_no_lag(&[Source::CallLogs]).await?;
    reader.terminate().await?;

    let events_there = [(env::MONGODB_ENABLED_SOURCES, "events".to_owned())];
    let reader = stage.start(BOTH, &events_there)?;
    stage.until_no_lag(&[Source::Sms]).await?;
    reader.until_not_ready(&["mongodb"]).await?;
    services::ferretdb::start()?;
    reader.until_ready().await?;
    stage.until_no_lag(BOTH).await?;
    let stored = Stored::of(&stage)?;
    for source in [Source::CallLogs, Source::Sms, Source::Events] {
        ensure!(stored.count(source).await? == 50, "{source}");
    }
    ensure!(stored.documents(Source::Events).await?.len() == 50);
    reader.terminate().await
}

/// The only broker, for a while.
pub(crate) async fn kafka_killed_in_mid_load(stage: Stage) -> Result<()> {
    let stored = Stored::of(&stage)?;
    let mut reader = None;
    let load = under_load(&stage, async || {
        let one = stage.start_ready(BOTH).await?;
        until_stored(&stored, 1_000).await?;
        services::kafka::kill9(0)?;
        one.until_not_ready(&["kafka"]).await?;
        tokio::task::spawn_blocking(|| services::kafka::start(0)).await??;
        one.until_ready().await?;
        until_stored(&stored, 1_000).await?;
        reader = Some(one);
        Ok(())
    })
    .await?;
    stage.until_no_lag(BOTH).await?;
    stored.ensure_exactly(&load.expected).await?;
    match reader {
        Some(reader) => reader.terminate().await,
        None => Ok(()),
    }
}
