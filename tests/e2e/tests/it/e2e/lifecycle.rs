//! From `kubectl apply` to `kubectl delete`.

use crate::tools::output;
use crate::world::{Case, SOON, with_case, with_pipeline};
use ::e2e::eventually::eventually;
use anyhow::{Result, ensure};
use contract::Source;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams};
use kube::{Resource, ResourceExt};
use operator::api::SyncPipeline;
use operator::api::spec::{Profile, Region};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Names and owners (by uid) of a pipeline's objects of one kind.
async fn owned<K>(case: &Case) -> Result<BTreeMap<String, Vec<String>>>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let selector = format!("syncpipeline.dev/pipeline={}", case.names.pipeline);
    let found = case
        .cluster
        .api::<K>(&case.names.namespace)
        .list(&ListParams::default().labels(&selector))
        .await?;
    let owners = |object: &K| {
        object
            .owner_references()
            .iter()
            .map(|owner| owner.uid.clone())
            .collect()
    };
    Ok(found.iter().map(|object| (object.name_any(), owners(object))).collect())
}

#[tokio::test]
async fn deleting_a_pipeline_removes_everything_but_the_topics() {
    with_pipeline(
        "lifecycle",
        |_| {},
        async |case| {
            let names = &case.names;
            let object = case
                .cluster
                .api::<SyncPipeline>(&names.namespace)
                .get(&names.pipeline)
                .await?;
            let uid = object.uid().unwrap();
            let deployments = owned::<Deployment>(case).await?;
            let expected = ["common", "events", "producer", "sms"].map(|component| names.deployment(component));
            assert_eq!(deployments.keys().cloned().collect::<Vec<_>>(), expected);
            let services = owned::<Service>(case).await?;
            let autoscalers = owned::<HorizontalPodAutoscaler>(case).await?;
            assert_eq!(services.keys().collect::<Vec<_>>(), [&names.deployment("producer")]);
            assert_eq!(autoscalers.keys().collect::<Vec<_>>(), [&names.deployment("producer")]);
            let accounts = owned::<ServiceAccount>(case).await?;
            for (name, owners) in deployments.iter().chain(&services).chain(&autoscalers).chain(&accounts) {
                assert_eq!(*owners, std::slice::from_ref(&uid), "owner of {name}");
            }
            let mut topics: Vec<String> = names.sources.iter().map(|source| names.topic(*source)).collect();
            topics.extend(names.sources.iter().map(|source| names.dead_letter_topic(*source)));
            let before = case.kafka.topics(&topics).await?;
            assert_eq!(before.len(), 10, "{before:?}");

            case.cluster
                .delete::<SyncPipeline>(&names.namespace, &names.pipeline, SOON)
                .await?;
            eventually("everything is gone", SOON, async || {
                let left = [
                    owned::<Deployment>(case).await?,
                    owned::<Service>(case).await?,
                    owned::<HorizontalPodAutoscaler>(case).await?,
                    owned::<ServiceAccount>(case).await?,
                    owned::<Pod>(case).await?,
                ]
                .map(|objects| objects.into_keys().collect::<Vec<_>>())
                .concat();
                ensure!(left.is_empty(), "left: {left:?}");
                Ok(Some(()))
            })
            .await?;
            assert_eq!(case.kafka.topics(&topics).await?, before, "topics stay as they were");
            Ok(())
        },
    )
    .await;
}

#[tokio::test]
async fn kubectl_alone_tells_what_is_happening() {
    with_pipeline(
        "columns",
        |_| {},
        async |case| {
            let (namespace, name) = (case.names.namespace.as_str(), case.names.pipeline.as_str());
            // The lag is known a moment after the first commit.
            let table = eventually("the lag is known", SOON, async || {
                let table = output("kubectl", &["get", "sp", name, "--namespace", namespace]).await?;
                let known = table
                    .lines()
                    .nth(1)
                    .is_some_and(|row| row.split_whitespace().nth(3) == Some("0"));
                Ok(known.then_some(table))
            })
            .await?;
            let mut lines = table.lines();
            let header: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
            assert_eq!(header, ["NAME", "READY", "USERS", "LAG", "PODS", "STATUS", "AGE"]);
            let row: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
            assert_eq!(row[..5], [name, "True", "1000", "0", "4/4"], "{table}");

            let text = output("kubectl", &["describe", "sp", name, "--namespace", namespace]).await?;
            for words in [
                "Conditions:",
                "Type:",
                "Ready",
                "columns.sms_batched",
                "Replicas:",
                "Rungs:",
                "Events:",
            ] {
                assert!(text.contains(words), "{words:?} is missing in:\n{text}");
            }
            for secret in [
                &case.running.kafka.password,
                &case.running.postgres.password,
                &case.running.mongodb.password,
            ] {
                assert!(!text.contains(secret.as_str()), "a password is shown");
            }
            Ok(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_renamed_reader_reads_on_until_the_new_one_is_ready() {
    with_pipeline("renamed", one_reader, async |case| {
        let generator = case.traffic("calm:20s@20", None).await?;
        generator.reached("calm", SOON).await?;
        let mut renamed = case.pipeline.clone();
        renamed.spec.consumers[0].name = "second".to_owned();
        case.cluster.apply(&renamed).await?;
        let deployments = case.cluster.api::<Deployment>(&case.names.namespace);
        let readers = ListParams::default().labels("app.kubernetes.io/name=consumer");
        eventually("only the second reader is left", SOON, async || {
            let found = deployments.list(&readers).await?;
            let ready = |deployment: &Deployment| deployment.status.as_ref().and_then(|status| status.ready_replicas);
            let ready: i32 = found.iter().filter_map(ready).sum();
            assert!(ready >= 1, "nobody reads");
            let left: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
            ensure!(left == [case.names.deployment("second")], "there are {left:?}");
            Ok(Some(()))
        })
        .await?;
        let (_, receipts) = case.answered(&generator, SOON).await?;
        case.all_stored_once(&receipts).await
    })
    .await;
}

/// A pipeline of the same topics whose names are its user's own, with one reader.
fn one_reader(pipeline: &mut SyncPipeline) {
    let spec = &mut pipeline.spec;
    let topics = Source::ALL.map(Source::topic);
    spec.profile = Profile::Custom;
    spec.topics = topics
        .map(|topic| serde_json::from_value(json!({"name": topic, "partitions": 4})).unwrap())
        .to_vec();
    spec.producers = vec![serde_json::from_value(json!({"name": "producer", "topics": topics})).unwrap()];
    spec.consumers = vec![
        serde_json::from_value(json!({
            "name": "first", "group": "readers", "topics": topics, "replicas": {"min": 1, "max": 4},
        }))
        .unwrap(),
    ];
}

#[tokio::test]
async fn what_somebody_deletes_or_changes_comes_back() {
    with_pipeline("drift", with_ingress, async |case| {
        let names = &case.names;
        let producer = names.deployment("producer");
        comes_back::<Service>(case, &producer).await?;
        comes_back::<ServiceAccount>(case, &producer).await?;
        comes_back::<Ingress>(case, &producer).await?;
        comes_back::<HorizontalPodAutoscaler>(case, &producer).await?;
        comes_back::<PodDisruptionBudget>(case, &producer).await?;
        comes_back::<NetworkPolicy>(case, &producer).await?;
        comes_back::<Deployment>(case, &producer).await?;

        let deployments = case.cluster.api::<Deployment>(&names.namespace);
        let image = |deployment: &Deployment| {
            let pod = deployment.spec.template.spec.clone().unwrap_or_default();
            pod.containers[0].image.clone()
        };
        let sms = names.deployment("sms");
        let before = image(&deployments.get(&sms).await?);
        let stray = format!("deployment/{sms}");
        let arguments = [
            "set",
            "image",
            &stray,
            "*=example.invalid/other:1",
            "--namespace",
            &names.namespace,
        ];
        output("kubectl", &arguments).await?;
        eventually("the image comes back", SOON, async || {
            let now = image(&deployments.get(&sms).await?);
            ensure!(now == before, "it is {now:?}");
            Ok(Some(()))
        })
        .await?;

        let mut without = case.pipeline.clone();
        without.spec.producers[0].ingress = None;
        case.cluster.apply(&without).await?;
        eventually("the Ingress goes with its field", SOON, async || {
            let left = owned::<Ingress>(case).await?;
            ensure!(left.is_empty(), "left: {left:?}");
            Ok(Some(()))
        })
        .await?;
        case.ready().await
    })
    .await;
}

fn with_ingress(pipeline: &mut SyncPipeline) {
    let producer = json!({"name": "producer", "ingress": {"host": "sync.example.com"}});
    pipeline.spec.producers = vec![serde_json::from_value(producer).unwrap()];
}

/// Deletes an object and waits for another one in its place.
async fn comes_back<K>(case: &Case, name: &str) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let api = case.cluster.api::<K>(&case.names.namespace);
    let before = api.get(name).await?;
    api.delete(name, &DeleteParams::background()).await?;
    eventually(&format!("the {} comes back", K::kind(&())), SOON, async || {
        let found = api.get_opt(name).await?;
        Ok(found.is_some_and(|found| found.uid() != before.uid()).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_region_leaves_its_topics_out() {
    with_pipeline(
        "region",
        |pipeline| pipeline.spec.region = Some(Region::India),
        async |case| {
            let names = &case.names;
            let topics = case.kafka.topic_names().await?;
            let mut own: Vec<&str> = topics
                .iter()
                .filter_map(|topic| topic.strip_prefix("region."))
                .collect();
            own.sort_unstable();
            let expected = [
                "apps_and_device_batched",
                "apps_and_device_batched.dlq",
                "events_log",
                "events_log.dlq",
                "sms_batched",
                "sms_batched.dlq",
            ];
            assert_eq!(own, expected);
            let common = case
                .cluster
                .api::<Deployment>(&names.namespace)
                .get(&names.deployment("common"))
                .await?;
            let pod = common.spec.template.spec.unwrap_or_default();
            let enabled = pod.containers[0]
                .env
                .iter()
                .flatten()
                .find(|variable| variable.name == contract::env::ENABLED_TOPICS);
            assert_eq!(
                enabled.unwrap().value.as_deref(),
                Some("region.apps_and_device_batched")
            );

            let generator = case.traffic("all:4s@10", None).await?;
            let (progress, receipts) = case.answered(&generator, SOON).await?;
            assert_eq!(
                progress.skipped.keys().copied().collect::<Vec<_>>(),
                [Source::Contacts, Source::CallLogs]
            );
            for words in progress.skipped.values() {
                assert!(words.contains("India"), "{words}");
            }
            case.all_stored_once(&receipts).await
        },
    )
    .await;
}

#[tokio::test]
async fn a_changed_config_map_rolls_only_the_pods_whose_variables_refer_to_it() {
    let refer = |pipeline: &mut SyncPipeline| {
        let from = json!({"configMapKeyRef": {"name": "settings", "key": "level"}});
        let variable = serde_json::from_value(json!({"name": "LEVEL", "valueFrom": from})).unwrap();
        let mut consumers = pipeline.spec.consumers.iter_mut();
        let events = consumers.find(|consumer| consumer.name == "events").unwrap();
        events.component.env.push(variable);
    };
    with_case("variables", refer, async |case| {
        let names = &case.names;
        let write = async |level: &str| {
            let metadata = json!({"name": "settings", "namespace": names.namespace});
            let map: ConfigMap = serde_json::from_value(json!({"metadata": metadata, "data": {"level": level}}))?;
            Ok::<_, anyhow::Error>(case.cluster.apply(&map).await?)
        };
        write("one").await?;
        case.apply().await?;
        case.ready().await?;
        let deployments = case.cluster.api::<Deployment>(&names.namespace);
        let generation = async |component: &str| {
            let found = deployments.get(&names.deployment(component)).await?;
            Ok::<_, anyhow::Error>(found.metadata.generation)
        };
        let (events, sms) = (generation("events").await?, generation("sms").await?);
        write("two").await?;
        eventually("the pods that use it are rolled", SOON, async || {
            let now = generation("events").await?;
            Ok((now > events).then_some(()))
        })
        .await?;
        case.ready().await?;
        assert_eq!(generation("sms").await?, sms);
        Ok(())
    })
    .await;
}
