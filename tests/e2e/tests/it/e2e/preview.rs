//! `operator plan --diff` says what would change, and changes nothing.

use crate::world::{Case, with_pipeline};
use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use operator::api::SyncPipeline;
use std::collections::BTreeMap;
use tokio::process::Command;

/// Names the operator's own binary.
const BINARY: &str = "SYNCPIPELINE_OPERATOR";
const OPERATOR_NAMESPACE: &str = "syncpipeline-system";
const OPERATOR: &str = "app.kubernetes.io/component=operator";

#[tokio::test]
async fn a_plan_is_compared_with_the_cluster() {
    with_pipeline(
        "preview",
        |_| {},
        async |case| {
            let (code, same) = difference(case, &case.pipeline).await?;
            assert_eq!((code, same.as_str()), (Some(0), ""), "nothing was changed");

            let mut changed = case.pipeline.clone();
            changed.spec.consumers[0].batch.max_records = 77;
            changed.spec.topics = vec![serde_json::from_value(
                serde_json::json!({"name": "sms_batched", "partitions": 20}),
            )?];
            let (code, text) = difference(case, &changed).await?;
            assert_eq!(code, Some(1), "{text}");
            for line in [
                "topic preview.sms_batched: 16 partitions → 20",
                "--- cluster/Deployment/preview-sms",
                "-          value: '5000'",
                "+          value: '77'",
            ] {
                assert!(
                    text.lines().any(|found| found.trim_end() == line),
                    "{text}\nhas no line {line:?}"
                );
            }
            assert!(!text.contains("preview-events"), "{text}");

            let mut new = case.pipeline.clone();
            new.metadata.name = Some("another".to_owned());
            let (code, text) = difference(case, &new).await?;
            assert_eq!(code, Some(1));
            assert!(
                text.contains("--- /dev/null\n+++ plan/Deployment/another-sms"),
                "{text}"
            );

            let (code, text) = difference(case, &case.pipeline).await?;
            assert_eq!((code, text.as_str()), (Some(0), ""), "a preview changed something");
            Ok(())
        },
    )
    .await;
}

/// Exit code and output of the operator's binary, with the settings of the operator in the cluster.
async fn difference(case: &Case, pipeline: &SyncPipeline) -> Result<(Option<i32>, String)> {
    let operators = case.cluster.api::<Deployment>(OPERATOR_NAMESPACE);
    let operators = operators.list(&ListParams::default().labels(OPERATOR)).await?;
    let operator = operators.items.first().context("no operator")?;
    let pod = operator.spec.template.spec.as_ref().context("no pod")?;
    let settings: BTreeMap<&str, &str> = pod
        .containers
        .iter()
        .flat_map(|container| container.env.iter().flatten())
        .filter_map(|variable| Some((variable.name.as_str(), variable.value.as_deref()?)))
        .collect();
    let file = std::env::temp_dir().join(format!("syncpipeline-preview-{}.json", std::process::id()));
    // JSON is YAML.
    std::fs::write(&file, serde_json::to_string(pipeline)?)?;
    let binary = std::env::var_os(BINARY).with_context(|| format!("{BINARY} is not set"))?;
    let output = Command::new(binary)
        .arg("plan")
        .arg(&file)
        .arg("--diff")
        .envs(settings)
        .output()
        .await;
    std::fs::remove_file(&file)?;
    let output = output?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), String::from_utf8(output.stdout)? + &complaint))
}
