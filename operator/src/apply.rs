//! The plan → the cluster: server-side apply, ownership and pruning.

use std::collections::BTreeSet;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::plan::{Plan, naming};

/// Field manager of everything but replicas.
pub const FIELD_MANAGER: &str = "syncpipeline-operator";
/// Field manager of the replicas that a Deployment starts with.
pub const STARTER: &str = "syncpipeline-starter";
/// Annotation with a digest of what was applied, so that a field taken out of the plan is noticed too.
const APPLIED_ANNOTATION: &str = "syncpipeline.dev/applied";

/// An object that could not be brought about. The name of the variant is the reason of the condition.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Somebody else's object has the name.
    #[error("{kind} {name} belongs to someone else and is left alone; delete or rename it, or rename the SyncPipeline")]
    NameTaken {
        /// Kind.
        kind: String,
        /// Name.
        name: String,
    },
    /// The API server refused.
    #[error("{kind} {name}: {source}")]
    ApplyRefused {
        /// Kind.
        kind: String,
        /// Name.
        name: String,
        /// What the API server says.
        source: Box<kube::Error>,
    },
}

impl ApplyError {
    /// Reason of the condition and of the Event.
    pub fn reason(&self) -> &'static str {
        match self {
            ApplyError::NameTaken { .. } => "NameTaken",
            ApplyError::ApplyRefused { .. } => "ApplyRefused",
        }
    }
}

/// Brings all objects of `plan` about and deletes those of the same pipeline that it no longer has.
/// Returns a line for each object that was changed.
pub async fn apply(
    client: &Client,
    namespace: &str,
    pipeline: &str,
    uid: &str,
    plan: &Plan,
) -> Result<Vec<String>, ApplyError> {
    let room = Room {
        client,
        namespace,
        pipeline,
        uid,
    };
    let mut all = room.converge::<ServiceAccount>(&plan.accounts).await?;
    all.add(room.converge::<Service>(&plan.services).await?);
    room.start_deployments(plan).await?;
    all.add(room.converge::<Deployment>(&plan.deployments).await?);
    all.add(room.converge::<HorizontalPodAutoscaler>(&plan.autoscalers).await?);
    all.add(room.converge::<PodDisruptionBudget>(&plan.budgets).await?);
    all.add(room.converge::<NetworkPolicy>(&plan.network_policies).await?);
    match all.taken {
        Some(taken) => Err(taken),
        None => Ok(all.changes),
    }
}

/// What became of some objects.
#[derive(Debug)]
struct Converged {
    /// A line for each object that was changed.
    changes: Vec<String>,
    /// The first object whose name somebody else's object has.
    taken: Option<ApplyError>,
}

impl Converged {
    fn add(&mut self, other: Converged) {
        self.changes.extend(other.changes);
        self.taken = self.taken.take().or(other.taken);
    }
}

/// Where one pipeline's objects live.
struct Room<'a> {
    client: &'a Client,
    namespace: &'a str,
    pipeline: &'a str,
    uid: &'a str,
}

impl Room<'_> {
    async fn converge<K>(&self, wanted: &[K]) -> Result<Converged, ApplyError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let kind = K::kind(&()).into_owned();
        let refused = |name: &str| {
            let (kind, name) = (kind.clone(), name.to_owned());
            move |source: kube::Error| ApplyError::ApplyRefused {
                kind,
                name,
                source: Box::new(source),
            }
        };
        let mut changes = vec![];
        let mut taken = None;
        for object in wanted {
            let name = object.name_any();
            let live = api.get_opt(&name).await.map_err(refused(&name))?;
            if live.as_ref().is_some_and(|live| !self.owns(live)) {
                // The others are the pipeline's own, and are looked after all the same.
                taken.get_or_insert(ApplyError::NameTaken {
                    kind: kind.clone(),
                    name,
                });
                continue;
            }
            let desired = desired(object);
            if live
                .as_ref()
                .is_some_and(|live| serde_json::to_value(live).is_ok_and(|live| covers(&live, &desired)))
            {
                continue;
            }
            let parameters = PatchParams::apply(FIELD_MANAGER).force();
            api.patch(&name, &parameters, &Patch::Apply(&desired))
                .await
                .map_err(refused(&name))?;
            changes.push(format!(
                "{kind} {name} {}",
                if live.is_some() { "updated" } else { "created" }
            ));
        }
        let keep: BTreeSet<String> = wanted.iter().map(ResourceExt::name_any).collect();
        let selector = naming::selector_of(self.pipeline);
        for object in api
            .list(&ListParams::default().labels(&selector))
            .await
            .map_err(refused("list"))?
        {
            let name = object.name_any();
            if keep.contains(&name) || !self.owns(&object) || object.meta().deletion_timestamp.is_some() {
                continue;
            }
            api.delete(&name, &DeleteParams::background())
                .await
                .map_err(refused(&name))?;
            changes.push(format!("{kind} {name} deleted"));
        }
        Ok(Converged { changes, taken })
    }

    /// Creates Deployments that are missing with the replicas they start with. The field then belongs to a
    /// manager of its own, so that the applies that follow, which have no replicas, do not take it away. A
    /// Deployment with an autoscaler that somebody has scaled to nothing starts again: its autoscaler never would.
    async fn start_deployments(&self, plan: &Plan) -> Result<(), ApplyError> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), self.namespace);
        for deployment in &plan.deployments {
            let name = deployment.name_any();
            let refused = |source: kube::Error| ApplyError::ApplyRefused {
                kind: "Deployment".to_owned(),
                name: name.clone(),
                source: Box::new(source),
            };
            let start = plan.starts.get(&name).copied();
            if let Some(live) = api.get_opt(&name).await.map_err(refused)? {
                let autoscaled = plan.autoscalers.iter().any(|autoscaler| autoscaler.name_any() == name);
                if autoscaled && live.spec.replicas == Some(0) && self.owns(&live) {
                    let scale = json!({"spec": {"replicas": start}});
                    let parameters = PatchParams {
                        field_manager: Some(STARTER.to_owned()),
                        ..PatchParams::default()
                    };
                    api.patch_scale(&name, &parameters, &Patch::Merge(&scale))
                        .await
                        .map_err(refused)?;
                }
                continue;
            }
            let mut first = deployment.clone();
            first.spec.replicas = start;
            let parameters = PostParams {
                field_manager: Some(STARTER.to_owned()),
                ..PostParams::default()
            };
            match api.create(&parameters, &first).await {
                // Made by somebody else in this moment: the apply says whose it is.
                Err(kube::Error::Api(answer)) if answer.is_already_exists() => {}
                other => drop(other.map_err(refused)?),
            }
        }
        Ok(())
    }

    fn owns<K: Resource>(&self, object: &K) -> bool {
        object
            .owner_references()
            .iter()
            .any(|owner| owner.controller == Some(true) && owner.uid == self.uid)
    }
}

/// The object as JSON, with the digest of itself.
pub(crate) fn desired<K: Serialize>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    let digest = hex::encode(&Sha256::digest(value.to_string().as_bytes())[..8]);
    value["metadata"]["annotations"][APPLIED_ANNOTATION] = Value::String(digest);
    value
}

/// Whether `live` has everything that `desired` asks for. What `live` has beside it (defaults, other managers'
/// fields) does not count.
fn covers(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired
            .iter()
            .all(|(key, value)| live.get(key).is_some_and(|live| covers(live, value))),
        (Value::Array(live), Value::Array(desired)) => {
            live.len() == desired.len() && live.iter().zip(desired).all(|(live, desired)| covers(live, desired))
        }
        (live, desired) => live == desired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_of_the_api_server_are_no_drift() {
        assert!(covers(
            &json!({"a": 1, "b": {"c": [{"d": 1, "e": 2}]}}),
            &json!({"b": {"c": [{"d": 1}]}})
        ));
    }

    #[test]
    fn a_changed_a_missing_and_an_added_item_are_drift() {
        for live in [json!({"a": 2}), json!({})] {
            assert!(!covers(&live, &json!({"a": 1})));
        }
        assert!(!covers(&json!([1, 2]), &json!([1])));
    }

    #[test]
    fn a_field_taken_out_of_the_plan_changes_the_digest() {
        let with = desired(&json!({"metadata": {"annotations": {"x": "y"}}, "spec": 1}));
        let without = desired(&json!({"metadata": {}, "spec": 1}));
        assert!(!covers(&with, &without));
    }
}
