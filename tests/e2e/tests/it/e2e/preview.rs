//! `operator plan --diff` says what would change, and changes nothing.

use crate::tools::{operator_binary, output_of};
use crate::world::{Case, OPERATOR, OPERATOR_NAMESPACE, with_case, with_pipeline};
use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::ListParams;
use operator::api::SyncPipeline;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::process::Command;

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
                json!({"name": "sms_batched", "partitions": 20}),
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

/// APIs that every Kubernetes since 1.23 has.
const APIS: [&str; 5] = [
    "apiVersion: apps/v1",
    "apiVersion: autoscaling/v2",
    "apiVersion: networking.k8s.io/v1",
    "apiVersion: policy/v1",
    "apiVersion: v1",
];

#[tokio::test]
async fn every_object_of_a_plan_is_accepted_by_the_api_server_with_strict_validation() {
    with_case("strict", every_setting, async |case| {
        let (code, manifests) = plan(case, &case.pipeline, &[]).await?;
        assert_eq!(code, Some(0), "{manifests}");
        let apis: BTreeSet<&str> = manifests
            .lines()
            .filter(|line| line.starts_with("apiVersion:"))
            .collect();
        assert_eq!(apis.into_iter().collect::<Vec<_>>(), APIS);
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "--filename=-"];
        let accepted = output_of("kubectl", &arguments, &manifests).await?;
        // Six components: an account, a Deployment, a budget and a policy each; three APIs, and one way in.
        assert_eq!(accepted.lines().count(), 6 * 4 + 3 * 2 + 1, "{accepted}");
        Ok(())
    })
    .await;
}

/// As many settings as one pipeline can have.
fn every_setting(pipeline: &mut SyncPipeline) {
    let component = json!({
        "image": "registry.example.com/vendor:1", "port": 3000, "probes": {"type": "Tcp", "startupSeconds": 5},
        "replicas": {"min": 1, "max": 3},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "env": [
            {"name": "A", "value": "x"},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        "pod": {
            "labels": {"team": "a"}, "annotations": {"note": "b"}, "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}], "topologySpread": "Required",
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "arch", "operator": "In", "values": ["amd64"]}]},
            ]}}},
            "securityContext": {"runAsNonRoot": false, "readOnlyRootFilesystem": false, "capabilities": ["NET_BIND_SERVICE"]},
        },
    });
    let with = |extra: Value| {
        let mut whole = component.clone();
        whole
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        whole
    };
    let service = json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/nlb", "annotations": {"a": "b"}});
    let spec = &mut pipeline.spec;
    spec.producers = vec![
        serde_json::from_value(with(json!({
            "name": "producer", "service": service,
            "ingress": {"host": "*.example.com", "path": "/sync", "className": "nginx", "annotations": {"a": "b"},
                "tlsSecretRef": {"name": "certificate"}},
        })))
        .unwrap(),
    ];
    let consumers =
        ["sms", "events", "common"].map(|name| serde_json::from_value(with(json!({"name": name}))).unwrap());
    spec.consumers = consumers.to_vec();
    let api = with(json!({"service": service}));
    spec.insights = serde_json::from_value(json!({"api": api, "smsExtraction": api})).unwrap();
    spec.image_pull_secrets = serde_json::from_value(json!([{"name": "registry"}])).unwrap();
    spec.image_pull_policy = serde_json::from_value(json!("IfNotPresent")).unwrap();
    spec.network_policy =
        serde_json::from_value(json!({"egressCIDRs": ["10.0.0.0/8", "fd00::/8"], "egressPorts": [9093]})).unwrap();
    spec.service_account =
        serde_json::from_value(json!({"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}}))
            .unwrap();
}

/// Exit code and output of the difference to the cluster, with the settings of the operator in it.
async fn difference(case: &Case, pipeline: &SyncPipeline) -> Result<(Option<i32>, String)> {
    plan(case, pipeline, &["--diff"]).await
}

async fn plan(case: &Case, pipeline: &SyncPipeline, arguments: &[&str]) -> Result<(Option<i32>, String)> {
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
    let output = Command::new(operator_binary()?)
        .arg("plan")
        .arg(&file)
        .args(arguments)
        .envs(settings)
        .output()
        .await;
    std::fs::remove_file(&file)?;
    let output = output?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.code(), String::from_utf8(output.stdout)? + &complaint))
}
