//! The Deployments that the operator made, as its watches see them, without what nobody asks for.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use serde_json::json;

use crate::plan::naming::GROUP_ANNOTATION;

/// One store a watch.
#[derive(Clone, Default)]
pub struct Deployments(Vec<Store<Deployment>>);

impl Deployments {
    /// Adds what one watch sees.
    pub fn add(&mut self, store: Store<Deployment>) {
        self.0.push(store);
    }

    /// One Deployment.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Deployment>> {
        let key = ObjectRef::new(name).within(namespace);
        self.0.iter().find_map(|store| store.get(&key))
    }

    /// Those of the pipeline with this uid.
    pub fn of_owner(&self, namespace: &str, uid: &str) -> Vec<Arc<Deployment>> {
        let own = |deployment: &Deployment| {
            let mut owners = deployment.owner_references().iter();
            deployment.metadata.namespace.as_deref() == Some(namespace) && owners.any(|owner| owner.uid == uid)
        };
        self.0.iter().flat_map(|store| store.state_filter(own)).collect()
    }
}

/// What is kept of a Deployment: whose it is, its group, its counts, and who set its replicas. Its pods' template is the larger
/// part of it, and is compared with the plan when it is looked at, not here.
pub fn trimmed(deployment: &Deployment) -> Deployment {
    let meta = &deployment.metadata;
    let mut annotations = meta.annotations.iter().flatten();
    let group = annotations.find(|(name, _)| *name == GROUP_ANNOTATION);
    let group = group.map(|(name, group)| (name.clone(), group.clone()));
    Deployment {
        metadata: ObjectMeta {
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            owner_references: meta.owner_references.clone(),
            annotations: group.map(|group| BTreeMap::from([group])),
            managed_fields: Some(setters(meta)),
            ..ObjectMeta::default()
        },
        spec: DeploymentSpec {
            replicas: deployment.spec.replicas,
            ..DeploymentSpec::default()
        },
        status: deployment.status.as_ref().map(|status| DeploymentStatus {
            replicas: status.replicas,
            ready_replicas: status.ready_replicas,
            updated_replicas: status.updated_replicas,
            ..DeploymentStatus::default()
        }),
    }
}

/// Who set the replicas, and when.
fn setters(meta: &ObjectMeta) -> Vec<ManagedFieldsEntry> {
    let entries = meta.managed_fields.iter().flatten();
    let setters = entries.filter(|entry| sets_replicas(entry));
    setters
        .map(|entry| ManagedFieldsEntry {
            manager: entry.manager.clone(),
            time: entry.time.clone(),
            fields_v1: Some(FieldsV1(json!({"f:spec": {"f:replicas": {}}}))),
            ..ManagedFieldsEntry::default()
        })
        .collect()
}

/// Whether this manager has set the replicas.
pub fn sets_replicas(entry: &ManagedFieldsEntry) -> bool {
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    fields.is_some_and(|fields| fields.pointer("/f:spec/f:replicas").is_some())
}

/// Stands for what a pipeline's status tells of a Deployment. One that has no pods and wants none has nothing to tell;
/// of any other, every change may be one of its pods'.
pub fn news(deployment: &Deployment) -> u64 {
    let present = deployment.status.as_ref().and_then(|status| status.replicas);
    if deployment.spec.replicas == Some(0) && present.unwrap_or(0) == 0 {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    deployment.resource_version().hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::STARTER;
    use crate::scale::manual;

    fn deployment(replicas: i32, present: i32, write: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "d", "namespace": "n", "resourceVersion": write, "labels": {"a": "b"},
                "annotations": {"c": "d", GROUP_ANNOTATION: "g"},
                "managedFields": [
                    {"manager": STARTER, "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {}}}},
                    {"manager": "kubectl", "operation": "Update", "subresource": "scale",
                        "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                    {"manager": "other", "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}},
                ]},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}},
                "template": {"spec": {"containers": [{"name": "c"}]}}},
            "status": {"replicas": present, "readyReplicas": present, "updatedReplicas": present, "conditions": []},
        }))
        .unwrap()
    }

    #[test]
    fn counts_and_setters_are_kept_and_the_template_is_not() {
        let whole = deployment(2, 1, "7");
        let kept = trimmed(&whole);
        assert_eq!(kept.spec.replicas, Some(2));
        assert_eq!(kept.status.as_ref().unwrap().ready_replicas, Some(1));
        assert_eq!(kept.spec.template.spec, None);
        assert_eq!(
            kept.annotations().iter().collect::<Vec<_>>(),
            [(&GROUP_ANNOTATION.to_owned(), &"g".to_owned())]
        );
        assert_eq!(manual::last_setter(&kept), manual::last_setter(&whole));
        assert_eq!(kept.metadata.managed_fields.unwrap().len(), 2);
    }

    #[test]
    fn without_pods_there_are_no_news() {
        assert_eq!(news(&deployment(0, 0, "1")), news(&deployment(0, 0, "2")));
        assert_ne!(news(&deployment(0, 1, "1")), news(&deployment(0, 0, "2")));
        assert_ne!(news(&deployment(2, 2, "1")), news(&deployment(2, 2, "2")));
    }
}
