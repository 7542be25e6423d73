//! What `operator plan --diff` prints: the plan against the cluster, nothing changed.
//!
//! Every object is applied as a dry run, so the API server itself says what would come of it, its defaults and the
//! fields of other managers included.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::Value;
use similar::TextDiff;

use crate::api::{SyncPipeline, SyncPipelineStatus};
use crate::apply::{FIELD_MANAGER, Kind, desired};
use crate::manifest::{self, InvalidYaml};
use crate::plan::{Plan, naming};
use crate::validate::Topic;

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// The cluster cannot be compared with.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The API server refused, or is not there.
    #[error("{kind} {name}: {source}")]
    Kubernetes {
        /// Kind.
        kind: String,
        /// Name.
        name: String,
        /// What the API server says.
        source: Box<kube::Error>,
    },
    /// An object cannot be shown.
    #[error(transparent)]
    Yaml(#[from] InvalidYaml),
}

/// The SyncPipeline of the same name in the cluster.
pub async fn live(client: &Client, namespace: &str, name: &str) -> Result<Option<SyncPipeline>, PreviewError> {
    let api: Api<SyncPipeline> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(failed("SyncPipeline", name))
}

/// Unified differences of all objects and a line for each topic that would change; empty where nothing would.
pub async fn differences(
    client: &Client,
    namespace: &str,
    pipeline: &str,
    status: &SyncPipelineStatus,
    plan: &Plan,
) -> Result<String, PreviewError> {
    let mut text: String = plan.topics.iter().filter_map(|topic| of_topic(topic, status)).collect();
    let room = Room {
        client,
        namespace,
        pipeline,
    };
    text += &room.of_kind::<ServiceAccount>(&plan.accounts).await?;
    text += &room.of_kind::<Service>(&plan.services).await?;
    text += &room.of_kind::<Deployment>(&plan.deployments).await?;
    text += &room.of_kind::<Ingress>(&plan.ingresses).await?;
    text += &room.of_kind::<HorizontalPodAutoscaler>(&plan.autoscalers).await?;
    text += &room.of_kind::<PodDisruptionBudget>(&plan.budgets).await?;
    text += &room.of_kind::<NetworkPolicy>(&plan.network_policies).await?;
    Ok(text)
}

/// What would become of a topic, as far as the pipeline's status tells how it is.
fn of_topic(topic: &Topic, status: &SyncPipelineStatus) -> Option<String> {
    let Topic { name, partitions, .. } = topic;
    match status.topics.iter().find(|present| present.name == *name) {
        None => Some(format!(
            "topic {name}: created with {partitions} partitions, {} copies, where it is missing\n",
            topic.replication_factor
        )),
        Some(present) if present.partitions < *partitions => Some(format!(
            "topic {name}: {} partitions → {partitions}\n",
            present.partitions
        )),
        Some(present) if present.partitions > *partitions => Some(format!(
            "topic {name}: stays at {} partitions, which are never taken away\n",
            present.partitions
        )),
        Some(_) => None,
    }
}

struct Room<'a> {
    client: &'a Client,
    namespace: &'a str,
    pipeline: &'a str,
}

impl Room<'_> {
    async fn of_kind<K: Kind>(&self, wanted: &[K]) -> Result<String, PreviewError> {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let kind = K::kind(&());
        let mut text = String::new();
        for object in wanted {
            let name = object.name_any();
            let before = api.get_opt(&name).await.map_err(failed(&kind, &name))?;
            let parameters = PatchParams::apply(FIELD_MANAGER).force().dry_run();
            let after = api
                .patch(&name, &parameters, &Patch::Apply(&desired(object)))
                .await
                .map_err(failed(&kind, &name))?;
            text += &between(&kind, &name, before.as_ref(), Some(&after))?;
        }
        let keep: BTreeSet<String> = wanted.iter().map(ResourceExt::name_any).collect();
        let mine = ListParams::default().labels(&naming::selector_of(self.pipeline));
        for object in api.list(&mine).await.map_err(failed(&kind, "list"))? {
            if !keep.contains(&object.name_any()) {
                text += &between(&kind, &object.name_any(), Some(&object), None)?;
            }
        }
        Ok(text)
    }
}

fn failed(kind: &str, name: &str) -> impl FnOnce(kube::Error) -> PreviewError {
    let (kind, name) = (kind.to_owned(), name.to_owned());
    move |source| PreviewError::Kubernetes {
        kind,
        name,
        source: Box::new(source),
    }
}

/// The difference of one object in the unified format; empty where there is none.
fn between<K: Serialize>(kind: &str, name: &str, before: Option<&K>, after: Option<&K>) -> Result<String, InvalidYaml> {
    let text = |object: Option<&K>| object.map_or(Ok(String::new()), |object| manifest::render(&shown(object)));
    let (before, after) = (text(before)?, text(after)?);
    if before == after {
        return Ok(String::new());
    }
    let header = |side: &str, text: &str| match text.is_empty() {
        true => "/dev/null".to_owned(),
        false => format!("{side}/{kind}/{name}"),
    };
    let difference = TextDiff::from_lines(&before, &after);
    let mut unified = difference.unified_diff();
    let unified = unified
        .context_radius(CONTEXT)
        .header(&header("cluster", &before), &header("plan", &after));
    Ok(unified.to_string())
}

/// An object without what the API server writes of its own accord.
fn shown<K: Serialize>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in [
            "managedFields",
            "resourceVersion",
            "uid",
            "creationTimestamp",
            "generation",
        ] {
            metadata.remove(field);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::TopicStatus;
    use serde_json::json;

    #[test]
    fn what_the_api_server_writes_of_its_own_accord_is_no_difference() {
        let before = json!({"metadata": {"name": "a", "resourceVersion": "1", "uid": "u"}, "spec": 1, "status": 1});
        let after = json!({"metadata": {"name": "a", "resourceVersion": "2", "uid": "v"}, "spec": 1, "status": 2});
        assert_eq!(between("Service", "a", Some(&before), Some(&after)).unwrap(), "");
    }

    #[test]
    fn a_change_a_new_object_and_a_deleted_one_are_unified_differences() {
        let (one, two) = (json!({"spec": {"a": 1, "b": 1}}), json!({"spec": {"a": 1, "b": 2}}));
        assert_eq!(
            between("Service", "a", Some(&one), Some(&two)).unwrap(),
            "--- cluster/Service/a\n+++ plan/Service/a\n@@ -1,3 +1,3 @@\n spec:\n   a: 1\n-  b: 1\n+  b: 2\n"
        );
        let made = between("Service", "a", None, Some(&one)).unwrap();
        assert!(made.starts_with("--- /dev/null\n+++ plan/Service/a\n"), "{made}");
        let gone = between("Service", "a", Some(&one), None).unwrap();
        assert!(gone.starts_with("--- cluster/Service/a\n+++ /dev/null\n"), "{gone}");
    }

    #[test]
    fn topics_are_created_grown_and_never_shrunk() {
        let status = |partitions: Option<i32>| SyncPipelineStatus {
            topics: partitions
                .map(|partitions| TopicStatus {
                    name: "t".into(),
                    partitions,
                    replication_factor: 3,
                    managed: true,
                    state: "Ready".into(),
                })
                .into_iter()
                .collect(),
            ..SyncPipelineStatus::default()
        };
        let topic = Topic {
            name: "t".into(),
            partitions: 8,
            replication_factor: 3,
            config: Default::default(),
            min_in_sync_replicas: 2,
            manage: None,
            deletion_policy: Default::default(),
        };
        let told = |partitions| of_topic(&topic, &status(partitions));
        assert_eq!(
            told(None).unwrap(),
            "topic t: created with 8 partitions, 3 copies, where it is missing\n"
        );
        assert_eq!(told(Some(4)).unwrap(), "topic t: 4 partitions → 8\n");
        assert_eq!(told(Some(8)), None);
        assert_eq!(
            told(Some(9)).unwrap(),
            "topic t: stays at 9 partitions, which are never taken away\n"
        );
    }
}
