//! Observing the pods and telling users: status and Events.

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::api::{SyncPipeline, SyncPipelineStatus};
use crate::apply::FIELD_MANAGER;
use crate::defaults;
use crate::deployments::Deployments;
use crate::kafka::drift::Change;
use crate::kafka::topics::ObservedTopics;
use crate::metrics::Metrics;
use crate::plan::naming;
use crate::scale::followers::Followers;
use crate::status::{self, Observations, condition, trouble};

/// Event notes may have 1 kB.
const NOTE_LENGTH: usize = 1000;

/// Writes status and Events.
pub struct Reporter {
    client: Client,
    recorder: Recorder,
    metrics: Metrics,
    deployments: Deployments,
}

impl Reporter {
    /// A reporter that writes Events through `recorder` and shows statuses in `metrics`.
    pub fn new(client: Client, recorder: Recorder, metrics: Metrics, deployments: Deployments) -> Reporter {
        Reporter {
            client,
            recorder,
            metrics,
            deployments,
        }
    }

    /// Adds what the watches, the API server and the follower know to `seen`.
    pub async fn observe(
        &self,
        object: &SyncPipeline,
        followers: &Followers,
        seen: &mut Observations,
    ) -> Result<(), kube::Error> {
        let namespace = object.namespace().unwrap_or_default();
        let uid = object.uid().unwrap_or_default();
        // They may be a moment old: what they were meanwhile asks for another pass.
        let deployments = self.deployments.of_owner(&namespace, &uid).into_iter();
        seen.deployments = deployments.map(|found| (found.name_any(), (*found).clone())).collect();
        if seen.is_short_of_pods() {
            let selector = naming::selector_of(&object.name_any());
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
            let pods = api.list(&ListParams::default().labels(&selector)).await?.items;
            seen.troubles = trouble::by_component(&pods);
        }
        seen.lag = followers.snapshot(&uid);
        Ok(())
    }

    /// Writes the status where it changed, and an Event where readiness did.
    pub async fn publish(
        &self,
        object: &SyncPipeline,
        seen: &Observations,
        now: DateTime<Utc>,
    ) -> Result<(), kube::Error> {
        let namespace = object.namespace().unwrap_or_default();
        let api: Api<SyncPipeline> = Api::namespaced(self.client.clone(), &namespace);
        let previous = object.status.clone().unwrap_or_default();
        let status = status::status(&previous, seen, now);
        self.metrics.statuses.show(&namespace, &object.name_any(), &status);
        self.tell(object, &previous, &status).await;
        self.tell_defaults(object, &previous, &status).await;
        if object.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let patch = json!({
            "apiVersion": SyncPipeline::api_version(&()),
            "kind": SyncPipeline::kind(&()),
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        match api
            .patch_status(&object.name_any(), &parameters, &Patch::Apply(&patch))
            .await
        {
            // Deleted in the meantime: there is nobody left to tell.
            Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(()),
            other => other.map(|_| ()),
        }
    }

    /// A warning, before it happens.
    pub async fn topic_grows(&self, object: &SyncPipeline, topic: &str, from: i32, to: i32) {
        let note = format!(
            "topic {topic} grows from {from} to {to} partitions: keys move to other partitions, so messages of one \
             user may be read out of order across the growth"
        );
        self.event(object, EventType::Warning, "TopicGrows", note).await;
    }

    /// An Event for the topics that this pass created, and one for each that it changed.
    pub async fn topics_changed(&self, object: &SyncPipeline, topics: &ObservedTopics) {
        let created: Vec<String> = topics
            .topics
            .iter()
            .filter(|topic| topic.changes.contains(&Change::Created))
            .map(|topic| {
                format!(
                    "{} ({} partitions, {} copies)",
                    topic.name, topic.partitions, topic.replication_factor
                )
            })
            .collect();
        if !created.is_empty() {
            let note = format!("created {}", created.join(", "));
            self.event(object, EventType::Normal, "TopicsCreated", note).await;
        }
        for topic in &topics.topics {
            for change in topic.changes.iter().filter(|change| **change != Change::Created) {
                let note = format!("topic {} {change}", topic.name);
                self.event(object, EventType::Normal, "TopicChanged", note).await;
            }
        }
    }

    /// A warning where the same spec now stands for something else: that is another version of the operator.
    async fn tell_defaults(&self, object: &SyncPipeline, previous: &SyncPipelineStatus, status: &SyncPipelineStatus) {
        let same_spec = previous.observed_generation == status.observed_generation;
        if !same_spec || previous.resolved.is_empty() {
            return;
        }
        let changed = defaults::differences(&previous.resolved, &status.resolved);
        if !changed.is_empty() {
            let note = format!(
                "another version of the operator fills in other defaults: {}",
                changed.join("; ")
            );
            self.event(object, EventType::Warning, "DefaultsChanged", note).await;
        }
    }

    async fn tell(&self, object: &SyncPipeline, previous: &SyncPipelineStatus, status: &SyncPipelineStatus) {
        let ready = |status: &SyncPipelineStatus| {
            let found = status.conditions.iter().find(|found| found.type_ == condition::READY);
            found.map(|found| (found.status.clone(), found.reason.clone(), found.message.clone()))
        };
        let (before, now) = (ready(previous), ready(status));
        let Some((state, reason, message)) = now else { return };
        if before.is_some_and(|before| (before.0, before.1) == (state.clone(), reason.clone())) {
            return;
        }
        let type_ = if state == "True" {
            EventType::Normal
        } else {
            EventType::Warning
        };
        self.event(object, type_, &reason, message).await;
    }

    async fn event(&self, object: &SyncPipeline, type_: EventType, reason: &str, note: String) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            // Events that agree in all but their note are counted as one, under the first note.
            action: format!("Reconcile{}", hex::encode(&Sha256::digest(note.as_bytes())[..4])),
            note: Some(note.chars().take(NOTE_LENGTH).collect()),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            warn!(%error, reason, "cannot write an Event");
        }
    }
}
