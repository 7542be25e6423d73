//! Topics as planned → topics as they are: created, grown, and their settings put right.

use std::collections::{BTreeMap, BTreeSet};

use krafka::admin::{
    ConfigOp, ConfigResource, CreatePartitionsOptions, CreateTopicsOptions, DeleteTopicsOptions,
    DescribeClusterOptions, DescribeConfigsOptions, DescribeTopicsOptions, IncrementalAlterConfigsOptions, NewTopic,
};
use krafka::error::{ErrorCode, KrafkaError};

use super::connection::{CALL_TIMEOUT, Cluster, KafkaError};
use super::drift::{Change, Difference, Found, copies, repair, settings};
use crate::api::spec::Environment;
use crate::ladder::Bounds;
use crate::ownership::{Owned, TopicRecord};
use crate::validate::Topic;

/// A topic as it is after a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedTopic {
    /// Name.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Copies of the first partition.
    pub replication_factor: i32,
    /// Whether this pipeline looks after it.
    pub managed: bool,
    /// What this pass did to it.
    pub changes: Vec<Change>,
    /// What keeps it from being as it is wanted.
    pub difference: Option<Difference>,
}

/// What a pass over the topics found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedTopics {
    /// Kafka's id of the cluster.
    pub cluster_id: String,
    /// Brokers of the cluster.
    pub brokers: i32,
    /// The topics, in the plan's order.
    pub topics: Vec<ObservedTopic>,
}

impl ObservedTopics {
    /// The bounds that a reader of these topics can make use of: more readers than partitions of the largest would
    /// stand idle. Where one of them is missing, those that were asked for: it may be the largest, and come back.
    pub fn possible(&self, bounds: Bounds, read: &[String]) -> Bounds {
        match self.partitions_of(read) {
            Some(partitions) => bounds.at_most(partitions),
            None => bounds,
        }
    }

    /// Partitions of the largest of these topics; nothing where one of them is missing.
    pub fn partitions_of(&self, read: &[String]) -> Option<i32> {
        let present = self.topics.iter().filter(|topic| read.contains(&topic.name));
        let partitions: Option<Vec<i32>> = present
            .map(|topic| (topic.partitions > 0).then_some(topic.partitions))
            .collect();
        partitions?.into_iter().max()
    }
}

/// The cluster itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Kafka's id of the cluster.
    pub id: String,
    /// Brokers that are up.
    pub brokers: usize,
}

/// The topics of one pass, compared with what exists.
#[derive(Debug, Clone)]
pub struct Comparison {
    identity: Identity,
    found: BTreeMap<String, Found>,
}

impl Comparison {
    /// Topics that are missing and may be created.
    pub fn to_create<'a>(&self, topics: &'a [Topic]) -> Vec<&'a Topic> {
        let missing = |topic: &&Topic| topic.manage != Some(false) && !self.found.contains_key(&topic.name);
        topics.iter().filter(missing).collect()
    }

    /// Topics that the pipeline looks after and that are to get more partitions: name, partitions, wanted.
    pub fn to_grow(&self, topics: &[Topic], record: &TopicRecord) -> Vec<(String, i32, i32)> {
        let growing = topics.iter().filter_map(|topic| {
            let found = self.found.get(&topic.name)?;
            let own = topic.manage == Some(true) || record.owns(&topic.name, &found.id);
            (own && topic.manage != Some(false) && found.partitions < topic.partitions)
                .then(|| (topic.name.clone(), found.partitions, topic.partitions))
        });
        growing.collect()
    }

    /// What there is, without touching it.
    pub fn observed(&self, topics: &[Topic], record: &TopicRecord) -> ObservedTopics {
        let observed = topics.iter().map(|topic| match self.found.get(&topic.name) {
            None => missing_topic(topic),
            Some(found) => ObservedTopic {
                managed: record.owns(&topic.name, &found.id),
                ..foreign_topic(topic, found)
            },
        });
        ObservedTopics {
            cluster_id: self.identity.id.clone(),
            brokers: i32::try_from(self.identity.brokers).unwrap_or(i32::MAX),
            topics: observed.collect(),
        }
    }
}

impl Cluster {
    /// Which cluster this is.
    pub async fn identity(&self) -> Result<Identity, KafkaError> {
        let options = DescribeClusterOptions::default().timeout(CALL_TIMEOUT);
        let described = self
            .admin
            .describe_cluster(options)
            .await
            .map_err(|error| self.error(error))?;
        Ok(Identity {
            id: described.cluster_id,
            brokers: described.brokers.len(),
        })
    }

    /// Looks at what exists of `topics`.
    pub async fn compare(&self, identity: Identity, topics: &[Topic]) -> Result<Comparison, KafkaError> {
        let found = self
            .describe(topics.iter().map(|topic| topic.name.as_str()).collect())
            .await?;
        Ok(Comparison { identity, found })
    }

    /// Creates the topics that are missing, repairs those that the pipeline looks after, and notes in `record`
    /// which are its own.
    pub async fn converge_topics(
        &self,
        topics: &[Topic],
        environment: Environment,
        mut comparison: Comparison,
        record: &mut TopicRecord,
    ) -> Result<ObservedTopics, KafkaError> {
        let identity = comparison.identity.clone();
        let missing = comparison.to_create(topics);
        let created = self.create(&missing, environment, identity.brokers).await?;
        if !missing.is_empty() {
            let names = missing.iter().map(|topic| topic.name.as_str()).collect();
            comparison.found.extend(self.describe(names).await?);
        }
        for topic in topics {
            let Some(found) = comparison.found.get(&topic.name) else {
                continue;
            };
            // What was about to be created when an earlier pass ended is its own, too.
            if created.contains(&topic.name) || record.is_expected(&topic.name) || topic.manage == Some(true) {
                record.own(&topic.name, &found.id);
            } else if topic.manage == Some(false) {
                record.forget(&topic.name);
            }
        }
        let managed: Vec<(&Topic, &Found)> = topics
            .iter()
            .filter_map(|topic| Some((topic, comparison.found.get(&topic.name)?)))
            .filter(|(topic, found)| record.owns(&topic.name, &found.id))
            .collect();
        let configs = self.configs(&managed, record).await?;

        let mut observed = Vec::with_capacity(topics.len());
        for topic in topics {
            observed.push(match comparison.found.get(&topic.name) {
                // Not every broker knows it yet; the next pass sees it, and that it was expected.
                None if created.contains(&topic.name) => {
                    new_topic(topic, copies(topic, environment, identity.brokers)?)
                }
                None => missing_topic(topic),
                Some(found) if !record.owns(&topic.name, &found.id) => foreign_topic(topic, found),
                Some(found) => {
                    let empty = BTreeMap::new();
                    let config = configs.get(&topic.name).unwrap_or(&empty);
                    let replication = copies(topic, environment, identity.brokers)?;
                    let mut topic = self.repair(topic, found, replication, config, record).await?;
                    if created.contains(&topic.name) {
                        topic.changes.insert(0, Change::Created);
                    }
                    topic
                }
            });
        }
        Ok(ObservedTopics {
            cluster_id: identity.id,
            brokers: i32::try_from(identity.brokers).unwrap_or(i32::MAX),
            topics: observed,
        })
    }

    /// Deletes topics; those that are gone already are no error.
    pub async fn delete_topics(&self, names: &[String]) -> Result<(), KafkaError> {
        if names.is_empty() {
            return Ok(());
        }
        let options = DeleteTopicsOptions::default().timeout(2 * CALL_TIMEOUT);
        let answers = self
            .admin
            .delete_topics(names, options)
            .await
            .map_err(|error| self.error(error))?;
        for (name, answer) in answers {
            match answer {
                Ok(())
                | Err(KrafkaError::Broker {
                    code: ErrorCode::UnknownTopicOrPartition,
                    ..
                }) => {}
                Err(error) => return Err(self.topic_error(name, error)),
            }
        }
        Ok(())
    }

    /// Topics that exist, by name.
    pub async fn describe(&self, names: Vec<&str>) -> Result<BTreeMap<String, Found>, KafkaError> {
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
                    let found = Found {
                        id: hex::encode(topic.topic_id),
                        partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
                        replication_factor: i32::try_from(copies).unwrap_or(i32::MAX),
                    };
                    described.insert(name, found);
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

    /// Creates topics; returns those that did not exist until then.
    async fn create(
        &self,
        topics: &[&Topic],
        environment: Environment,
        brokers: usize,
    ) -> Result<BTreeSet<String>, KafkaError> {
        let mut created = BTreeSet::new();
        if topics.is_empty() {
            return Ok(created);
        }
        let mut requests = Vec::with_capacity(topics.len());
        for topic in topics {
            let (replication_factor, in_sync) = copies(topic, environment, brokers)?;
            let replication = i16::try_from(replication_factor).unwrap_or(i16::MAX);
            let mut request = NewTopic::new(topic.name.clone(), topic.partitions, replication)
                .map_err(|error| self.topic_error(topic.name.clone(), error))?;
            for (key, value) in &settings(topic, in_sync) {
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
                Ok(()) => drop(created.insert(name)),
                // Somebody else was faster: it exists, and is theirs.
                Err(KrafkaError::Broker {
                    code: ErrorCode::TopicAlreadyExists,
                    ..
                }) => {}
                Err(error) => return Err(self.topic_error(name, error)),
            }
        }
        Ok(created)
    }

    /// Present values of the settings that matter: those that are wanted, and those that an earlier spec set.
    async fn configs(
        &self,
        topics: &[(&Topic, &Found)],
        record: &TopicRecord,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, KafkaError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names: BTreeSet<String> = topics
            .iter()
            .flat_map(|(topic, _)| {
                let earlier = record.settings_of(&topic.name);
                settings(topic, topic.min_in_sync_replicas).into_keys().chain(earlier)
            })
            .collect();
        let options = DescribeConfigsOptions::default()
            .timeout(CALL_TIMEOUT)
            .config_names(names.into_iter().collect::<Vec<_>>());
        let resources = topics
            .iter()
            .map(|(topic, _)| ConfigResource::topic(topic.name.clone()));
        let answers = self
            .admin
            .describe_configs(resources, options)
            .await
            .map_err(|error| self.error(error))?;
        let mut configs = BTreeMap::new();
        for (resource, answer) in answers {
            let entries = answer.map_err(|error| self.topic_error(resource.name.clone(), error))?;
            let values = entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
            configs.insert(resource.name, values.collect());
        }
        Ok(configs)
    }

    async fn repair(
        &self,
        topic: &Topic,
        found: &Found,
        replication: (i32, i32),
        config: &BTreeMap<String, String>,
        record: &mut TopicRecord,
    ) -> Result<ObservedTopic, KafkaError> {
        let earlier = record.settings_of(&topic.name).into_iter().collect();
        let repair = repair(topic, found, replication, config, &earlier);
        let mut changes = vec![];
        let mut partitions = found.partitions;
        if let Some(total) = repair.grow_to {
            self.grow(&topic.name, total).await?;
            changes.push(Change::Grown {
                from: partitions,
                to: total,
            });
            partitions = total;
        }
        if !repair.set.is_empty() || !repair.reset.is_empty() {
            self.configure(&topic.name, &repair.set, &repair.reset).await?;
            changes.push(Change::Configured {
                set: repair.set,
                reset: repair.reset,
            });
        }
        record.set(
            &topic.name,
            Owned {
                id: found.id.clone(),
                settings: settings(topic, replication.1).into_keys().collect(),
            },
        );
        Ok(ObservedTopic {
            name: topic.name.clone(),
            partitions,
            replication_factor: found.replication_factor,
            managed: true,
            changes,
            difference: repair.difference,
        })
    }

    async fn grow(&self, topic: &str, total: i32) -> Result<(), KafkaError> {
        let options = CreatePartitionsOptions::default().timeout(2 * CALL_TIMEOUT);
        let answers = self
            .admin
            .create_partitions([(topic, total)], options)
            .await
            .map_err(|error| self.error(error))?;
        for (name, answer) in answers {
            answer.map_err(|error| self.topic_error(name, error))?;
        }
        Ok(())
    }

    async fn configure(
        &self,
        topic: &str,
        set: &BTreeMap<String, String>,
        reset: &BTreeSet<String>,
    ) -> Result<(), KafkaError> {
        let set = set.iter().map(|(name, value)| ConfigOp::set(name, value));
        let changes = set.chain(reset.iter().map(ConfigOp::delete)).collect();
        let options = IncrementalAlterConfigsOptions::default().timeout(2 * CALL_TIMEOUT);
        let answers = self
            .admin
            .incremental_alter_configs([(ConfigResource::topic(topic), changes)], options)
            .await
            .map_err(|error| self.error(error))?;
        for (resource, answer) in answers {
            answer.map_err(|error| self.topic_error(resource.name, error))?;
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

fn new_topic(topic: &Topic, (copies, _): (i32, i32)) -> ObservedTopic {
    ObservedTopic {
        name: topic.name.clone(),
        partitions: topic.partitions,
        replication_factor: copies,
        managed: true,
        changes: vec![Change::Created],
        difference: None,
    }
}

fn missing_topic(topic: &Topic) -> ObservedTopic {
    ObservedTopic {
        name: topic.name.clone(),
        partitions: 0,
        replication_factor: 0,
        managed: false,
        changes: vec![],
        difference: Some(Difference::Missing),
    }
}

fn foreign_topic(topic: &Topic, found: &Found) -> ObservedTopic {
    let other_size = found.partitions != topic.partitions;
    ObservedTopic {
        name: topic.name.clone(),
        partitions: found.partitions,
        replication_factor: found.replication_factor,
        managed: false,
        changes: vec![],
        difference: other_size.then_some(Difference::UsedAsItIs {
            partitions: found.partitions,
            wanted: topic.partitions,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(topics: &[(&str, i32)]) -> ObservedTopics {
        let topics = topics.iter().map(|(name, partitions)| ObservedTopic {
            name: (*name).to_owned(),
            partitions: *partitions,
            replication_factor: 1,
            managed: true,
            changes: vec![],
            difference: None,
        });
        ObservedTopics {
            cluster_id: "cluster".to_owned(),
            brokers: 1,
            topics: topics.collect(),
        }
    }

    #[test]
    fn readers_are_no_more_than_the_partitions_of_their_largest_topic() {
        let (bounds, read) = (Bounds { min: 4, max: 20 }, ["sms".to_owned(), "calls".to_owned()]);
        let all = observed(&[("sms", 16), ("calls", 2), ("other", 30)]);
        assert_eq!(all.possible(bounds, &read), Bounds { min: 4, max: 16 });
        assert_eq!(all.partitions_of(&read), Some(16));
    }

    #[test]
    fn a_topic_that_is_missing_for_a_while_takes_no_readers_away() {
        let (bounds, read) = (Bounds { min: 4, max: 20 }, ["sms".to_owned(), "calls".to_owned()]);
        let some = observed(&[("sms", 0), ("calls", 2)]);
        assert_eq!(some.possible(bounds, &read), bounds);
        assert_eq!(some.partitions_of(&read), None);
    }
}
