//! Whose a topic is, and what the operator does to it.

use crate::tools::output;
use crate::world::{Case, SOON, STAND_IN, with_case};
use ::e2e::eventually::eventually;
use ::e2e::pipeline::{Names, condition, status};
use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use kube::api::ListParams;
use operator::api::SyncPipeline;
use operator::api::spec::{DeletionPolicy, Profile, Topic};
use serde_json::json;

/// A pipeline of one topic and nothing else.
fn one_topic(pipeline: &mut SyncPipeline) {
    pipeline.spec.profile = Profile::Custom;
    pipeline.spec.consumers = vec![];
    pipeline.spec.topics = vec![
        serde_json::from_value(json!({
            "name": "clicks", "partitions": 2, "retention": "1h", "config": {"segment.ms": "600000"},
        }))
        .unwrap(),
    ];
}

fn topic(pipeline: &mut SyncPipeline) -> &mut Topic {
    &mut pipeline.spec.topics[0]
}

/// Name in Kafka of the one topic.
fn clicks(case: &Case) -> String {
    format!("{}clicks", case.names.topic_prefix)
}

/// Applies `pipeline` and waits until its status is about this spec and the condition is as told.
async fn settles(case: &Case, pipeline: &SyncPipeline, type_: &str, expected: (&str, &str)) -> Result<String> {
    let applied = case.cluster.apply(pipeline).await?;
    let names = Names {
        pipeline: pipeline.name_any(),
        ..case.names.clone()
    };
    eventually(&format!("{type_} is {expected:?}"), SOON, async || {
        let status = status(&case.cluster, &names).await?;
        ensure!(
            status.observed_generation >= applied.metadata.generation,
            "the status is older"
        );
        let Some((state, reason, message)) = condition(&status, type_) else {
            bail!("no condition {type_}")
        };
        ensure!((state, reason) == expected, "{type_} is {state}, {reason}: {message}");
        Ok(Some(message.to_owned()))
    })
    .await
}

async fn events(case: &Case) -> Result<Vec<String>> {
    case.cluster.events(&case.names.namespace, &case.names.pipeline).await
}

const GOOD: (&str, &str) = ("True", "AllTopicsExist");

#[tokio::test]
async fn a_topic_grows_when_asked_never_shrinks_and_gets_its_settings_back() {
    with_case("growth", one_topic, async |case| {
        let name = clicks(case);
        settles(case, &case.pipeline, "TopicsReady", GOOD).await?;
        let first = case.kafka.topics(std::slice::from_ref(&name)).await?;
        assert_eq!(
            (first[&name].partitions, first[&name].retention.as_deref()),
            (2, Some("3600000"))
        );

        let mut larger = case.pipeline.clone();
        topic(&mut larger).partitions = Some(5);
        settles(case, &larger, "TopicsReady", GOOD).await?;
        eventually("the topic has grown", SOON, async || {
            let now = case.kafka.topics(std::slice::from_ref(&name)).await?;
            Ok((now[&name].partitions == 5 && now[&name].id == first[&name].id).then_some(()))
        })
        .await?;
        let warned = format!("TopicGrows: topic {name} grows from 2 to 5 partitions");
        let told = events(case).await?;
        assert!(told.iter().any(|event| event.starts_with(&warned)), "{told:#?}");

        let mut smaller = case.pipeline.clone();
        topic(&mut smaller).partitions = Some(3);
        let message = settles(case, &smaller, "TopicsReady", ("False", "ShrinkRefused")).await?;
        assert!(message.contains("has 5 partitions and 3 are wanted"), "{message}");

        // Somebody changes a setting by hand, and the spec no longer has another one.
        case.kafka.set_config(&name, "retention.ms", "77").await?;
        topic(&mut larger).config.clear();
        settles(case, &larger, "TopicsReady", GOOD).await?;
        eventually("the settings are back", SOON, async || {
            let retention = case.kafka.config(&name, "retention.ms").await?;
            let segment = case.kafka.config(&name, "segment.ms").await?;
            ensure!(retention == "3600000", "retention.ms is {retention}");
            ensure!(segment != "600000", "segment.ms is {segment}");
            Ok(Some(()))
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_was_there_is_used_as_it_is_until_it_is_to_be_managed() {
    with_case("existing", one_topic, async |case| {
        let name = clicks(case);
        case.kafka.create_topic(&name, 3).await?;
        let message = settles(case, &case.pipeline, "Degraded", ("True", "UsedAsItIs")).await?;
        assert!(message.contains("with 3 partitions where 2 are wanted"), "{message}");
        let before = case.kafka.topics(std::slice::from_ref(&name)).await?;
        assert_ne!(before[&name].retention.as_deref(), Some("3600000"));

        let mut managed = case.pipeline.clone();
        topic(&mut managed).manage = Some(true);
        topic(&mut managed).partitions = Some(4);
        settles(case, &managed, "Degraded", ("False", "AsRecommended")).await?;
        eventually("it was taken over", SOON, async || {
            let now = case.kafka.topics(std::slice::from_ref(&name)).await?;
            let now = &now[&name];
            Ok((now.partitions == 4 && now.retention.as_deref() == Some("3600000")).then_some(()))
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn an_object_made_again_finds_its_topics_and_deletes_those_that_are_to_go() {
    with_case("owner", one_topic, async |case| {
        let name = clicks(case);
        settles(case, &case.pipeline, "TopicsReady", GOOD).await?;
        let first = case.kafka.topics(std::slice::from_ref(&name)).await?;
        let remove = async || {
            case.cluster
                .delete::<SyncPipeline>(&case.names.namespace, &case.names.pipeline, SOON)
                .await
        };
        remove().await?;
        let kept = case.kafka.topics(std::slice::from_ref(&name)).await?;
        assert_eq!(kept[&name].id, first[&name].id, "Retain keeps it");

        let mut again = case.pipeline.clone();
        topic(&mut again).partitions = Some(3);
        topic(&mut again).deletion_policy = DeletionPolicy::Delete;
        settles(case, &again, "TopicsReady", GOOD).await?;
        let grown = case.kafka.topics(std::slice::from_ref(&name)).await?;
        assert_eq!(
            (grown[&name].partitions, grown[&name].id),
            (3, first[&name].id),
            "it is its own again"
        );
        remove().await?;
        let left = case.kafka.topics(std::slice::from_ref(&name)).await?;
        assert!(left.is_empty(), "Delete deletes it: {left:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_kafka_does_not_keep_an_object_for_ever() {
    with_case("abandon", one_topic, async |case| {
        let mut pipeline = case.pipeline.clone();
        topic(&mut pipeline).deletion_policy = DeletionPolicy::Delete;
        settles(case, &pipeline, "TopicsReady", GOOD).await?;
        pipeline.spec.kafka.bootstrap_servers = vec!["nowhere.invalid:9092".to_owned()];
        settles(case, &pipeline, "TopicsReady", ("False", "KafkaUnreachable")).await?;
        let (namespace, object) = (case.names.namespace.as_str(), case.names.pipeline.as_str());
        output(
            "kubectl",
            &["delete", "sp", object, "--namespace", namespace, "--wait=false"],
        )
        .await?;
        eventually("it says how to get out", SOON, async || {
            let status = case.status().await?;
            let (_, _, message) = condition(&status, "Ready").context("no condition Ready")?;
            ensure!(message.contains("syncpipeline.dev/abandon-topics=true"), "{message}");
            Ok(Some(()))
        })
        .await?;
        let way_out = "syncpipeline.dev/abandon-topics=true";
        output(
            "kubectl",
            &["annotate", "sp", object, "--namespace", namespace, way_out],
        )
        .await?;
        eventually("the object is gone", SOON, async || {
            let found = case.cluster.api::<SyncPipeline>(namespace).get_opt(object).await?;
            Ok(found.is_none().then_some(()))
        })
        .await?;
        let name = clicks(case);
        let left = case.kafka.topics(std::slice::from_ref(&name)).await?;
        assert!(left.contains_key(&name), "the topic was left behind");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_an_older_pipeline_holds_is_not_given_to_a_younger_one() {
    with_case("claims", one_topic, async |case| {
        settles(case, &case.pipeline, "TopicsReady", GOOD).await?;
        let mut younger = case.pipeline.clone();
        younger.metadata.name = Some("younger".to_owned());
        younger.spec.producers = vec![serde_json::from_value(
            json!({"name": "api", "image": std::env::var(STAND_IN)?, "topics": ["clicks"]}),
        )?];
        let message = settles(case, &younger, "Ready", ("False", "HeldByAnother")).await?;
        let holder = format!("{}/{}", case.names.namespace, case.names.pipeline);
        for words in [clicks(case).as_str(), holder.as_str(), "spec.kafka.topicPrefix"] {
            assert!(message.contains(words), "{message:?} does not say {words:?}");
        }
        let workloads = case
            .cluster
            .api::<Deployment>(&case.names.namespace)
            .list(&ListParams::default())
            .await?;
        assert!(workloads.items.is_empty(), "a workload was started");

        // Once the older one has gone, the topic is free.
        case.cluster
            .delete::<SyncPipeline>(&case.names.namespace, &case.names.pipeline, SOON)
            .await?;
        settles(case, &younger, "TopicsReady", GOOD).await?;
        Ok(())
    })
    .await;
}
