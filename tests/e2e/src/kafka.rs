//! Topics, lag, messages and dead letters, as any Kafka client sees them.

use anyhow::{Context, Result, anyhow};
use contract::header;
use krafka::admin::{
    AdminClient, AlterConsumerGroupOffsetsOptions, ConfigOp, ConfigResource, CreateTopicsOptions, DeleteTopicsOptions,
    DescribeClusterOptions, DescribeConfigsOptions, DescribeTopicsOptions, IncrementalAlterConfigsOptions,
    ListConsumerGroupOffsetsOptions, ListOffsetsOptions, ListTopicsOptions, NewTopic, OffsetSpec, TopicPartition,
};
use krafka::auth::AuthConfig;
use krafka::consumer::AutoOffsetReset;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use uuid::Uuid;

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to the cluster.
pub struct Kafka {
    connection: krafka::Kafka,
    admin: AdminClient,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Kafka's id of it.
    pub id: Uuid,
    /// Partitions.
    pub partitions: usize,
    /// Copies of the first partition.
    pub copies: usize,
    /// `retention.ms`.
    pub retention: Option<String>,
    /// `min.insync.replicas`.
    pub min_in_sync: Option<String>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Headers as text.
    pub headers: BTreeMap<String, String>,
    /// Key of the original message.
    pub key: Vec<u8>,
    /// Value of the original message.
    pub value: Vec<u8>,
}

impl DeadLetter {
    /// Topic, partition and offset of the original message.
    pub fn origin(&self) -> Option<(String, i32, i64)> {
        let read = |name| self.headers.get(name);
        Some((
            read(header::TOPIC)?.clone(),
            read(header::PARTITION)?.parse().ok()?,
            read(header::OFFSET)?.parse().ok()?,
        ))
    }

    /// Place of the guilty record, where only one record is guilty.
    pub fn index(&self) -> Option<i32> {
        self.headers.get(header::INDEX)?.parse().ok()
    }
}

impl Kafka {
    /// Connects with the services' credentials.
    pub async fn connect(kafka: &services::Kafka) -> Result<Kafka> {
        let brokers: Vec<String> = kafka.brokers.iter().map(ToString::to_string).collect();
        let connection = krafka::Kafka::builder(brokers.join(","))
            .client_id("syncpipeline-e2e")
            .security(AuthConfig::sasl_scram_sha512(&kafka.username, &kafka.password))
            .connect_timeout(Duration::from_secs(5))
            .request_timeout(TIMEOUT)
            .connect()
            .await
            .context("connect to Kafka")?;
        let admin = connection.admin().default_api_timeout(TIMEOUT);
        Ok(Kafka { connection, admin })
    }

    /// How many brokers there are.
    pub async fn brokers(&self) -> Result<usize> {
        Ok(self
            .admin
            .describe_cluster(DescribeClusterOptions::default())
            .await?
            .brokers
            .len())
    }

    /// Names of all topics but Kafka's own.
    pub async fn topic_names(&self) -> Result<Vec<String>> {
        Ok(self.admin.list_topics(ListTopicsOptions::default()).await?)
    }

    /// The topics that exist of those named.
    pub async fn topics(&self, names: &[String]) -> Result<BTreeMap<String, Topic>> {
        let exist = self.topic_names().await?;
        let names: Vec<&String> = names.iter().filter(|name| exist.contains(name)).collect();
        let resources = names.iter().map(|name| ConfigResource::topic(name.as_str()));
        let configs = self
            .admin
            .describe_configs(resources, DescribeConfigsOptions::default())
            .await?;
        let described = self
            .admin
            .describe_topics(&names, DescribeTopicsOptions::default())
            .await?;
        let mut topics = BTreeMap::new();
        for (name, topic) in described {
            let topic = topic?;
            let entries = configs
                .get(&ConfigResource::topic(&name))
                .context("settings are missing")?;
            let entries = entries.as_ref().map_err(|error| anyhow!("{name}: {error}"))?;
            let setting = |key: &str| {
                let entry = entries.iter().find(|entry| entry.name == key)?;
                entry.config_value().as_str().map(str::to_owned)
            };
            let topic = Topic {
                id: Uuid::from_bytes(topic.topic_id),
                partitions: topic.partitions.len(),
                copies: topic.partitions.first().map_or(0, |partition| partition.replicas.len()),
                retention: setting("retention.ms"),
                min_in_sync: setting("min.insync.replicas"),
            };
            topics.insert(name, topic);
        }
        Ok(topics)
    }

    /// Creates a topic with one copy and the cluster's own settings.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        let topic = NewTopic::new(name, partitions, 1)?;
        for (name, outcome) in self
            .admin
            .create_topics([topic], CreateTopicsOptions::default())
            .await?
        {
            outcome.with_context(|| format!("create topic {name}"))?;
        }
        Ok(())
    }

    /// A setting of a topic.
    pub async fn config(&self, topic: &str, key: &str) -> Result<String> {
        let options = DescribeConfigsOptions::default();
        let configs = self
            .admin
            .describe_configs([ConfigResource::topic(topic)], options)
            .await?;
        let entries = configs.into_values().next().context("no settings")??;
        let entry = entries.into_iter().find(|entry| entry.name == key);
        entry
            .and_then(|entry| entry.value)
            .with_context(|| format!("{topic} has no {key}"))
    }

    /// Changes a setting of a topic, as somebody at a console would.
    pub async fn set_config(&self, topic: &str, key: &str, value: &str) -> Result<()> {
        let change = (ConfigResource::topic(topic), vec![ConfigOp::set(key, value)]);
        let options = IncrementalAlterConfigsOptions::default();
        for (resource, outcome) in self.admin.incremental_alter_configs([change], options).await? {
            outcome.with_context(|| format!("change topic {}", resource.name))?;
        }
        Ok(())
    }

    /// Deletes topics; what does not exist is as good.
    pub async fn delete_topics(&self, names: &[String]) -> Result<()> {
        let exist = self.topic_names().await?;
        let names: Vec<&String> = names.iter().filter(|name| exist.contains(name)).collect();
        for (name, outcome) in self.admin.delete_topics(names, DeleteTopicsOptions::default()).await? {
            outcome.with_context(|| format!("delete topic {name}"))?;
        }
        Ok(())
    }

    /// Messages that a group has not read yet, for each topic: `partitions` says which topics, with their
    /// partitions. Committed offsets are read first, so that a moving end never makes the lag negative.
    pub async fn lag(&self, group: &str, partitions: &BTreeMap<String, usize>) -> Result<BTreeMap<String, i64>> {
        let all: Vec<TopicPartition> = partitions
            .iter()
            .flat_map(|(topic, count)| (0..*count).map(|index| TopicPartition::new(topic.clone(), index as i32)))
            .collect();
        let options = ListConsumerGroupOffsetsOptions::default();
        let committed = self.admin.list_consumer_group_offsets(group, options).await?;
        let ends = self.offsets(&all, OffsetSpec::Latest).await?;
        let mut missing = Vec::new();
        let mut next = HashMap::new();
        for partition in &all {
            match committed.get(partition) {
                Some(Ok(read)) if read.offset.is_some() => drop(next.insert(partition, read.offset.unwrap_or(0))),
                Some(Err(error)) => return Err(anyhow!("{group}: {error}")),
                _ => missing.push(partition.clone()),
            }
        }
        // A group without an offset begins at the start of what is kept.
        let starts = if missing.is_empty() {
            HashMap::new()
        } else {
            self.offsets(&missing, OffsetSpec::Earliest).await?
        };
        let mut lag: BTreeMap<String, i64> = partitions.keys().map(|topic| (topic.clone(), 0)).collect();
        for partition in &all {
            let end = ends.get(partition).copied().unwrap_or(0);
            let read = next.get(partition).or(starts.get(partition)).copied().unwrap_or(0);
            *lag.entry(partition.topic().to_owned()).or_default() += (end - read).max(0);
        }
        Ok(lag)
    }

    async fn offsets(&self, partitions: &[TopicPartition], which: OffsetSpec) -> Result<HashMap<TopicPartition, i64>> {
        let specs = partitions.iter().map(|partition| (partition.clone(), which));
        let listed = self
            .admin
            .list_offsets(specs, ListOffsetsOptions::default().read_committed(true))
            .await?;
        listed
            .into_iter()
            .map(|(partition, offset)| Ok((partition, offset?.offset)))
            .collect()
    }

    /// Writes one message, past the producer API; answers its partition and offset.
    pub async fn send(&self, topic: &str, key: &str, value: Vec<u8>) -> Result<(i32, i64)> {
        let producer = self.connection.producer().build().await?;
        let record = krafka::Record::new(topic, value).key(key.to_owned());
        let written = producer.send(record).await?;
        producer.close().await?;
        Ok((written.partition, written.offset))
    }

    /// Something that fills a topic with messages of no meaning.
    pub async fn filler(&self, topic: &str) -> Result<Filler> {
        Ok(Filler {
            producer: self.connection.producer().build().await?,
            topic: topic.to_owned(),
        })
    }

    /// Commits everything that is in a topic for a group without members.
    pub async fn commit_all(&self, group: &str, topic: &str, partitions: i32) -> Result<()> {
        let all: Vec<TopicPartition> = (0..partitions).map(|index| TopicPartition::new(topic, index)).collect();
        let ends = self.offsets(&all, OffsetSpec::Latest).await?;
        let options = AlterConsumerGroupOffsetsOptions::default();
        for (partition, outcome) in self.admin.alter_consumer_group_offsets(group, ends, options).await? {
            outcome.with_context(|| format!("commit {partition:?} for {group}"))?;
        }
        Ok(())
    }

    /// All dead letters of a topic, which has to exist.
    pub async fn dead_letters(&self, topic: &str) -> Result<Vec<DeadLetter>> {
        let name = topic.to_owned();
        let partitions = self.topics(std::slice::from_ref(&name)).await?;
        let partitions = partitions
            .get(topic)
            .with_context(|| format!("there is no topic {topic}"))?
            .partitions;
        let all: Vec<_> = (0..partitions)
            .map(|index| TopicPartition::new(topic, index as i32))
            .collect();
        let ends = self.offsets(&all, OffsetSpec::Latest).await?;
        let starts = self.offsets(&all, OffsetSpec::Earliest).await?;
        let mut left: i64 = all.iter().map(|partition| ends[partition] - starts[partition]).sum();
        let consumer = self
            .connection
            .consumer_without_group()
            .auto_offset_reset(AutoOffsetReset::Earliest);
        let consumer = consumer.build().await?;
        consumer.assign(topic, (0..partitions as i32).collect()).await?;
        let mut letters = Vec::new();
        while left > 0 {
            let records = consumer.poll(TIMEOUT).await?;
            anyhow::ensure!(!records.is_empty(), "{left} dead letters of {topic} did not come");
            left -= records.len() as i64;
            for record in records {
                let text = |name: &str| record.header_str(name).map(|value| (name.to_owned(), value.to_owned()));
                letters.push(DeadLetter {
                    headers: DEAD_LETTER_HEADERS.iter().filter_map(|name| text(name)).collect(),
                    key: record.key.as_deref().unwrap_or_default().to_vec(),
                    value: record.value.as_deref().unwrap_or_default().to_vec(),
                });
            }
        }
        consumer.close().await?;
        Ok(letters)
    }
}

/// Fills a topic with messages of no meaning.
pub struct Filler {
    producer: krafka::producer::Producer,
    topic: String,
}

impl Filler {
    /// Sends some messages, all at once, and waits until Kafka has them.
    pub async fn send(&self, messages: usize) -> Result<()> {
        let sent = (0..messages).map(|_| {
            let record = krafka::Record::new(self.topic.as_str(), b"x".to_vec());
            self.producer.send(record)
        });
        futures::future::try_join_all(sent).await?;
        Ok(())
    }
}

const DEAD_LETTER_HEADERS: [&str; 10] = [
    header::TOPIC,
    header::PARTITION,
    header::OFFSET,
    header::INDEX,
    header::TIMESTAMP,
    header::STAGE,
    header::ERROR_CLASS,
    header::ERROR,
    header::ATTEMPT,
    header::DELIVERY_ID,
];
