//! Topics as planned → topics as they are. Topics that exist are used as they are; what differs is reported.

use std::collections::BTreeMap;

use krafka::admin::{CreateTopicsOptions, DescribeClusterOptions, DescribeTopicsOptions, NewTopic};
use krafka::error::{ErrorCode, KrafkaError};

use super::connection::{CALL_TIMEOUT, Cluster, KafkaError};
use crate::api::spec::Environment;
use crate::validate::Topic;

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedTopic {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Copies of the first partition.
    pub replication_factor: i32,
    /// Whether this pass created it.
    pub created: bool,
}

/// What a pass over the topics found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedTopics {
    /// Brokers of the cluster.
    pub brokers: i32,
    /// The topics, in the plan's order.
    pub topics: Vec<ObservedTopic>,
}

/// Copies of `topic` on a cluster of `brokers`: in `dev` never more than there are brokers, an error elsewhere.
pub fn copies(topic: &Topic, environment: Environment, brokers: usize) -> Result<(i32, i32), KafkaError> {
    let available = i32::try_from(brokers).unwrap_or(i32::MAX);
    let (wanted, in_sync) = (topic.replication_factor, topic.min_in_sync_replicas);
    if wanted <= available {
        return Ok((wanted, in_sync));
    }
    if environment == Environment::Dev {
        // With every copy in sync required, one broker away would stop the pipeline.
        return Ok((available, in_sync.min((available - 1).max(1))));
    }
    Err(KafkaError::NotEnoughBrokers {
        topic: topic.name.clone(),
        replication_factor: wanted,
        brokers,
    })
}

impl Cluster {
    /// Creates the topics that are missing and describes all of them.
    pub async fn ensure_topics(
        &self,
        topics: &[Topic],
        environment: Environment,
    ) -> Result<ObservedTopics, KafkaError> {
        let options = DescribeClusterOptions::default().timeout(CALL_TIMEOUT);
        let brokers = self
            .admin
            .describe_cluster(options)
            .await
            .map_err(|error| self.error(error))?
            .brokers
            .len();
        let mut described = self
            .describe(topics.iter().map(|topic| topic.name.as_str()).collect())
            .await?;
        let missing: Vec<&Topic> = topics
            .iter()
            .filter(|topic| !described.contains_key(&topic.name))
            .collect();
        if !missing.is_empty() {
            self.create(&missing, environment, brokers).await?;
            for topic in missing {
                let (replication_factor, _) = copies(topic, environment, brokers)?;
                let observed = ObservedTopic {
                    name: topic.name.clone(),
                    partitions: topic.partitions,
                    replication_factor,
                    created: true,
                };
                described.insert(topic.name.clone(), observed);
            }
        }
        let topics = topics
            .iter()
            .filter_map(|topic| described.remove(&topic.name))
            .collect();
        Ok(ObservedTopics {
            brokers: i32::try_from(brokers).unwrap_or(i32::MAX),
            topics,
        })
    }

    async fn describe(&self, names: Vec<&str>) -> Result<BTreeMap<String, ObservedTopic>, KafkaError> {
        let options = DescribeTopicsOptions::default().timeout(CALL_TIMEOUT);
        let answers = self
            .admin
            .describe_topics(names, options)
            .await
            .map_err(|error| self.error(error))?;
        let mut described = BTreeMap::new();
        for (name, answer) in answers {
            match answer {
                Ok(topic) => {
                    let copies = topic.partitions.first().map_or(0, |partition| partition.replicas.len());
                    let observed = ObservedTopic {
                        name: name.clone(),
                        partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
                        replication_factor: i32::try_from(copies).unwrap_or(i32::MAX),
                        created: false,
                    };
                    described.insert(name, observed);
                }
                Err(KrafkaError::Broker {
                    code: ErrorCode::UnknownTopicOrPartition,
                    ..
                }) => {}
                Err(error) => return Err(self.topic_error(name, error)),
            }
        }
        Ok(described)
    }

    async fn create(&self, topics: &[&Topic], environment: Environment, brokers: usize) -> Result<(), KafkaError> {
        let mut requests = Vec::with_capacity(topics.len());
        for topic in topics {
            let (replication_factor, in_sync) = copies(topic, environment, brokers)?;
            let replication = i16::try_from(replication_factor).unwrap_or(i16::MAX);
            let mut request = NewTopic::new(topic.name.clone(), topic.partitions, replication)
                .map_err(|error| self.topic_error(topic.name.clone(), error))?
                .with_config("min.insync.replicas", in_sync.to_string());
            for (key, value) in &topic.config {
                request = request.with_config(key, value);
            }
            requests.push(request);
        }
        let options = CreateTopicsOptions::default().timeout(2 * CALL_TIMEOUT);
        let answers = self
            .admin
            .create_topics(requests, options)
            .await
            .map_err(|error| self.error(error))?;
        for (name, answer) in answers {
            match answer {
                // Somebody else was faster: it exists, which is what was wanted.
                Ok(())
                | Err(KrafkaError::Broker {
                    code: ErrorCode::TopicAlreadyExists,
                    ..
                }) => {}
                Err(error) => return Err(self.topic_error(name, error)),
            }
        }
        Ok(())
    }

    fn topic_error(&self, topic: String, error: KrafkaError) -> KafkaError {
        match error {
            KrafkaError::Broker { code, message } => KafkaError::TopicRefused {
                topic,
                problem: format!("{code:?} {message}"),
            },
            other => self.error(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> Topic {
        Topic {
            name: "t".into(),
            partitions: 4,
            replication_factor: 3,
            config: BTreeMap::new(),
            min_in_sync_replicas: 2,
        }
    }

    #[test]
    fn dev_takes_as_many_copies_as_there_are_brokers() {
        assert_eq!(copies(&topic(), Environment::Dev, 1).unwrap(), (1, 1));
        assert_eq!(copies(&topic(), Environment::Dev, 2).unwrap(), (2, 1));
        assert_eq!(copies(&topic(), Environment::Dev, 3).unwrap(), (3, 2));
    }

    #[test]
    fn production_says_that_brokers_are_missing() {
        assert_eq!(
            copies(&topic(), Environment::Prod, 1).unwrap_err().to_string(),
            "topic t wants 3 copies and the cluster has 1 brokers; add brokers or lower spec.kafka.replicationFactor"
        );
    }
}
