//! What users do by hand is respected, and said.

use crate::tools::output;
use crate::world::{SOON, with_pipeline};
use ::e2e::eventually::eventually;
use ::e2e::pipeline::condition;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::DeleteParams;
use std::time::Duration;

/// Long enough for a pass and several readings of the lag.
const A_WHILE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn replicas_set_with_kubectl_are_kept_within_the_most_and_the_status_says_who() {
    with_pipeline(
        "hands",
        |_| {},
        async |case| {
            let names = &case.names;
            let sms = names.deployment("sms");
            let deployments = case.cluster.api::<Deployment>(&names.namespace);
            let replicas = async || -> Result<i32> { Ok(deployments.get(&sms).await?.spec.replicas.unwrap_or(1)) };
            let scale = async |count: &str| {
                let target = format!("deployment/{sms}");
                let count = format!("--replicas={count}");
                output("kubectl", &["scale", &target, &count, "--namespace", &names.namespace]).await
            };
            scale("2").await?;
            eventually("the status says who", SOON, async || {
                let status = case.status().await?;
                let sms = status.components.iter().find(|component| component.name == "sms");
                let message = &sms.context("no component sms")?.message;
                ensure!(message.contains("somebody has set the replicas"), "{message}");
                Ok(Some(()))
            })
            .await?;
            // Without the rule the lag of zero would have taken the second reader away after the cooldown.
            tokio::time::sleep(A_WHILE + Duration::from_secs(5)).await;
            assert_eq!(replicas().await?, 2);

            scale("9").await?;
            eventually("the most is kept", SOON, async || {
                let now = replicas().await?;
                ensure!(now == 4, "{now} replicas");
                Ok(Some(()))
            })
            .await
        },
    )
    .await;
}

#[tokio::test]
async fn a_producer_that_was_scaled_to_nothing_starts_again() {
    with_pipeline(
        "nothing",
        |_| {},
        async |case| {
            let names = &case.names;
            let producer = names.deployment("producer");
            let target = format!("deployment/{producer}");
            let arguments = ["scale", &target, "--replicas=0", "--namespace", &names.namespace];
            output("kubectl", &arguments).await?;
            let deployments = case.cluster.api::<Deployment>(&names.namespace);
            // Its autoscaler leaves a Deployment without replicas alone.
            eventually("the producer has its least replicas", SOON, async || {
                let now = deployments.get(&producer).await?.spec.replicas;
                ensure!(now == Some(1), "{now:?} replicas");
                Ok(Some(()))
            })
            .await
        },
    )
    .await;
}

#[tokio::test]
async fn a_paused_pipeline_is_left_alone_and_its_status_goes_on() {
    with_pipeline(
        "paused",
        |_| {},
        async |case| {
            let names = &case.names;
            let annotate = async |value: &str| {
                let annotation = format!("syncpipeline.dev/paused{value}");
                let arguments = [
                    "annotate",
                    "sp",
                    &names.pipeline,
                    "--namespace",
                    &names.namespace,
                    &annotation,
                ];
                output("kubectl", &arguments).await
            };
            annotate("=true").await?;
            eventually("it is paused", SOON, async || {
                let status = case.status().await?;
                let (state, _, _) = condition(&status, "Paused").context("no condition Paused")?;
                Ok((state == "True").then_some(()))
            })
            .await?;
            let producer = names.deployment("producer");
            let deployments = case.cluster.api::<Deployment>(&names.namespace);
            deployments.delete(&producer, &DeleteParams::default()).await?;
            eventually("the status tells what is missing", SOON, async || {
                let status = case.status().await?;
                let (state, _, message) = condition(&status, "WorkloadsAvailable").context("no condition")?;
                ensure!(state == "False" && message.contains("producer"), "{state}: {message}");
                Ok(Some(()))
            })
            .await?;
            tokio::time::sleep(A_WHILE).await;
            assert!(deployments.get_opt(&producer).await?.is_none(), "it was made anew");

            annotate("-").await?;
            case.ready().await
        },
    )
    .await;
}
