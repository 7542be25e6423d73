//! The Helm chart: what it renders, what it refuses, and its life in a cluster.

mod life;
mod rendered;

use crate::tools::{in_checkout, output, output_of};
use crate::world::OPERATOR_NAMESPACE;
use anyhow::{Context, Result};
use serde::Deserialize as _;
use serde_json::Value;

const RELEASE: &str = "syncpipeline";
/// The oldest Kubernetes whose APIs are all that is used.
const OLDEST_KUBERNETES: &str = "1.30.0";

fn chart() -> Result<String> {
    let path = in_checkout("charts/syncpipeline");
    Ok(path.to_str().context("the checkout's path is no text")?.to_owned())
}

/// A file of the chart.
fn file(path: &str) -> Result<String> {
    let path = in_checkout("charts/syncpipeline").join(path);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// The chart's own version.
fn version() -> Result<String> {
    let about: Value = serde_yaml::from_str(&file("Chart.yaml")?)?;
    Ok(about["version"]
        .as_str()
        .context("the chart has no version")?
        .to_owned())
}

async fn helm(arguments: &[&str]) -> Result<String> {
    let mut all = vec!["--namespace", OPERATOR_NAMESPACE];
    all.extend(arguments);
    output("helm", &all).await
}

/// What `helm template` makes of values.
async fn template(values: &Value) -> Result<Vec<Value>> {
    let chart = chart()?;
    let arguments = [
        "--namespace",
        OPERATOR_NAMESPACE,
        "template",
        RELEASE,
        &chart,
        "--kube-version",
        OLDEST_KUBERNETES,
        "--values",
        "-",
    ];
    let text = output_of("helm", &arguments, &values.to_string()).await?;
    let mut objects = vec![];
    for document in serde_yaml::Deserializer::from_str(&text) {
        let object = Value::deserialize(document).context("read what helm rendered")?;
        // A template of which nothing is left.
        if !object.is_null() {
            objects.push(object);
        }
    }
    Ok(objects)
}
