//! The operator ends after each step of a pass: the next one brings about the same as if nothing had happened.

use super::is_ready;
use crate::world::{Case, OPERATOR, OPERATOR_NAMESPACE, SOON, STAND_IN, with_case};
use ::e2e::eventually::eventually;
use ::e2e::pipeline::{condition, status};
use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use operator::api::SyncPipeline;
use operator::api::spec::Profile;
use operator::fault::{ANNOTATION, Step};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[tokio::test]
async fn the_operator_ends_after_each_step_of_a_pass() {
    with_case("steps", one_of_each, async |case| {
        for step in Step::ALL {
            ends_after(case, step)
                .await
                .with_context(|| format!("after {step:?}"))?;
        }
        Ok(())
    })
    .await;
}

/// A pipeline with a topic that is to go with it, and one component of each kind.
fn one_of_each(pipeline: &mut SyncPipeline) {
    let spec = &mut pipeline.spec;
    spec.profile = Profile::Custom;
    let read = |value: Value| serde_json::from_value(value).unwrap();
    let component = json!({
        "name": "api", "image": std::env::var(STAND_IN).unwrap_or_default(), "port": 3000, "topics": ["clicks"],
        "probes": {"type": "None"}, "replicas": {"min": 1, "max": 1},
        "pod": {"securityContext": {"runAsNonRoot": false}},
    });
    let mut reader = component.clone();
    reader["name"] = json!("reader");
    reader["group"] = json!("readers");
    spec.topics =
        vec![serde_json::from_value(json!({"name": "clicks", "partitions": 2, "deletionPolicy": "Delete"})).unwrap()];
    spec.producers = vec![serde_json::from_value(component).unwrap()];
    spec.consumers = vec![read(reader)];
}

async fn ends_after(case: &Case, step: Step) -> Result<()> {
    let before = restarts(case).await?;
    let mut pipeline = case.pipeline.clone();
    // In a while, so that the operator that runs now is older by any clock.
    let time = (Utc::now() + TimeDelta::seconds(1)).to_rfc3339();
    pipeline
        .annotations_mut()
        .insert(ANNOTATION.to_owned(), format!("{step:?} {time}"));
    case.cluster.apply(&pipeline).await?;
    eventually("the operator has ended", SOON, async || {
        Ok((restarts(case).await? > before).then_some(()))
    })
    .await?;
    eventually("the pipeline runs", SOON, async || {
        let status = status(&case.cluster, &case.names).await?;
        let (state, reason, message) = condition(&status, "Ready").context("no condition Ready")?;
        ensure!(state == "True", "Ready is {state}, {reason}: {message}");
        Ok(Some(()))
    })
    .await?;
    the_end_state_is_the_same(case).await?;

    case.cluster
        .delete::<SyncPipeline>(&case.names.namespace, &case.names.pipeline, SOON)
        .await?;
    let left: Vec<String> = case.kafka.topic_names().await?;
    let left: Vec<&String> = left.iter().filter(|name| **name == topic(case)).collect();
    ensure!(left.is_empty(), "{left:?} was to go with the pipeline");
    // A pod of its own for the next step: the kubelet waits longer with each restart.
    replace_operator(case).await
}

fn topic(case: &Case) -> String {
    format!("{}clicks", case.names.topic_prefix)
}

/// One Deployment for each component, and a record with the ids of exactly the topics that there are.
async fn the_end_state_is_the_same(case: &Case) -> Result<()> {
    let names = &case.names;
    let deployments = case.cluster.api::<Deployment>(&names.namespace);
    let deployments = deployments.list(&ListParams::default()).await?;
    let mut found: Vec<String> = deployments.iter().map(ResourceExt::name_any).collect();
    found.sort();
    ensure!(found == ["steps-api", "steps-reader"], "{found:?}");

    let record = case
        .cluster
        .api::<ConfigMap>(&names.namespace)
        .get("steps-topics")
        .await?;
    let record: Value = serde_json::from_str(&record.data.context("an empty record")?["topics.json"])?;
    let recorded: BTreeMap<String, String> = record["topics"]
        .as_object()
        .context("no topics")?
        .iter()
        .map(|(name, owned)| (name.clone(), owned["id"].as_str().unwrap_or_default().to_owned()))
        .collect();
    let expected = [topic(case), format!("{}.dlq", topic(case))];
    let topics = case.kafka.topics(&expected).await?;
    let there: BTreeMap<String, String> = topics
        .into_iter()
        .map(|(name, topic)| (name, topic.id.simple().to_string()))
        .collect();
    ensure!(recorded == there, "recorded {recorded:?}, there are {there:?}");
    ensure!(there.len() == expected.len(), "{there:?}");
    Ok(())
}

async fn operators(case: &Case) -> Result<Vec<Pod>> {
    let pods = case.cluster.api::<Pod>(OPERATOR_NAMESPACE);
    Ok(pods.list(&ListParams::default().labels(OPERATOR)).await?.items)
}

async fn restarts(case: &Case) -> Result<i32> {
    let pods = operators(case).await?;
    let containers = pods.iter().flat_map(|pod| {
        pod.status
            .iter()
            .flat_map(|status| status.container_statuses.iter().flatten())
    });
    Ok(containers.map(|container| container.restart_count).sum())
}

async fn replace_operator(case: &Case) -> Result<()> {
    let pods = case.cluster.api::<Pod>(OPERATOR_NAMESPACE);
    let old: Vec<String> = operators(case).await?.iter().map(ResourceExt::name_any).collect();
    for pod in &old {
        pods.delete(pod, &DeleteParams::default()).await?;
    }
    eventually("another operator runs", SOON, async || {
        let now = operators(case).await?;
        let gone = !now.iter().any(|pod| old.contains(&pod.name_any()));
        Ok((gone && now.iter().any(is_ready)).then_some(()))
    })
    .await
}
