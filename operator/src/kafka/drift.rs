//! A topic as wanted and as it is → what to change, and what to say. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::KafkaError;
use crate::api::spec::Environment;
use crate::validate::Topic;

/// Kafka's name of the copies that must have a message before it is acknowledged.
pub const MIN_IN_SYNC: &str = "min.insync.replicas";

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

/// A topic as Kafka describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Kafka's id of the topic: another one after it was deleted and made anew.
    pub id: String,
    /// Partitions.
    pub partitions: i32,
    /// Copies of the first partition.
    pub replication_factor: i32,
}

/// What keeps a topic from being as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It does not exist, and the spec forbids to make it.
    Missing,
    /// More partitions exist than are wanted; partitions are never taken away.
    Shrink {
        /// Partitions that exist.
        partitions: i32,
        /// Partitions wanted.
        wanted: i32,
    },
    /// Another number of copies exists; moving data between brokers is left to Kafka's own tools.
    Replication {
        /// Copies that exist.
        copies: i32,
        /// Copies wanted.
        wanted: i32,
    },
    /// Not looked after by this pipeline, and of another size than wanted.
    UsedAsItIs {
        /// Partitions that exist.
        partitions: i32,
        /// Partitions wanted.
        wanted: i32,
    },
}

impl Difference {
    /// Whether the pipeline works as its user asked for all the same.
    pub fn is_harmless(&self) -> bool {
        matches!(self, Difference::UsedAsItIs { .. })
    }

    /// Reason of the condition.
    pub fn reason(&self) -> &'static str {
        match self {
            Difference::Missing => "TopicMissing",
            Difference::Shrink { .. } => "ShrinkRefused",
            Difference::Replication { .. } => "NotSupported",
            Difference::UsedAsItIs { .. } => "UsedAsItIs",
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Difference::Missing => {
                write!(
                    f,
                    "does not exist, and manage: false forbids to create it; create it or leave manage out"
                )
            }
            Difference::Shrink { partitions, wanted } => write!(
                f,
                "has {partitions} partitions and {wanted} are wanted: partitions are never taken away; write \
                 partitions: {partitions}"
            ),
            Difference::Replication { copies, wanted } => write!(
                f,
                "has {copies} copies and {wanted} are wanted: this is not changed on a topic that exists; use \
                 kafka-reassign-partitions, or write replicationFactor: {copies}"
            ),
            Difference::UsedAsItIs { partitions, wanted } => write!(
                f,
                "was there before this pipeline and is used as it is, with {partitions} partitions where {wanted} are \
                 wanted; manage: true takes it over"
            ),
        }
    }
}

/// What was done to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was made.
    Created,
    /// It was given more partitions.
    Grown {
        /// Partitions before.
        from: i32,
        /// Partitions now.
        to: i32,
    },
    /// Settings were put right.
    Configured {
        /// New values.
        set: BTreeMap<String, String>,
        /// Given back to the cluster's defaults.
        reset: BTreeSet<String>,
    },
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Change::Created => f.write_str("created"),
            Change::Grown { from, to } => write!(f, "grown from {from} to {to} partitions"),
            Change::Configured { set, reset } => {
                let set = set.iter().map(|(name, value)| format!("{name}={value}"));
                let reset = reset.iter().map(|name| format!("{name} as in the cluster"));
                write!(
                    f,
                    "settings put right: {}",
                    set.chain(reset).collect::<Vec<_>>().join(", ")
                )
            }
        }
    }
}

/// What to change on a topic that the pipeline looks after, and what cannot be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repair {
    /// New number of partitions.
    pub grow_to: Option<i32>,
    /// Settings to set.
    pub set: BTreeMap<String, String>,
    /// Settings to give back to the cluster's defaults: those that an earlier spec had.
    pub reset: BTreeSet<String>,
    /// What stays different.
    pub difference: Option<Difference>,
}

/// Compares a topic that the pipeline looks after with what is wanted. `config` holds the present values of the
/// settings in question, `earlier` the names that an earlier spec set.
pub fn repair(
    topic: &Topic,
    found: &Found,
    replication: (i32, i32),
    config: &BTreeMap<String, String>,
    earlier: &BTreeSet<String>,
) -> Repair {
    let wanted = settings(topic, replication.1);
    let set = wanted
        .iter()
        .filter(|(name, value)| config.get(*name) != Some(*value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let reset = earlier
        .iter()
        .filter(|name| !wanted.contains_key(*name))
        .cloned()
        .collect();
    let difference = if found.partitions > topic.partitions {
        Some(Difference::Shrink {
            partitions: found.partitions,
            wanted: topic.partitions,
        })
    } else if found.replication_factor != replication.0 {
        Some(Difference::Replication {
            copies: found.replication_factor,
            wanted: replication.0,
        })
    } else {
        None
    };
    Repair {
        grow_to: (found.partitions < topic.partitions).then_some(topic.partitions),
        set,
        reset,
        difference,
    }
}

/// All settings of a topic.
pub fn settings(topic: &Topic, min_in_sync: i32) -> BTreeMap<String, String> {
    let mut settings = topic.config.clone();
    settings.insert(MIN_IN_SYNC.to_owned(), min_in_sync.to_string());
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::spec::DeletionPolicy;
    use proptest::prelude::*;

    fn topic() -> Topic {
        Topic {
            name: "t".into(),
            partitions: 4,
            replication_factor: 3,
            config: BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]),
            min_in_sync_replicas: 2,
            manage: None,
            deletion_policy: DeletionPolicy::Retain,
        }
    }

    fn found(partitions: i32, replication_factor: i32) -> Found {
        Found {
            id: "a".into(),
            partitions,
            replication_factor,
        }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
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

    #[test]
    fn a_topic_as_wanted_is_left_alone() {
        let config = settings(&topic(), 2);
        assert_eq!(
            repair(
                &topic(),
                &found(4, 3),
                (3, 2),
                &config,
                &names(&["retention.ms", MIN_IN_SYNC])
            ),
            Repair::default()
        );
    }

    #[test]
    fn changed_and_forgotten_settings_come_back() {
        let config = BTreeMap::from([("retention.ms".to_owned(), "5".to_owned())]);
        let repair = repair(&topic(), &found(4, 3), (3, 2), &config, &names(&["cleanup.policy"]));
        assert_eq!(repair.set, settings(&topic(), 2));
        assert_eq!(repair.reset, names(&["cleanup.policy"]));
    }

    #[test]
    fn copies_are_not_changed() {
        let repair = repair(&topic(), &found(4, 1), (3, 2), &settings(&topic(), 2), &BTreeSet::new());
        assert_eq!(
            repair.difference,
            Some(Difference::Replication { copies: 1, wanted: 3 })
        );
    }

    proptest! {
        #[test]
        fn partitions_only_ever_grow(present in 1..200, wanted in 1..200) {
            let mut topic = topic();
            topic.partitions = wanted;
            let config = settings(&topic, 2);
            let repair = repair(&topic, &found(present, 3), (3, 2), &config, &BTreeSet::new());
            prop_assert_eq!(repair.grow_to, (wanted > present).then_some(wanted));
            prop_assert_eq!(repair.difference.is_some(), wanted < present);
        }
    }
}
