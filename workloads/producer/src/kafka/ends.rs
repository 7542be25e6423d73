//! Where partitions begin and end, for accounts of what became of their messages.

use super::Kafka;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use std::{
    collections::HashMap,
    future::ready,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

/// Longest wait for all partitions together.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for one of them.
const ONE_TIMEOUT: Duration = Duration::from_secs(3);
/// Partitions that are asked for at the same time for one who asks, each on a thread that waits.
const AT_ONCE: usize = 8;
/// The same for all who ask.
pub(super) const THREADS: usize = 16;

/// What of a partition Kafka holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Offset of the first message that is not deleted yet.
    pub start: i64,
    /// Offset that the next message will have.
    pub end: i64,
}

/// A partition, by the name of its topic.
pub type TopicPartition = (String, i32);

/// What accounts need of Kafka, apart so that they can be tested.
pub trait Extents: Send + Sync {
    /// Kafka's id of the cluster, once it is known.
    fn cluster(&self) -> Option<Arc<str>>;

    /// How many partitions a topic has, as far as Kafka has told.
    fn partitions(&self, topic: &str) -> Option<i32>;

    /// The extents of these partitions. Returns within a bound, and without those that did not answer.
    fn extents(&self, partitions: Vec<TopicPartition>) -> BoxFuture<'_, HashMap<TopicPartition, Extent>>;
}

impl Extents for Kafka {
    fn cluster(&self) -> Option<Arc<str>> {
        Kafka::cluster(self)
    }

    fn partitions(&self, topic: &str) -> Option<i32> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        partitions.get(topic).copied()
    }

    fn extents(&self, partitions: Vec<TopicPartition>) -> BoxFuture<'_, HashMap<TopicPartition, Extent>> {
        let deadline = Instant::now() + TIMEOUT;
        stream::iter(partitions)
            .map(move |partition| self.extent(partition, deadline))
            .buffer_unordered(AT_ONCE)
            .filter_map(ready)
            .collect()
            .boxed()
    }
}

impl Kafka {
    async fn extent(&self, partition: TopicPartition, deadline: Instant) -> Option<(TopicPartition, Extent)> {
        let asking = self.asking.clone();
        let permit = timeout_at(deadline, asking.acquire_owned()).await.ok()?.ok()?;
        let left = deadline.saturating_duration_since(Instant::now()).min(ONE_TIMEOUT);
        if left.is_zero() {
            return None;
        }
        let producer = self.producer.clone();
        let asked = spawn_blocking(move || {
            use rdkafka::producer::Producer;
            let (topic, number) = &partition;
            let told = producer.client().fetch_watermarks(topic, *number, left);
            // Of the thread, which goes on where nobody waits for it any more.
            drop(permit);
            (partition, told)
        });
        // A thread may begin late, where others have all of them.
        match timeout_at(deadline, asked).await.ok()?.ok()? {
            (partition, Ok((start, end))) => Some((partition, Extent { start, end })),
            ((topic, partition), Err(error)) => {
                tracing::debug!(topic, partition, %error, "the end of a partition is not known");
                None
            }
        }
    }
}
