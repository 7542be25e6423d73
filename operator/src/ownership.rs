//! Whose a topic is.
//!
//! Kafka keeps no owner of a topic. So each pipeline has a record, a ConfigMap that outlives the SyncPipeline:
//! the topics that it made, by Kafka's own id of them, and the settings it gave them. A SyncPipeline that is
//! deleted and made again under the same name finds its topics by it. A topic that was deleted and made again by
//! somebody else has another id, and is not taken for the pipeline's own.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde::{Deserialize, Serialize};

use crate::apply::FIELD_MANAGER;
use crate::plan::naming;

/// Key of the record in its ConfigMap.
const KEY: &str = "topics.json";

/// A topic that the pipeline looks after.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
pub struct Owned {
    /// Kafka's id of the topic; empty while it is about to be created.
    pub id: String,
    /// Settings that the pipeline gave it.
    #[serde(default)]
    pub settings: BTreeSet<String>,
}

/// The topics that one pipeline made on one Kafka cluster.
#[derive(Serialize, Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TopicRecord {
    /// Kafka's id of the cluster. The record says nothing of another cluster.
    cluster_id: String,
    topics: BTreeMap<String, Owned>,
}

/// The record cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("ConfigMap {name}, the record of the pipeline's topics: {source}")]
pub struct RecordError {
    name: String,
    source: Box<kube::Error>,
}

impl TopicRecord {
    /// The record for `cluster_id`: of another cluster's topics nothing is known.
    pub fn of_cluster(self, cluster_id: &str) -> TopicRecord {
        if self.cluster_id == cluster_id {
            return self;
        }
        TopicRecord {
            cluster_id: cluster_id.to_owned(),
            topics: BTreeMap::new(),
        }
    }

    /// Notes that a topic is about to be created, so that it is known as the pipeline's own even where the
    /// operator ends right after.
    pub fn expect(&mut self, topic: &str) {
        self.topics.insert(topic.to_owned(), Owned::default());
    }

    /// Whether the topic was about to be created.
    pub fn is_expected(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|owned| owned.id.is_empty())
    }

    /// Whether the topic with this id is the pipeline's own.
    pub fn owns(&self, topic: &str, id: &str) -> bool {
        self.topics.get(topic).is_some_and(|owned| owned.id == id)
    }

    /// Notes the id of an own topic.
    pub fn own(&mut self, topic: &str, id: &str) {
        self.topics.entry(topic.to_owned()).or_default().id = id.to_owned();
    }

    /// Notes everything about an own topic.
    pub fn set(&mut self, topic: &str, owned: Owned) {
        self.topics.insert(topic.to_owned(), owned);
    }

    /// The topic is somebody else's, or gone.
    pub fn forget(&mut self, topic: &str) {
        self.topics.remove(topic);
    }

    /// Settings that the pipeline gave a topic.
    pub fn settings_of(&self, topic: &str) -> Vec<String> {
        let owned = self.topics.get(topic);
        owned.iter().flat_map(|owned| &owned.settings).cloned().collect()
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }
}

/// Where the record of one pipeline is kept.
pub struct Records {
    api: Api<ConfigMap>,
    pipeline: String,
    name: String,
}

impl Records {
    /// The place of the record of `pipeline`.
    pub fn of(client: &Client, namespace: &str, pipeline: &str) -> Records {
        Records {
            api: Api::namespaced(client.clone(), namespace),
            pipeline: pipeline.to_owned(),
            name: naming::object_name(pipeline, "topics"),
        }
    }

    /// Reads the record; an empty one where there is none, or where it is not to be understood.
    pub async fn read(&self) -> Result<TopicRecord, RecordError> {
        let found = self
            .api
            .get_opt(&self.name)
            .await
            .map_err(|source| self.error(source))?;
        let text = found.and_then(|map| map.data?.remove(KEY));
        Ok(text
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default())
    }

    /// Writes the record.
    pub async fn write(&self, record: &TopicRecord) -> Result<(), RecordError> {
        let text = serde_json::to_string(record).unwrap_or_default();
        let labels = [
            (naming::PIPELINE_LABEL, self.pipeline.as_str()),
            (naming::MANAGED_BY_LABEL, naming::MANAGED_BY),
        ];
        // No owner: it is to outlive the SyncPipeline.
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(KEY.to_owned(), text)])),
            ..ConfigMap::default()
        };
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        self.api
            .patch(&self.name, &parameters, &Patch::Apply(&map))
            .await
            .map_err(|source| self.error(source))?;
        Ok(())
    }

    /// Removes the record.
    pub async fn remove(&self) -> Result<(), RecordError> {
        match self.api.delete(&self.name, &DeleteParams::default()).await {
            Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(()),
            other => other.map(|_| ()).map_err(|source| self.error(source)),
        }
    }

    fn error(&self, source: kube::Error) -> RecordError {
        RecordError {
            name: self.name.clone(),
            source: Box::new(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_made_anew_by_somebody_else_is_not_owned() {
        let mut record = TopicRecord::default().of_cluster("c");
        record.own("t", "1");
        assert!(record.owns("t", "1"));
        assert!(!record.owns("t", "2"));
    }

    #[test]
    fn what_was_about_to_be_created_is_expected_until_its_id_is_known() {
        let mut record = TopicRecord::default();
        record.expect("t");
        assert!(record.is_expected("t"));
        record.own("t", "1");
        assert!(!record.is_expected("t"));
    }

    #[test]
    fn another_cluster_starts_from_nothing() {
        let mut record = TopicRecord::default().of_cluster("c");
        record.own("t", "1");
        assert!(record.clone().of_cluster("c").owns("t", "1"));
        assert!(record.of_cluster("d").is_empty());
    }

    #[test]
    fn settings_survive_a_round_trip() {
        let mut record = TopicRecord::default().of_cluster("c");
        let settings = BTreeSet::from(["retention.ms".to_owned()]);
        record.set(
            "t",
            Owned {
                id: "1".into(),
                settings,
            },
        );
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<TopicRecord>(&text).unwrap(), record);
        assert_eq!(record.settings_of("t"), ["retention.ms"]);
    }
}
