//! What the chart renders for which values, and which it refuses.

use super::{RELEASE, chart, file, template};
use crate::tools::{kubectl_apply, output_of};
use crate::world::OPERATOR_NAMESPACE;
use ::e2e::cluster::Cluster;
use ::e2e::eventually::eventually;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Enables all that is off by default.
fn everything() -> Value {
    json!({
        "replicaCount": 2,
        "commonLabels": {"team": "data"},
        "commonAnnotations": {"example.com/owner": "data"},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "metrics": {
            "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}, "interval": "30s"},
            "podMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": true, "labels": {"release": "prometheus"}},
            "dashboard": {"enabled": true},
        },
        "networkPolicy": {"enabled": true, "metricsFrom": [{"namespaceSelector": {}}]},
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-object"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-text}",
        ],
    })
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `Kind name` of all objects.
fn names(objects: &[Value]) -> BTreeSet<String> {
    let name = |object: &Value| format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"));
    objects.iter().map(name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| text(object, "/kind") == kind).collect()
}

fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(objects, kind);
    assert_eq!(found.len(), 1, "{kind}: {found:?}");
    found[0]
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Rules of the operator itself, wherever they are granted.
fn rules(objects: &[Value]) -> Vec<&Value> {
    let own = objects
        .iter()
        .filter(|object| ["ClusterRole", "Role"].contains(&text(object, "/kind")));
    own.filter(|object| !text(object, "/metadata/name").ends_with("-view"))
        .filter(|object| !text(object, "/metadata/name").ends_with("-edit"))
        .flat_map(|object| object["rules"].as_array().into_iter().flatten())
        .collect()
}

#[tokio::test]
async fn helm_knows_of_no_flaw() {
    let chart = chart().unwrap();
    for values in [json!({}), everything()] {
        let arguments = ["lint", "--strict", &chart, "--values", "-"];
        let text = output_of("helm", &arguments, &values.to_string()).await.unwrap();
        assert!(text.contains("1 chart(s) linted, 0 chart(s) failed"), "{text}");
    }
}

#[tokio::test]
async fn by_default_nothing_needs_what_others_define() {
    let objects = template(&json!({})).await.unwrap();
    let expected = [
        "ClusterRole syncpipeline",
        "ClusterRole syncpipeline-edit",
        "ClusterRole syncpipeline-view",
        "ClusterRoleBinding syncpipeline",
        "CustomResourceDefinition syncpipelines.syncpipeline.dev",
        "Deployment syncpipeline",
        "Role syncpipeline-leader-election",
        "RoleBinding syncpipeline-leader-election",
        "Service syncpipeline-metrics",
        "ServiceAccount syncpipeline",
    ];
    assert_eq!(names(&objects), set(&expected));
    let keep = "/metadata/annotations/helm.sh~1resource-policy";
    assert_eq!(text(one(&objects, "CustomResourceDefinition"), keep), "keep");
}

#[tokio::test]
async fn everything_can_be_enabled() {
    let objects = template(&everything()).await.unwrap();
    let more = [
        "ConfigMap syncpipeline-dashboard",
        "ConfigMap syncpipeline-object",
        "ConfigMap syncpipeline-text",
        "NetworkPolicy syncpipeline",
        "PodDisruptionBudget syncpipeline",
        "PodMonitor syncpipeline-workloads",
        "PrometheusRule syncpipeline",
        "ServiceMonitor syncpipeline",
    ];
    let plain = names(&template(&json!({})).await.unwrap());
    let added: BTreeSet<String> = names(&objects).difference(&plain).cloned().collect();
    assert_eq!(added, set(&more));

    let deployment = one(&objects, "Deployment");
    assert_eq!(deployment["spec"]["replicas"], 2);
    for object in objects
        .iter()
        .filter(|object| !text(object, "/metadata/name").ends_with("-object"))
    {
        if text(object, "/metadata/name").ends_with("-text") {
            continue;
        }
        let name = text(object, "/metadata/name");
        assert_eq!(text(object, "/metadata/labels/team"), "data", "{name}");
        assert_eq!(
            text(object, "/metadata/annotations/example.com~1owner"),
            "data",
            "{name}"
        );
    }
    let environment = deployment.pointer("/spec/template/spec/containers/0/env").unwrap();
    assert!(
        environment
            .as_array()
            .unwrap()
            .contains(&json!({"name": "HTTPS_PROXY", "value": "http://proxy:3128"})),
        "{environment}"
    );
    for kind in ["ServiceMonitor", "PodMonitor", "PrometheusRule"] {
        assert_eq!(
            text(one(&objects, kind), "/metadata/labels/release"),
            "prometheus",
            "{kind}"
        );
    }
}

#[tokio::test]
async fn alerts_and_dashboard_are_those_that_are_tested() {
    let objects = template(&everything()).await.unwrap();
    let tested: Value = serde_yaml::from_str(&file("files/alerts.yaml").unwrap()).unwrap();
    assert_eq!(one(&objects, "PrometheusRule")["spec"]["groups"], tested["groups"]);
    let shown = of_kind(&objects, "ConfigMap")
        .into_iter()
        .find_map(|object| object["data"]["syncpipeline.json"].as_str())
        .unwrap();
    assert_eq!(shown.trim(), file("files/dashboard.json").unwrap().trim());
}

#[tokio::test]
async fn alerts_can_be_changed_and_left_out() {
    let objects = template(&json!({"metrics": {"prometheusRule": {
        "enabled": true,
        "disabled": ["SyncPipelineNotReady"],
        "overrides": {"SyncPipelineLagHigh": {"for": "1h", "labels": {"severity": "critical", "team": "data"}}},
    }}}))
    .await
    .unwrap();
    let rules = one(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"].clone();
    let rules = rules.as_array().unwrap();
    let find = |name: &str| rules.iter().find(|rule| rule["alert"] == name);
    assert_eq!(find("SyncPipelineNotReady"), None);
    let changed = find("SyncPipelineLagHigh").unwrap();
    assert_eq!(changed["for"], "1h");
    assert_eq!(changed["labels"], json!({"severity": "critical", "team": "data"}));
    assert!(
        text(changed, "/expr").contains("syncpipeline_topic_lag_messages"),
        "the rest stays"
    );
    assert_eq!(
        find("SyncPipelineScalingStuck").unwrap()["for"],
        "15m",
        "other alerts stay"
    );
}

#[tokio::test]
async fn with_listed_namespaces_nothing_is_granted_cluster_wide() {
    let everywhere = template(&json!({})).await.unwrap();
    let listed = template(&json!({"watchNamespaces": ["shop", "bank"]})).await.unwrap();
    assert_eq!(of_kind(&listed, "ClusterRole"), Vec::<&Value>::new());
    assert_eq!(of_kind(&listed, "ClusterRoleBinding"), Vec::<&Value>::new());
    let rules = &of_kind(&everywhere, "ClusterRole")
        .into_iter()
        .find(|role| text(role, "/metadata/name") == "syncpipeline")
        .unwrap()["rules"];
    for namespace in ["shop", "bank"] {
        let there = |kind: &str| {
            let found = of_kind(&listed, kind);
            let mut found = found
                .into_iter()
                .filter(|object| text(object, "/metadata/namespace") == namespace);
            found.next().unwrap().clone()
        };
        assert_eq!(&there("Role")["rules"], rules, "the same as everywhere, in {namespace}");
        let subject = json!([{"kind": "ServiceAccount", "name": "syncpipeline", "namespace": OPERATOR_NAMESPACE}]);
        assert_eq!(there("RoleBinding")["subjects"], subject);
    }
    let watched = |objects: &[Value]| variable(objects, "SYNCPIPELINE_WATCH_NAMESPACES");
    assert_eq!(watched(&listed).as_deref(), Some("shop,bank"));
    assert_eq!(watched(&everywhere), None);
    let monitored = template(&json!({
        "watchNamespaces": ["shop", "bank"], "metrics": {"podMonitor": {"enabled": true}}
    }))
    .await
    .unwrap();
    let selector = &one(&monitored, "PodMonitor")["spec"]["namespaceSelector"];
    assert_eq!(selector, &json!({"matchNames": ["shop", "bank"]}));
}

#[tokio::test]
async fn the_operator_knows_where_prometheus_is() {
    let name = "SYNCPIPELINE_MONITORING_NAMESPACE";
    let objects = template(&json!({})).await.unwrap();
    assert_eq!(variable(&objects, name).as_deref(), Some("monitoring"));
    let objects = template(&json!({"metrics": {"namespace": "observed"}})).await.unwrap();
    assert_eq!(variable(&objects, name).as_deref(), Some("observed"));
}

/// The value of a variable of the operator.
fn variable(objects: &[Value], name: &str) -> Option<String> {
    let environment = one(objects, "Deployment").pointer("/spec/template/spec/containers/0/env");
    let environment = environment.and_then(Value::as_array)?;
    let found = environment.iter().find(|variable| variable["name"] == name)?;
    Some(text(found, "/value").to_owned())
}

#[tokio::test]
async fn the_operator_may_do_no_more_than_it_does() {
    let objects = template(&json!({})).await.unwrap();
    let rules = rules(&objects);
    assert!(rules.len() > 10, "{rules:?}");
    for rule in rules {
        for part in ["apiGroups", "resources", "verbs"] {
            assert!(!strings(&rule[part]).contains(&"*"), "{rule}");
        }
        let verbs = strings(&rule["verbs"]);
        for resource in strings(&rule["resources"]) {
            match resource {
                "secrets" => assert_eq!(verbs, ["get", "list", "watch"]),
                "leases" if verbs != ["create"] => assert_eq!(strings(&rule["resourceNames"]), [RELEASE]),
                "roles" | "clusterroles" | "rolebindings" | "clusterrolebindings" | "pods/exec" => {
                    panic!("it could take what it was not given: {rule}")
                }
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn several_operators_are_spread_and_not_evicted_together() {
    let single = template(&json!({})).await.unwrap();
    assert_eq!(of_kind(&single, "PodDisruptionBudget"), Vec::<&Value>::new());
    let spread = "/spec/template/spec/topologySpreadConstraints";
    assert_eq!(one(&single, "Deployment").pointer(spread), None);

    let several = template(&json!({"replicaCount": 2})).await.unwrap();
    let budget = one(&several, "PodDisruptionBudget");
    let deployment = one(&several, "Deployment");
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert_eq!(budget["spec"]["selector"], deployment["spec"]["selector"]);
    let constraints = deployment.pointer(spread).and_then(Value::as_array).unwrap();
    assert_eq!(constraints[0]["labelSelector"], deployment["spec"]["selector"]);

    let own = json!([{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]);
    let told = template(&json!({"replicaCount": 2, "topologySpreadConstraints": own}))
        .await
        .unwrap();
    assert_eq!(one(&told, "Deployment").pointer(spread), Some(&own));
}

#[tokio::test]
async fn values_that_the_chart_does_not_know_are_refused() {
    for (values, complaint) in [
        (json!({"replicas": 2}), "additional properties 'replicas' not allowed"),
        (
            json!({"images": {"tags": "x"}}),
            "additional properties 'tags' not allowed",
        ),
        (
            json!({"crds": {"upgrade": true}}),
            "additional properties 'upgrade' not allowed",
        ),
        (
            json!({"resources": {"request": {}}}),
            "additional properties 'request' not allowed",
        ),
        (
            json!({"metrics": {"podMonitor": {"enable": true}}}),
            "additional properties 'enable' not allowed",
        ),
        (
            json!({"networkPolicy": {"egress": []}}),
            "additional properties 'egress' not allowed",
        ),
        (json!({"extraEnv": [{"nam": "x"}]}), "missing property 'name'"),
        (json!({"replicaCount": "two"}), "got string, want integer"),
        (json!({"watchNamespaces": ["Not_A_Name"]}), "does not match pattern"),
        (
            json!({"metrics": {"prometheusRule": {"disabled": ["LagHigh"]}}}),
            "value must be one of",
        ),
        (
            json!({"metrics": {"prometheusRule": {"overrides": {"LagHigh": {}}}}}),
            "invalid propertyName 'LagHigh'",
        ),
        (
            json!({"metrics": {"service": {"enabled": false}, "serviceMonitor": {"enabled": true}}}),
            "metrics.serviceMonitor needs metrics.service.enabled",
        ),
        (
            json!({"serviceAccount": {"create": false}}),
            "serviceAccount.name is needed when serviceAccount.create is false",
        ),
    ] {
        let error = template(&values).await.unwrap_err().to_string();
        assert!(error.contains(complaint), "{values}: {error}");
    }
}

#[tokio::test]
async fn the_api_server_knows_every_field() {
    let mut values = everything();
    // Other names than those of the operator that runs here, in namespaces that every cluster has.
    values["fullnameOverride"] = json!("strict");
    for namespaces in [json!([]), json!(["default", "kube-public"])] {
        values["watchNamespaces"] = namespaces;
        let objects = template(&values).await.unwrap();
        let native: Vec<Value> = objects
            .into_iter()
            .filter(|object| !text(object, "/apiVersion").starts_with("monitoring.coreos.com/"))
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": native});
        let arguments = [
            "apply",
            "--dry-run=server",
            "--validate=strict",
            "--server-side",
            "--force-conflicts",
            "--field-manager=chart-test",
            "--filename=-",
        ];
        let told = output_of("kubectl", &arguments, &list.to_string()).await.unwrap();
        assert_eq!(told.lines().count(), native.len(), "{told}");
    }
}

#[tokio::test]
async fn the_operators_pods_meet_the_restricted_standard() {
    let kubeconfig = std::env::var_os("KUBECONFIG");
    let cluster = Cluster::connect(kubeconfig.as_ref().map(AsRef::as_ref)).await.unwrap();
    let namespace = "e2e-restricted";
    let outcome = judge(namespace).await;
    cluster
        .delete_namespace(namespace, Duration::from_secs(60))
        .await
        .unwrap();
    outcome.unwrap();
}

async fn judge(namespace: &str) -> Result<()> {
    let enforce = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    kubectl_apply(&json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": enforce}
    }))
    .await?;
    let objects = template(&json!({})).await?;
    let mut spec = one(&objects, "Deployment")["spec"]["template"]["spec"].clone();
    spec.as_object_mut()
        .context("the pods have no spec")?
        .remove("serviceAccountName");
    let pod = |spec: &Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": spec});
    let create = async |pod: Value| {
        let arguments = ["create", "--dry-run=server", "--namespace", namespace, "--filename=-"];
        output_of("kubectl", &arguments, &pod.to_string()).await
    };
    // A new namespace has its ServiceAccount in a moment.
    eventually("the API server takes the pod", Duration::from_secs(30), async || {
        create(pod(&spec)).await.map(Some)
    })
    .await?;
    spec["containers"][0]["securityContext"] = json!({});
    let refused = create(pod(&spec))
        .await
        .err()
        .context("a pod that may do more is taken")?;
    assert!(format!("{refused:#}").contains("violates PodSecurity"), "{refused:#}");
    Ok(())
}
