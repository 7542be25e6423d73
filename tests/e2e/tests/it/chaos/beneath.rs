//! What a pipeline stands on goes away or changes in mid-burst: afterwards everything is what it was.

use super::survives;
use crate::world::{Case, SOON, with_pipeline};
use ::e2e::eventually::eventually;
use ::e2e::pipeline::condition;
use anyhow::{Context, Result, ensure};
use embedded_cluster::Component;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, CustomResourceExt, Resource, ResourceExt};
use operator::api::SyncPipeline;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

#[tokio::test]
async fn the_api_server_is_killed() {
    with_pipeline(
        "no-api-server",
        |_| {},
        async |case| {
            let before = identities(case).await?;
            survives(case, async || {
                embedded_cluster::kill9(Component::ApiServer)?;
                tokio::time::sleep(Duration::from_secs(3)).await;
                tokio::task::spawn_blocking(|| embedded_cluster::restart(Component::ApiServer)).await??;
                eventually("the API server answers", SOON, async || case.status().await.map(Some)).await?;
                Ok(())
            })
            .await?;
            assert_eq!(identities(case).await?, before);
            Ok(())
        },
    )
    .await;
}

#[tokio::test]
async fn the_definition_is_upgraded() {
    with_pipeline(
        "upgraded",
        |_| {},
        async |case| {
            let before = identities(case).await?;
            let api: Api<CustomResourceDefinition> = Api::all(case.cluster.client());
            let name = SyncPipeline::crd_name();
            let present = api.get(name).await?;
            let outcome = survives(case, async || {
                let mut next = serde_json::to_value(&present)?;
                let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
                let properties = next.pointer_mut(properties).context("the definition has no spec")?;
                properties["fieldOfALaterVersion"] = json!({"type": "string", "default": "new"});
                replace(&api, next).await?;
                eventually("objects have the new field", SOON, async || {
                    let object = raw(case).await?;
                    Ok((object["spec"]["fieldOfALaterVersion"] == "new").then_some(()))
                })
                .await
            })
            .await;
            replace(&api, serde_json::to_value(&present)?).await?;
            outcome?;
            assert_eq!(identities(case).await?, before);
            Ok(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_secret_is_deleted() {
    with_pipeline(
        "no-secret",
        |_| {},
        async |case| {
            let before = identities(case).await?;
            let secrets = case.cluster.api::<Secret>(&case.names.namespace);
            let postgres = case.pipeline.spec.postgres.as_ref().context("no PostgreSQL")?;
            let name = postgres.credentials_secret_ref.name.as_str();
            let mut secret = secrets.get(name).await?;
            survives(case, async || {
                secrets.delete(name, &DeleteParams::default()).await?;
                eventually("the status says so", SOON, async || {
                    let status = case.status().await?;
                    let (state, reason, message) = condition(&status, "Ready").context("no condition Ready")?;
                    ensure!(
                        (state, reason) == ("False", "SecretMissing"),
                        "{state} {reason}: {message}"
                    );
                    ensure!(message.contains(name), "{message}");
                    Ok(Some(()))
                })
                .await?;
                secret.metadata.uid = None;
                secret.metadata.resource_version = None;
                secrets.create(&PostParams::default(), &secret).await?;
                Ok(())
            })
            .await?;
            assert_eq!(identities(case).await?, before);
            Ok(())
        },
    )
    .await;
}

async fn replace(api: &Api<CustomResourceDefinition>, wanted: Value) -> Result<()> {
    let mut wanted: CustomResourceDefinition = serde_json::from_value(wanted)?;
    let present = api.get(&wanted.name_any()).await?;
    wanted.metadata.resource_version = present.resource_version();
    api.replace(&wanted.name_any(), &PostParams::default(), &wanted).await?;
    Ok(())
}

/// The pipeline with what this version of the operator does not know.
async fn raw(case: &Case) -> Result<Value> {
    let resource = kube::api::ApiResource::erase::<SyncPipeline>(&());
    let api: Api<kube::api::DynamicObject> =
        Api::namespaced_with(case.cluster.client(), &case.names.namespace, &resource);
    Ok(serde_json::to_value(api.get(&case.names.pipeline).await?)?)
}

/// Kind and name of everything that the operator made, with what tells it from another one of the same name.
async fn identities(case: &Case) -> Result<BTreeMap<String, String>> {
    let names = &case.names;
    let mut found = BTreeMap::new();
    found.extend(of_kind::<ServiceAccount>(case).await?);
    found.extend(of_kind::<Service>(case).await?);
    found.extend(of_kind::<Deployment>(case).await?);
    found.extend(of_kind::<HorizontalPodAutoscaler>(case).await?);
    found.extend(of_kind::<PodDisruptionBudget>(case).await?);
    found.extend(of_kind::<NetworkPolicy>(case).await?);
    found.extend(of_kind::<ConfigMap>(case).await?);
    let topics = names.sources.iter();
    let topics: Vec<String> = topics
        .flat_map(|source| [names.topic(*source), names.dead_letter_topic(*source)])
        .collect();
    let topics = case.kafka.topics(&topics).await?;
    found.extend(
        topics
            .into_iter()
            .map(|(name, topic)| (format!("topic {name}"), topic.id.to_string())),
    );
    Ok(found)
}

async fn of_kind<K>(case: &Case) -> Result<BTreeMap<String, String>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let selector = format!("syncpipeline.dev/pipeline={}", case.names.pipeline);
    let api = case.cluster.api::<K>(&case.names.namespace);
    let objects = api.list(&ListParams::default().labels(&selector)).await?;
    let identity = |object: &K| {
        (
            format!("{} {}", K::kind(&()), object.name_any()),
            object.uid().unwrap_or_default(),
        )
    };
    Ok(objects.iter().map(identity).collect())
}
