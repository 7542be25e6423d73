//! The Helm chart over its life, with a pipeline in the cluster.

use super::{RELEASE, chart, helm, version};
use crate::tools::{in_checkout, output, output_of};
use crate::world::{Case, OPERATOR, OPERATOR_NAMESPACE, SOON, with_pipeline};
use ::e2e::eventually::eventually;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The chart before this one, as `helm package` made it then. Its own operator is not at hand: what is upgraded are its
/// objects and its definition.
const PREVIOUS: &str = "tests/e2e/fixtures/syncpipeline-0.1.0.tgz";
const PREVIOUS_VERSION: &str = "0.1.0";
const DEFINITION: &str = "syncpipelines.syncpipeline.dev";

#[tokio::test]
async fn pipelines_outlive_an_upgrade_and_an_uninstall_of_the_operator() {
    with_pipeline("chart", |_| {}, live_through_it).await;
}

async fn live_through_it(case: &Case) -> Result<()> {
    let release = Release::installed().await?;
    let pods = pods(case).await?;
    let generation = operator_generation(case).await?;
    release
        .helm(&["upgrade", RELEASE, &chart()?, "--reuse-values", "--set", "log=debug"])
        .await?;
    assert_ne!(
        operator_generation(case).await?,
        generation,
        "the operator has the new value"
    );
    case.ready().await?;
    unchanged(case, &pods, "an upgrade that changes nothing for pipelines").await?;

    let uninstalled = release.helm(&["uninstall", RELEASE]).await;
    let without = without_operator(case, &pods).await;
    let upgraded = from_the_previous_chart(case, &release, &pods).await;
    // Whatever happened, the tests after this one need the operator.
    let installed = release
        .helm(&[
            "upgrade",
            "--install",
            RELEASE,
            &chart()?,
            "--values",
            release.values_file()?,
            "--set",
            "log=info",
        ])
        .await;
    uninstalled?;
    without?;
    upgraded?;
    installed?;
    case.ready().await?;
    unchanged(case, &pods, "all of it").await?;
    permitted().await
}

/// The release as it was installed, to install it again.
struct Release {
    values: Value,
    file: PathBuf,
}

impl Release {
    async fn installed() -> Result<Release> {
        let values = helm(&["get", "values", RELEASE, "--output", "json"]).await?;
        let file = std::env::temp_dir().join(format!("syncpipeline-chart-{}.json", std::process::id()));
        std::fs::write(&file, &values)?;
        Ok(Release {
            values: serde_json::from_str(&values).context("read the values of the release")?,
            file,
        })
    }

    fn values_file(&self) -> Result<&str> {
        self.file.to_str().context("the temporary folder's path is no text")
    }

    /// The operator's image that the release was installed with.
    fn image(&self) -> Result<&str> {
        self.values["images"]["operator"]
            .as_str()
            .context("the release names no image of the operator")
    }

    /// Runs helm, and waits until what it does is done.
    async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut all = arguments.to_vec();
        all.extend(["--wait", "--timeout", "3m"]);
        helm(&all).await
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        // It lies in the temporary folder and holds no secret.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Installs the previous chart, upgrades it to this one, and finds the definition and the operator to be this one's.
async fn from_the_previous_chart(case: &Case, release: &Release, pods: &[String]) -> Result<()> {
    let previous = in_checkout(PREVIOUS);
    let previous = previous.to_str().context("the checkout's path is no text")?;
    // Only what that chart knows, and an image that is nowhere: this operator is not made for its role and definition.
    let mut values = json!({"images": release.values["images"]});
    values["images"]["operator"] = json!("localhost/syncpipeline/operator:previous");
    let install = [
        "--namespace",
        OPERATOR_NAMESPACE,
        "install",
        RELEASE,
        previous,
        "--values",
        "-",
    ];
    output_of("helm", &install, &values.to_string()).await?;
    ensure!(
        chart_of_definition(case).await? == format!("syncpipeline-{PREVIOUS_VERSION}"),
        "the definition is not the previous chart's"
    );
    unchanged(case, pods, "the previous chart").await?;

    let image = format!("images.operator={}", release.image()?);
    release
        .helm(&[
            "upgrade",
            RELEASE,
            &chart()?,
            "--reset-then-reuse-values",
            "--set-string",
            &image,
        ])
        .await?;
    ensure!(
        chart_of_definition(case).await? == format!("syncpipeline-{}", version()?),
        "the upgrade left the definition as it was"
    );
    case.ready().await?;
    unchanged(case, pods, "an upgrade from the previous chart").await
}

async fn chart_of_definition(case: &Case) -> Result<String> {
    let definitions: Api<CustomResourceDefinition> = Api::all(case.cluster.client());
    let definition = definitions
        .get(DEFINITION)
        .await
        .context("the definition is not there")?;
    let chart = definition.labels().get("helm.sh/chart");
    Ok(chart.context("the definition is of no chart")?.clone())
}

async fn operator_generation(case: &Case) -> Result<Option<i64>> {
    let deployments = case.cluster.api::<Deployment>(OPERATOR_NAMESPACE);
    let found = deployments.list(&ListParams::default().labels(OPERATOR)).await?;
    let operator = found.iter().next().context("there is no operator")?;
    Ok(operator.metadata.generation)
}

/// Names of the pipeline's pods.
async fn pods(case: &Case) -> Result<Vec<String>> {
    let api = case.cluster.api::<Pod>(&case.names.namespace);
    let found = api.list(&ListParams::default()).await?;
    let mut pods: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
    pods.sort();
    Ok(pods)
}

async fn unchanged(case: &Case, before: &[String], through: &str) -> Result<()> {
    let now = pods(case).await?;
    ensure!(
        now == before,
        "pods of the pipeline changed through {through}: {before:?}, now {now:?}"
    );
    Ok(())
}

async fn without_operator(case: &Case, pods: &[String]) -> Result<()> {
    let deployments = case.cluster.api::<Deployment>(OPERATOR_NAMESPACE);
    let operators = ListParams::default().labels(OPERATOR);
    eventually("the operator is gone", SOON, async || {
        Ok(deployments.list(&operators).await?.items.is_empty().then_some(()))
    })
    .await?;
    let definitions: Api<CustomResourceDefinition> = Api::all(case.cluster.client());
    definitions
        .get(DEFINITION)
        .await
        .context("the definition went with the operator")?;
    case.status().await.context("the pipeline went with the operator")?;
    unchanged(case, pods, "the uninstall").await
}

/// The operator was refused nothing.
async fn permitted() -> Result<()> {
    let arguments = [
        "--namespace",
        OPERATOR_NAMESPACE,
        "logs",
        "--tail=-1",
        "--selector",
        OPERATOR,
    ];
    let log = output("kubectl", &arguments).await?;
    ensure!(!log.is_empty(), "the operator has no log");
    let refused: Vec<&str> = log
        .lines()
        .filter(|line| line.to_lowercase().contains("forbidden"))
        .collect();
    ensure!(refused.is_empty(), "the operator's role is too small: {refused:#?}");
    Ok(())
}
