//! The plan → the cluster: server-side apply, ownership and pruning.

use std::collections::BTreeSet;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::plan::{Plan, naming};

/// Field manager of everything but replicas.
pub const FIELD_MANAGER: &str = "syncpipeline-operator";
/// Field manager of the replicas that a Deployment starts with.
const STARTER: &str = "syncpipeline-starter";
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
    let mut changes = vec![];
    let room = Room {
        client,
        namespace,
        pipeline,
        uid,
    };
    changes.extend(room.converge::<ServiceAccount>(&plan.accounts).await?);
    changes.extend(room.converge::<Service>(&plan.services).await?);
    room.start_new_deployments(plan).await?;
    changes.extend(room.converge::<Deployment>(&plan.deployments).await?);
    changes.extend(room.converge::<HorizontalPodAutoscaler>(&plan.autoscalers).await?);
    Ok(changes)
}

/// Where one pipeline's objects live.
struct Room<'a> {
    client: &'a Client,
    namespace: &'a str,
    pipeline: &'a str,
    uid: &'a str,
}

impl Room<'_> {
    async fn converge<K>(&self, wanted: &[K]) -> Result<Vec<String>, ApplyError>
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
        for object in wanted {
            let name = object.name_any();
            let live = api.get_opt(&name).await.map_err(refused(&name))?;
            if live.as_ref().is_some_and(|live| !self.owns(live)) {
                return Err(ApplyError::NameTaken { kind, name });
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
        let selector = format!(
            "{},{}={}",
            naming::managed_selector(),
            naming::PIPELINE_LABEL,
            self.pipeline
        );
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
        Ok(changes)
    }

    /// Creates Deployments that are missing with the replicas they start with. The field then belongs to a
    /// manager of its own, so that the applies that follow, which have no replicas, do not take it away.
    async fn start_new_deployments(&self, plan: &Plan) -> Result<(), ApplyError> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), self.namespace);
        let parameters = PostParams {
            field_manager: Some(STARTER.to_owned()),
            ..PostParams::default()
        };
        for deployment in &plan.deployments {
            let name = deployment.name_any();
            let refused = |source: kube::Error| ApplyError::ApplyRefused {
                kind: "Deployment".to_owned(),
                name: name.clone(),
                source: Box::new(source),
            };
            if api.get_metadata_opt(&name).await.map_err(refused)?.is_some() {
                continue;
            }
            let mut first = deployment.clone();
            first.spec.replicas = plan.starts.get(&name).copied();
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
fn desired<K: Serialize>(object: &K) -> Value {
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
    use serde_json::json;

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
