//! Topics and partitions as the ledger knows them: by id, because a recreated topic keeps its name.

use crate::poll::ReadError;
use contract::Source;
use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};
use uuid::Uuid;

/// A topic that this consumer reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// Name, prefix included.
    pub name: String,
    /// Kafka's id of the topic.
    pub id: Uuid,
    /// What its records are.
    pub source: Source,
}

/// A topic that is asked for and that this consumer does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic {topic} is none of this consumer's; they are {known}")]
pub struct UnknownTopic {
    /// The topic.
    pub topic: String,
    /// Those that there are.
    pub known: String,
}

impl UnknownTopic {
    /// Looks whether each of the topics that are meant is one of those known, as `is_one` sees it.
    pub fn look_for(
        meant: &[String],
        known: &[String],
        is_one: impl Fn(&str, &str) -> bool,
    ) -> Result<(), UnknownTopic> {
        let unknown = meant
            .iter()
            .find(|topic| !known.iter().any(|known| is_one(topic, known)));
        match unknown {
            None => Ok(()),
            Some(topic) => Err(UnknownTopic {
                topic: topic.clone(),
                known: known.join(", "),
            }),
        }
    }
}

/// A partition of a topic. Comparing two is cheap, because it is done for each message.
#[derive(Debug, Clone, Eq)]
pub struct Partition {
    /// The topic.
    pub topic: Arc<Topic>,
    /// Number of the partition.
    pub number: i32,
}

impl Partition {
    /// Whether it is the one of this number of the topic of this name.
    pub fn is(&self, topic: &str, number: i32) -> bool {
        self.number == number && self.topic.name == topic
    }
}

impl PartialEq for Partition {
    fn eq(&self, other: &Partition) -> bool {
        // Nearly always the very same topic.
        self.number == other.number && (Arc::ptr_eq(&self.topic, &other.topic) || self.topic == other.topic)
    }
}

impl Ord for Partition {
    fn cmp(&self, other: &Partition) -> Ordering {
        let topics = match Arc::ptr_eq(&self.topic, &other.topic) {
            true => Ordering::Equal,
            false => self.topic.cmp(&other.topic),
        };
        topics.then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Partition {
    fn partial_cmp(&self, other: &Partition) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Partition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Equal topics have equal ids.
        self.topic.id.hash(state);
        self.number.hash(state);
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.name, self.number)
    }
}

/// The topics that this consumer reads, on one Kafka cluster.
#[derive(Debug, Clone)]
pub struct Topics {
    /// Kafka's id of the cluster.
    pub cluster: Arc<str>,
    /// The topics.
    pub topics: Vec<Arc<Topic>>,
}

impl Topics {
    /// The topic of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// Whether these are still the same topics, on the same cluster; otherwise the error names what changed.
    pub fn same_as(&self, now: &Topics) -> Result<(), ReadError> {
        if self.cluster != now.cluster {
            return Err(ReadError::OtherCluster {
                before: self.cluster.to_string(),
                now: now.cluster.to_string(),
            });
        }
        for topic in &self.topics {
            match now.named(&topic.name) {
                Some(found) if found.id != topic.id => {
                    return Err(ReadError::Recreated {
                        topic: topic.name.clone(),
                        before: topic.id,
                        now: found.id,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The partition of the topic of this name.
    pub fn partition(&self, name: &str, number: i32) -> Option<Partition> {
        Some(Partition {
            topic: self.named(name)?.clone(),
            number,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(cluster: &str, id: u128) -> Topics {
        let topic = Topic {
            name: "sms_batched".to_owned(),
            id: Uuid::from_u128(id),
            source: Source::Sms,
        };
        Topics {
            cluster: cluster.into(),
            topics: vec![Arc::new(topic)],
        }
    }

    #[test]
    fn a_recreated_topic_is_another_topic() {
        let before = topics("c", 1);
        assert!(before.same_as(&topics("c", 1)).is_ok());
        assert_eq!(
            before.same_as(&topics("c", 2)).unwrap_err().to_string(),
            "topic sms_batched was recreated: its id was 00000000-0000-0000-0000-000000000001 and is \
             00000000-0000-0000-0000-000000000002; restarting to read the new one"
        );
        assert_eq!(
            before.same_as(&topics("d", 1)).unwrap_err().to_string(),
            "the brokers are those of cluster d now, and were those of c; restarting to read there"
        );
    }
}
