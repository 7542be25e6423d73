//! The consumer's reader, with nobody to write.

use anyhow::{Context, Result, anyhow, ensure};
use benches::{tools::Rate, workload::consumer_environment};
use consumer::{
    batch::Batch,
    collected::Collected,
    config::Config,
    metrics::Metrics,
    poll::{
        KAFKA, Reader, consumer_config, lane,
        membership::{Membership, Parts},
    },
    sink::postgres::{Postgres, ledger::LedgerKey, schema},
    topic::{Partition, Topics},
    topic_ids::TopicIds,
    writer::{Completion, Ending},
};
use contract::Source;
use runtime::{
    env::Env,
    health::Health,
    kafka::{Tokens, client_config},
};
use services::Running;
use std::{
    sync::{Arc, mpsc as blocking},
    thread,
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

const SCHEMA: &str = "bench_consume";

/// Longest wait for the group to hand out partitions, and for batches.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at whether the partitions are there.
const LOOK: Duration = Duration::from_millis(1);

/// How fast the messages of the source's topic, all of its partitions, become rows.
pub(crate) async fn read(running: &Running, source: Source, group: &str, messages: u64, records: u64) -> Result<Rate> {
    let config = Config::from_env(&Env::from_pairs(consumer_environment(running, source, group, SCHEMA)))?;
    schema::migrate(&config.postgres).await?;
    let postgres = Postgres::new(&config.postgres, config.sources());
    let topic_ids = TopicIds::new(&config.kafka, config.topics.clone())?;
    let topics = topic_ids.read().await?;
    let ledger = LedgerKey {
        cluster: topics.cluster.clone(),
        group: group.to_owned(),
        mongodb: Arc::default(),
    };
    // From the beginning of each partition, which the reader need not ask Kafka for.
    postgres.create_ledger(&ledger, &beginnings(&topics, source)).await?;

    let health = Health::new(&[KAFKA]);
    let stop = CancellationToken::new();
    let (done, completions) = blocking::channel();
    let (counted, mut counts) = mpsc::unbounded_channel();
    let mut writers = Vec::new();
    for lane in 0..lane::count(&topics, config.lanes_of_topic()) {
        let (batches, waiting) = mpsc::channel(lane::BATCHES_WITH_WRITER);
        let (done, counted) = (done.clone(), counted.clone());
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || take(lane, waiting, &done, &counted))?;
        writers.push(batches);
    }
    let member = Membership::new(Parts {
        runtime: Handle::current(),
        postgres: postgres.clone(),
        ledger,
        topic_ids,
        topics,
        health: health.clone(),
        metrics: Metrics::register()?,
        stop: stop.clone(),
        epoch: Arc::default(),
        completions,
        limits: config.limits,
        lanes_of_topic: config.lanes_of_topic(),
        // Nobody writes what the ledger says.
        ledger_looks: Duration::MAX,
        tokens: Tokens::from_env(&config.kafka)?,
    });
    let settings = consumer_config(client_config(&config.kafka)?, group);
    let reader = Reader::join(&settings, member, writers, stop.clone(), CancellationToken::new())?;
    let thread = thread::Builder::new()
        .name("reader".to_owned())
        .spawn(move || reader.run())?;
    let _stops = stop.drop_guard();

    let joined = Instant::now();
    while !health.readiness().ready {
        ensure!(joined.elapsed() < PATIENCE, "the reader was given no partitions");
        sleep(LOOK).await;
    }
    let began = Instant::now();
    let mut all = Count::default();
    while all.messages < messages {
        let count = tokio::time::timeout(PATIENCE, counts.recv()).await;
        let count = count.with_context(|| format!("{} of {messages} messages were read", all.messages))?;
        let count = count.context("the reader ended")?;
        all.messages += count.messages;
        all.records += count.records;
        all.bytes += count.bytes;
    }
    let seconds = began.elapsed().as_secs_f64();
    ensure!(
        (all.messages, all.records) == (messages, records),
        "{} messages with {} good records were read, of {messages} with {records}",
        all.messages,
        all.records
    );
    drop(_stops);
    let ended = tokio::task::spawn_blocking(move || thread.join()).await?;
    ended.map_err(|_| anyhow!("the reader panicked"))??;
    postgres.close().await;
    Ok(Rate {
        messages: messages as f64 / seconds,
        mebibytes: all.bytes as f64 / f64::from(1 << 20) / seconds,
    })
}

/// What a batch held.
#[derive(Default)]
struct Count {
    messages: u64,
    /// Good ones only.
    records: u64,
    /// Of keys and values.
    bytes: u64,
}

/// Decodes what was collected for one lane, in place of its writer.
fn take(
    lane: usize,
    mut waiting: mpsc::Receiver<Collected>,
    done: &blocking::Sender<Completion>,
    counted: &mpsc::UnboundedSender<Count>,
) {
    while let Some(collected) = waiting.blocking_recv() {
        let mut count = Count::default();
        let senders = collected.senders();
        for Batch { messages, rows, .. } in collected.batches(&senders) {
            count.records += rows.len() as u64;
            for message in messages {
                count.messages += 1;
                let texts = [message.delivery.key, message.delivery.value];
                count.bytes += texts.into_iter().flatten().map(<[u8]>::len).sum::<usize>() as u64;
            }
        }
        drop(senders);
        let completion = Completion {
            lane,
            epoch: collected.epoch,
            moves: collected.moves,
            density: count.records as f64 / count.messages.max(1) as f64,
            ending: Ending::Written,
        };
        if counted.send(count).is_err() || done.send(completion).is_err() {
            return;
        }
    }
}

fn beginnings(topics: &Topics, source: Source) -> std::collections::BTreeMap<Partition, i64> {
    let partitions = topics.topics.iter().flat_map(|topic| {
        (0..source.partitions()).map(|number| Partition {
            topic: topic.clone(),
            number,
        })
    });
    partitions.map(|partition| (partition, 0)).collect()
}
