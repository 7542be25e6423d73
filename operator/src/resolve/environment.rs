//! What the variables of a component's own refer to: a change of it rolls that component's pods.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, ResourceExt};

use super::digest;
use crate::api::SyncPipelineSpec;
use crate::api::spec::{EnvSource, EnvVariable};
use crate::validate::InsightKind;

/// Kind of object that a variable's value may be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
}

/// Digests of the versions of everything that a component's variables refer to, by the component's name; none for a
/// component whose variables refer to nothing. What is missing counts too: the pods wait for it.
pub(super) async fn digests(
    client: &Client,
    namespace: &str,
    spec: &SyncPipelineSpec,
) -> Result<BTreeMap<String, String>, (String, kube::Error)> {
    // Many variables may refer to one object, which is asked about once.
    let mut versions = BTreeMap::<(Kind, &str), String>::new();
    let mut told = BTreeMap::<&str, BTreeSet<String>>::new();
    for (component, kind, name) in references(spec) {
        let version = match versions.entry((kind, name)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let version = version(client, namespace, kind, name).await;
                unknown.insert(version.map_err(|source| (format!("{kind:?} {name}"), source))?)
            }
        };
        let told = told.entry(component).or_default();
        told.insert(format!("{kind:?} {name} {version}"));
    }
    Ok(told
        .into_iter()
        .map(|(component, told)| (component.to_owned(), digest(told.iter().map(String::as_str))))
        .collect())
}

/// Names of the objects of one kind that variables refer to.
pub(super) fn names_of(spec: &SyncPipelineSpec, kind: Kind) -> impl Iterator<Item = &str> {
    references(spec)
        .filter(move |(_, found, _)| *found == kind)
        .map(|(_, _, name)| name)
}

/// Component, kind and name of everything that variables refer to.
fn references(spec: &SyncPipelineSpec) -> impl Iterator<Item = (&str, Kind, &str)> {
    let producers = spec.producers.iter().map(|one| (one.name.as_str(), &one.component.env));
    let consumers = spec.consumers.iter().map(|one| (one.name.as_str(), &one.component.env));
    let insights = spec.insights.iter().flat_map(|insights| {
        let api = (InsightKind::Api, &insights.api);
        let extraction = (InsightKind::SmsExtraction, &insights.sms_extraction);
        [api, extraction]
            .into_iter()
            .filter_map(|(kind, api)| Some((kind.component(), &api.as_ref()?.component.env)))
    });
    let components = producers.chain(consumers).chain(insights);
    components.flat_map(|(component, env)| {
        env.iter()
            .filter_map(reference)
            .map(move |(kind, name)| (component, kind, name))
    })
}

fn reference(variable: &EnvVariable) -> Option<(Kind, &str)> {
    let EnvSource {
        secret_key_ref,
        config_map_key_ref,
    } = variable.value_from.as_ref()?;
    let secret = secret_key_ref.iter().map(|key| (Kind::Secret, key.name.as_str()));
    let config_map = config_map_key_ref
        .iter()
        .map(|key| (Kind::ConfigMap, key.name.as_str()));
    secret.chain(config_map).next()
}

async fn version(client: &Client, namespace: &str, kind: Kind, name: &str) -> Result<String, kube::Error> {
    let version = match kind {
        Kind::Secret => {
            let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
            api.get_metadata_opt(name)
                .await?
                .and_then(|found| found.resource_version())
        }
        Kind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            api.get_metadata_opt(name)
                .await?
                .and_then(|found| found.resource_version())
        }
    };
    Ok(version.unwrap_or_else(|| "missing".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_is_found_with_its_component() {
        let spec: SyncPipelineSpec = crate::manifest::parse(
            "dailyActiveUsers: 1\nkafka: {bootstrapServers: ['k:9092']}\n\
             producers: [{name: api, env: [{name: A, value: x}, {name: B, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]\n\
             consumers: [{name: sms, env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}]\n\
             insights: {smsExtraction: {image: i, env: [{name: A, valueFrom: {secretKeyRef: {name: t, key: k}}}]}}\n",
        )
        .unwrap();
        let found: Vec<_> = references(&spec).collect();
        assert_eq!(
            found,
            [
                ("api", Kind::Secret, "s"),
                ("sms", Kind::ConfigMap, "c"),
                ("sms-extraction", Kind::Secret, "t"),
            ]
        );
        assert_eq!(names_of(&spec, Kind::ConfigMap).collect::<Vec<_>>(), ["c"]);
    }
}
