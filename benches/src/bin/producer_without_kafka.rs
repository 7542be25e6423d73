//! The producer's own server on the port that is its only argument, over a Kafka that is not there: every message counts
//! as acknowledged at once. What is left of the producer without it is the measure of `bench ingest`.

use actix_web::web::Data;
use anyhow::{Context, Result};
use contract::Source;
use futures::{FutureExt, future::BoxFuture};
use producer::{
    api::Producer,
    connections::Connections,
    ingest::Ingest,
    intake::Intake,
    kafka::{
        MessageLog, Outcome, Position,
        ends::{Extent, Extents, TopicPartition},
    },
    metrics::ProducerMetrics,
    serve,
    topics::Topics,
};
use runtime::health::Health;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// Acknowledges.
struct Nowhere {
    cluster: Arc<str>,
    next: AtomicI64,
}

impl MessageLog for Nowhere {
    fn write<'a>(&'a self, _: &'a str, _: &'a str, messages: Vec<Vec<u8>>) -> BoxFuture<'a, Vec<Outcome>> {
        let outcome = |_| {
            Ok(Position {
                cluster: self.cluster.clone(),
                partition: 0,
                offset: self.next.fetch_add(1, Ordering::Relaxed),
            })
        };
        let outcomes = messages.iter().map(outcome).collect();
        async move { outcomes }.boxed()
    }
}

impl Extents for Nowhere {
    fn cluster(&self) -> Option<Arc<str>> {
        Some(self.cluster.clone())
    }

    fn partitions(&self, _: &str) -> Option<i32> {
        None
    }

    fn extents(&self, _: Vec<TopicPartition>) -> BoxFuture<'_, HashMap<TopicPartition, Extent>> {
        async { HashMap::new() }.boxed()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let port = std::env::args().nth(1).context("the port is missing")?;
    let metrics = ProducerMetrics::register()?;
    let nowhere = Arc::new(Nowhere {
        // As long as Kafka's own.
        cluster: "ABCDEFGHIJKLMNOPQRSTUA".into(),
        next: AtomicI64::new(0),
    });
    let producer = Data::new(Producer {
        topics: Topics::new(Source::ALL.map(|source| source.topic().to_owned()).into(), "", None)?,
        tenant: "default".to_owned(),
        intake: Intake::default(),
        keys: None,
        ingest: Arc::new(Ingest {
            log: nowhere.clone(),
            quotas: None,
            answers: None,
            metrics: metrics.clone(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
        }),
        accounts: None,
        extents: nowhere,
        reconciler: None,
        metrics,
    });
    let connections = Connections::default();
    let watched = connections.clone();
    tokio::spawn(async move { watched.keep_moving().await });
    Ok(serve::server(port.parse()?, producer, &Health::new(&[]), connections)?.await?)
}
