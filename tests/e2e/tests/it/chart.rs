//! The Helm chart over its life, with a pipeline in the cluster.

use crate::tools::{in_checkout, output};
use crate::world::with_pipeline;
use ::e2e::eventually::eventually;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use std::time::Duration;

const RELEASE: &str = "syncpipeline";
const NAMESPACE: &str = "syncpipeline-system";
const SOON: Duration = Duration::from_secs(60);

fn chart() -> Result<String> {
    let path = in_checkout("charts/syncpipeline");
    Ok(path.to_str().context("the checkout's path is no text")?.to_owned())
}

async fn helm(arguments: &[&str]) -> Result<String> {
    let mut all = vec!["--namespace", NAMESPACE];
    all.extend(arguments);
    output("helm", &all).await
}

#[tokio::test]
async fn the_chart_has_no_flaw_that_helm_knows_of() {
    let text = output("helm", &["lint", "--strict", &chart().unwrap()]).await.unwrap();
    assert!(text.contains("1 chart(s) linted, 0 chart(s) failed"), "{text}");
}

#[tokio::test]
async fn pipelines_outlive_an_upgrade_and_an_uninstall_of_the_operator() {
    with_pipeline(
        "chart",
        |_| {},
        async |case| {
            let chart = chart()?;
            let deployments = case.cluster.api::<Deployment>(NAMESPACE);
            let operators = ListParams::default().labels("app.kubernetes.io/component=operator");
            let found = deployments.list(&operators).await?;
            let operator = found.iter().next().context("there is no operator")?.name_any();
            let generation = async || Ok::<_, anyhow::Error>(deployments.get(&operator).await?.metadata.generation);
            let pods = async || -> Result<Vec<String>> {
                let found = case
                    .cluster
                    .api::<Pod>(&case.names.namespace)
                    .list(&ListParams::default())
                    .await?;
                let mut pods: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
                pods.sort();
                Ok(pods)
            };
            let before = (generation().await?, pods().await?);
            helm(&[
                "upgrade",
                RELEASE,
                &chart,
                "--reuse-values",
                "--set",
                "log=debug",
                "--wait",
                "--timeout",
                "3m",
            ])
            .await?;
            assert_ne!(generation().await?, before.0, "the operator has the new value");
            case.ready().await?;
            assert_eq!(
                pods().await?,
                before.1,
                "an upgrade that changes nothing for pipelines restarts none of their pods"
            );

            let values = helm(&["get", "values", RELEASE, "--output", "yaml"]).await?;
            let file = std::env::temp_dir().join(format!("syncpipeline-chart-{}.yaml", std::process::id()));
            std::fs::write(&file, values)?;
            let uninstalled = helm(&["uninstall", RELEASE, "--wait", "--timeout", "3m"]).await;
            let without = without_operator(case, &operators, &deployments, &before.1, pods).await;
            // Whatever happened, the tests after this one need the operator.
            let values = file.to_str().context("the temporary folder's path is no text")?;
            let arguments = [
                "upgrade",
                "--install",
                RELEASE,
                &chart,
                "--values",
                values,
                "--set",
                "log=info",
                "--wait",
                "--timeout",
                "3m",
            ];
            let installed = helm(&arguments).await;
            std::fs::remove_file(&file)?;
            uninstalled?;
            without?;
            installed?;
            case.ready().await?;
            assert_eq!(pods().await?, before.1, "the pipeline ran on through all of it");
            Ok(())
        },
    )
    .await;
}

async fn without_operator(
    case: &crate::world::Case,
    operators: &ListParams,
    deployments: &Api<Deployment>,
    before: &[String],
    pods: impl AsyncFn() -> Result<Vec<String>>,
) -> Result<()> {
    eventually("the operator is gone", SOON, async || {
        Ok(deployments.list(operators).await?.items.is_empty().then_some(()))
    })
    .await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(case.cluster.client());
    definitions
        .get("syncpipelines.syncpipeline.dev")
        .await
        .context("the definition went with the operator")?;
    case.status().await.context("the pipeline went with the operator")?;
    ensure!(
        pods().await? == before,
        "pods of the pipeline changed without the operator"
    );
    Ok(())
}
