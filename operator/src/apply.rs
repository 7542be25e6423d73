//! The plan → the cluster: creation, server-side apply, ownership and pruning.
//!
//! An object that the watches show as it was when it was last found to be as planned costs no request.

use std::collections::BTreeSet;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::deployments::Deployments;
use crate::handover::handed_over;
use crate::objects::{Objects, Table};
use crate::plan::Plan;
use crate::starter;

/// Field manager of everything but replicas.
pub const FIELD_MANAGER: &str = "syncpipeline-operator";
/// Field manager of the replicas that a Deployment starts with.
pub const STARTER: &str = "syncpipeline-starter";
/// Annotation with a digest of what was applied, so that a field taken out of the plan is noticed too.
const APPLIED_ANNOTATION: &str = "syncpipeline.dev/applied";
/// How often an object is looked at in one pass, where others write at the same time.
const ATTEMPTS: usize = 4;

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

/// Where one pipeline's objects live, and what is known of them without a request.
pub struct Room<'a> {
    /// Client of the API server.
    pub client: &'a Client,
    /// What the watches see.
    pub objects: &'a Objects,
    /// The Deployments among it.
    pub deployments: &'a Deployments,
    /// The pipeline's namespace.
    pub namespace: &'a str,
    /// The pipeline's uid.
    pub uid: &'a str,
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

/// What became of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    AsPlanned,
    Created,
    Updated,
    Taken,
}

impl Room<'_> {
    /// Brings all objects of `plan` about and deletes those of the same pipeline that it no longer has.
    /// Returns a line for each object that was changed.
    /// Those of which `staying` has the name are left as they are.
    pub async fn apply(&self, plan: &Plan, staying: &BTreeSet<&str>) -> Result<Vec<String>, ApplyError> {
        let seen = self.objects;
        let mut all = self.converge(&seen.accounts, &plan.accounts, staying, created).await?;
        all.add(self.converge(&seen.services, &plan.services, staying, created).await?);
        all.add(
            self.converge(&seen.ingresses, &plan.ingresses, staying, created)
                .await?,
        );
        let starting = |deployment: Deployment| started(deployment, plan);
        all.add(
            self.converge(&seen.deployments, &plan.deployments, staying, starting)
                .await?,
        );
        all.add(
            self.converge(&seen.autoscalers, &plan.autoscalers, staying, created)
                .await?,
        );
        self.start_and_stop(plan).await?;
        all.add(self.converge(&seen.budgets, &plan.budgets, staying, created).await?);
        all.add(
            self.converge(&seen.network_policies, &plan.network_policies, staying, created)
                .await?,
        );
        match all.taken {
            Some(taken) => Err(taken),
            None => Ok(all.changes),
        }
    }

    /// `first` makes of an object what it is created as, and names the field manager of the creation.
    async fn converge<K: Kind>(
        &self,
        seen: &Table,
        wanted: &[K],
        staying: &BTreeSet<&str>,
        first: impl Fn(K) -> (K, &'static str),
    ) -> Result<Converged, ApplyError> {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let kind = K::kind(&()).into_owned();
        let mut changes = vec![];
        let mut taken = None;
        for object in wanted {
            let name = object.name_any();
            let marked = Marked::of(object);
            if seen.is_as_planned(self.namespace, &name, self.uid, &marked.digest) {
                continue;
            }
            let outcome = self.bring_about(&api, seen, &name, &marked, &first).await;
            match outcome.map_err(refused(&kind, &name))? {
                Outcome::AsPlanned => {}
                Outcome::Created => changes.push(format!("{kind} {name} created")),
                Outcome::Updated => changes.push(format!("{kind} {name} updated")),
                Outcome::Taken => {
                    // The others are the pipeline's own, and are looked after all the same.
                    let kind = kind.clone();
                    taken.get_or_insert(ApplyError::NameTaken { kind, name });
                }
            }
        }
        let staying = staying.iter().map(|name| (*name).to_owned());
        let keep = wanted.iter().map(ResourceExt::name_any).chain(staying).collect();
        for (name, object) in seen.strays(self.namespace, self.uid, &keep) {
            // What has the name by now may be somebody else's.
            let parameters = DeleteParams::background().preconditions(Preconditions {
                uid: Some(object),
                resource_version: None,
            });
            match api.delete(&name, &parameters).await {
                Err(kube::Error::Api(answer)) if answer.is_not_found() || answer.is_conflict() => {}
                other => {
                    other.map_err(refused(&kind, &name))?;
                    changes.push(format!("{kind} {name} deleted"));
                }
            }
        }
        Ok(Converged { changes, taken })
    }

    /// Creates an object that is not seen, and looks at one that is, or that turns out to be there.
    async fn bring_about<K: Kind>(
        &self,
        api: &Api<K>,
        seen: &Table,
        name: &str,
        marked: &Marked<K>,
        first: impl Fn(K) -> (K, &'static str),
    ) -> Result<Outcome, kube::Error> {
        let mut is_there = seen.has(self.namespace, name);
        let mut conflict = None;
        for _ in 0..ATTEMPTS {
            if !is_there {
                let (new, manager) = first(marked.object.clone());
                let parameters = PostParams {
                    field_manager: Some(manager.to_owned()),
                    ..PostParams::default()
                };
                match api.create(&parameters, &new).await {
                    // The watch lags behind, or the object is not the operator's.
                    Err(kube::Error::Api(answer)) if answer.is_already_exists() => {}
                    other => {
                        seen.note(other?.meta(), &marked.digest);
                        return Ok(Outcome::Created);
                    }
                }
            }
            let Some(live) = api.get_opt(name).await? else {
                is_there = false;
                continue;
            };
            is_there = true;
            if !self.owns(&live) {
                return Ok(Outcome::Taken);
            }
            if serde_json::to_value(&live).is_ok_and(|live| covers(&live, &marked.desired)) {
                seen.note(live.meta(), &marked.digest);
                return Ok(Outcome::AsPlanned);
            }
            match update(api, name, &live, &marked.desired).await {
                // Somebody else has written in this moment.
                Err(error) if is_conflict(&error) => conflict = Some(error),
                other => {
                    seen.note(other?.meta(), &marked.digest);
                    return Ok(Outcome::Updated);
                }
            }
        }
        // Without a conflict it comes and goes, and the watch tells.
        conflict.map_or(Ok(Outcome::AsPlanned), Err)
    }

    /// Sets the replicas that neither the scaler nor an autoscaler would set.
    async fn start_and_stop(&self, plan: &Plan) -> Result<(), ApplyError> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), self.namespace);
        for (name, start) in &plan.starts {
            let Some(live) = self.deployments.get(self.namespace, name) else {
                continue;
            };
            let autoscaled = plan.autoscalers.iter().any(|autoscaler| autoscaler.name_any() == *name);
            if let Some(replicas) = starter::replicas_to_set(*start, autoscaled, &live)
                && self.owns(live.as_ref())
            {
                let scale = json!({"spec": {"replicas": replicas}});
                let parameters = PatchParams {
                    field_manager: Some(STARTER.to_owned()),
                    ..PatchParams::default()
                };
                api.patch_scale(name, &parameters, &Patch::Merge(&scale))
                    .await
                    .map_err(refused("Deployment", name))?;
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

/// A kind of object that a plan has.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

/// As it is planned, by the one who applies it later.
fn created<K>(object: K) -> (K, &'static str) {
    (object, FIELD_MANAGER)
}

/// With the replicas that it starts with. The field then belongs to a manager of its own, so that the applies that
/// follow, which have no replicas, do not take it away.
fn started(mut deployment: Deployment, plan: &Plan) -> (Deployment, &'static str) {
    let start = plan.starts.get(&deployment.name_any());
    deployment.spec.replicas = start.map(|start| start.replicas());
    (deployment, STARTER)
}

/// Applies an object that is there. What the operator has created and never applied is handed over first.
async fn update<K: Kind>(api: &Api<K>, name: &str, live: &K, desired: &Value) -> Result<K, kube::Error> {
    if let Some(fields) = handed_over(live.managed_fields()) {
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        // The version keeps what others have come to own in the meantime.
        let meta = json!({"metadata": {"managedFields": fields, "resourceVersion": live.resource_version()}});
        api.patch_metadata(name, &parameters, &Patch::Merge(&meta)).await?;
    }
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &parameters, &Patch::Apply(desired)).await
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(answer) if answer.is_conflict())
}

fn refused(kind: &str, name: &str) -> impl FnOnce(kube::Error) -> ApplyError {
    let (kind, name) = (kind.to_owned(), name.to_owned());
    move |source| ApplyError::ApplyRefused {
        kind,
        name,
        source: Box::new(source),
    }
}

/// The object as it is applied.
pub(crate) fn desired<K: Kind>(object: &K) -> Value {
    Marked::of(object).desired
}

/// An object that carries the digest of itself.
struct Marked<K> {
    object: K,
    desired: Value,
    digest: String,
}

impl<K: Kind> Marked<K> {
    fn of(object: &K) -> Marked<K> {
        let value = serde_json::to_value(object).unwrap_or_default();
        let digest = hex::encode(&Sha256::digest(value.to_string().as_bytes())[..8]);
        let mut object = object.clone();
        let annotations = object.annotations_mut();
        annotations.insert(APPLIED_ANNOTATION.to_owned(), digest.clone());
        Marked {
            desired: serde_json::to_value(&object).unwrap_or_default(),
            object,
            digest,
        }
    }
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
    use k8s_openapi::api::core::v1::ServiceAccount;

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
        let account = |labels: Value| -> ServiceAccount {
            serde_json::from_value(json!({"metadata": {"name": "a", "labels": labels}})).unwrap()
        };
        let with = Marked::of(&account(json!({"x": "y", "z": "z"})));
        let without = Marked::of(&account(json!({"x": "y"})));
        assert_ne!(with.digest, without.digest);
        assert!(!covers(&with.desired, &without.desired));
        assert_eq!(with.object.annotations()[APPLIED_ANNOTATION], with.digest);
    }
}
