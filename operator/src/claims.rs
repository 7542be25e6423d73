//! Which pipeline may use which topics and groups, where several share a Kafka cluster. Pure.
//!
//! The older SyncPipeline keeps what both claim: what runs is not disturbed by what comes later. A pipeline
//! claims every topic that it declares, unless with `manage: false`, and every group that it reads in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use chrono::{DateTime, Utc};

use crate::validate::Pipeline;

/// What one pipeline claims on one Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The SyncPipeline's uid.
    pub uid: String,
    /// Its namespace and name.
    pub holder: String,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// Kafka's id of the cluster.
    pub cluster_id: String,
    topics: BTreeSet<String>,
    groups: BTreeMap<String, BTreeSet<String>>,
    /// Whether it was granted when it was last made.
    granted: bool,
}

/// Something that an older pipeline holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} is held by SyncPipeline {holder}, which is older, on the same Kafka cluster; set spec.kafka.{prefix}, or \
     delete one of the two"
)]
pub struct Held {
    /// The topic or group.
    pub what: String,
    /// Who holds it.
    pub holder: String,
    /// The field that gives the pipeline names of its own.
    pub prefix: &'static str,
}

impl Claim {
    /// What `pipeline` claims.
    pub fn of(pipeline: &Pipeline, uid: &str, created: DateTime<Utc>, cluster_id: &str) -> Claim {
        let topics = pipeline.topics.iter().filter(|topic| topic.manage != Some(false));
        let mut groups = BTreeMap::<String, BTreeSet<String>>::new();
        for consumer in &pipeline.consumers {
            let topics = consumer.topics.iter().cloned();
            groups.entry(consumer.group.clone()).or_default().extend(topics);
        }
        Claim {
            uid: uid.to_owned(),
            holder: format!("{}/{}", pipeline.namespace, pipeline.name),
            created,
            cluster_id: cluster_id.to_owned(),
            topics: topics.map(|topic| topic.name.clone()).collect(),
            groups,
            granted: false,
        }
    }

    /// Kubernetes keeps whole seconds: of two made in the same one, the older is the one that came first.
    fn is_older_than(&self, other: &Claim) -> bool {
        (self.created, !self.granted, &self.uid) < (other.created, !other.granted, &other.uid)
    }

    /// The first thing that both claim.
    fn clash(&self, other: &Claim) -> Option<(String, &'static str)> {
        if self.cluster_id != other.cluster_id {
            return None;
        }
        if let Some(topic) = self.topics.intersection(&other.topics).next() {
            return Some((format!("topic {topic}"), "topicPrefix"));
        }
        let group = self.groups.iter().find(|(group, topics)| {
            let theirs = other.groups.get(*group);
            theirs.is_some_and(|theirs| !theirs.is_disjoint(topics))
        });
        group.map(|(group, _)| (format!("group {group}"), "groupPrefix"))
    }
}

/// The claims of all pipelines that this operator looks after.
#[derive(Debug, Default)]
pub struct Claims {
    held: Mutex<HashMap<String, Claim>>,
}

impl Claims {
    /// Enters a claim in place of an earlier one of the same pipeline. An error where an older pipeline holds
    /// some of it; the claim stays, for when that one goes.
    pub fn take(&self, mut claim: Claim) -> Result<(), Held> {
        let Ok(mut held) = self.held.lock() else { return Ok(()) };
        claim.granted = held.get(&claim.uid).is_some_and(|before| before.granted);
        let older = held
            .values()
            .filter(|other| other.uid != claim.uid && other.is_older_than(&claim))
            .find_map(|other| Some((claim.clash(other)?, other.holder.clone())));
        claim.granted = older.is_none();
        held.insert(claim.uid.clone(), claim);
        match older {
            None => Ok(()),
            Some(((what, prefix), holder)) => Err(Held { what, holder, prefix }),
        }
    }

    /// Drops the claims of pipelines whose uid is not in `alive`.
    pub fn retain(&self, alive: &BTreeSet<String>) {
        if let Ok(mut held) = self.held.lock() {
            held.retain(|uid, _| alive.contains(uid));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn claim(uid: &str, age: i64, topics: &[&str], groups: &[(&str, &[&str])]) -> Claim {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        Claim {
            uid: uid.into(),
            holder: format!("n/{uid}"),
            created: DateTime::UNIX_EPOCH + TimeDelta::seconds(1000 - age),
            cluster_id: "c".into(),
            topics: set(topics),
            groups: groups
                .iter()
                .map(|(group, topics)| ((*group).to_owned(), set(topics)))
                .collect(),
            granted: false,
        }
    }

    #[test]
    fn the_older_keeps_a_topic_whoever_comes_first() {
        let (old, young) = (claim("old", 10, &["t"], &[]), claim("young", 1, &["t", "u"], &[]));
        for order in [[&old, &young], [&young, &old]] {
            let claims = Claims::default();
            drop(order.map(|claim| claims.take(claim.clone())));
            assert_eq!(claims.take(old.clone()), Ok(()));
            assert_eq!(
                claims.take(young.clone()).unwrap_err().to_string(),
                "topic t is held by SyncPipeline n/old, which is older, on the same Kafka cluster; set \
                 spec.kafka.topicPrefix, or delete one of the two"
            );
        }
    }

    #[test]
    fn of_two_made_in_one_second_the_first_to_come_keeps_a_topic() {
        let (a, b) = (claim("a", 1, &["t"], &[]), claim("b", 1, &["t"], &[]));
        for [first, second] in [[&a, &b], [&b, &a]] {
            let claims = Claims::default();
            for _ in 0..2 {
                assert_eq!(claims.take(first.clone()), Ok(()));
                assert_eq!(claims.take(second.clone()).unwrap_err().holder, first.holder);
            }
            claims.retain(&BTreeSet::from([second.uid.clone()]));
            assert_eq!(claims.take(second.clone()), Ok(()));
        }
    }

    #[test]
    fn a_group_is_shared_only_on_different_topics() {
        let claims = Claims::default();
        claims.take(claim("old", 10, &[], &[("g", &["t"])])).unwrap();
        claims.take(claim("other", 5, &[], &[("g", &["u"])])).unwrap();
        let held = claims.take(claim("young", 1, &[], &[("g", &["t"])])).unwrap_err();
        assert_eq!((held.what.as_str(), held.prefix), ("group g", "groupPrefix"));
    }

    #[test]
    fn another_cluster_is_another_world() {
        let claims = Claims::default();
        claims.take(claim("old", 10, &["t"], &[])).unwrap();
        let mut young = claim("young", 1, &["t"], &[]);
        young.cluster_id = "d".into();
        claims.take(young).unwrap();
    }

    #[test]
    fn what_a_deleted_pipeline_held_is_free() {
        let claims = Claims::default();
        claims.take(claim("old", 10, &["t"], &[])).unwrap();
        claims.retain(&BTreeSet::from(["young".to_owned()]));
        claims.take(claim("young", 1, &["t"], &[])).unwrap();
    }
}
