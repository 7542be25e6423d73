//! The chart's alerts and dashboard ask for nothing that nobody exports.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its own functions too")]

mod promql;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use contract::metric::{self, Kind, Metric};
use serde_json::Value;

use crate::promql::{Names, names};

/// Labels that Prometheus and the PodMonitor give to what the workloads export.
const OF_PODS: [&str; 4] = ["namespace", "pipeline", "component", "pod"];

fn chart(file: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../charts/syncpipeline")
        .join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(file: &str) -> Value {
    serde_yaml::from_str(&chart(file)).unwrap()
}

fn alerts() -> Vec<Value> {
    let groups = yaml("files/alerts.yaml")["groups"].as_array().unwrap().clone();
    groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

fn names_of_alerts() -> BTreeSet<String> {
    alerts().iter().map(|alert| text(&alert["alert"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// The metric that a series belongs to, and the labels that the series has.
fn labels_of(series: &str) -> Result<BTreeSet<&'static str>> {
    let parts = [("_bucket", Some("le")), ("_count", None), ("_sum", None)];
    let of_histogram = parts.into_iter().find_map(|(suffix, label)| {
        let metric = metric::find(series.strip_suffix(suffix)?)?;
        (metric.kind == Kind::Histogram).then_some((metric, label))
    });
    let plain = metric::find(series).filter(|metric| metric.kind != Kind::Histogram);
    let (metric, label): (&Metric, Option<&str>) = plain
        .map(|metric| (metric, None))
        .or(of_histogram)
        .with_context(|| format!("nobody exports {series}"))?;
    let mut labels: BTreeSet<&str> = metric.labels.iter().copied().chain(label).collect();
    if metric::OF_WORKLOADS.contains(metric) {
        labels.extend(OF_PODS);
    }
    Ok(labels)
}

fn check(query: &str) -> Result<()> {
    let Names { selectors, groupings } = names(query)?;
    let selected = selectors.iter().map(|selector| (&selector.series, &selector.labels));
    let grouped = groupings
        .iter()
        .flat_map(|grouping| grouping.series.iter().map(|series| (series, &grouping.labels)));
    for (series, labels) in selected.chain(grouped) {
        let known = labels_of(series)?;
        for label in labels {
            ensure!(
                known.contains(label.as_str()),
                "{series} has no label {label}, only {known:?}"
            );
        }
    }
    Ok(())
}

fn assert_known(whose: &str, query: &str) {
    check(query).unwrap_or_else(|error| panic!("{whose}: {error:#}\nin {query}"));
}

/// All values with this key, however deep.
fn find<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|value| find(value, key, found));
        }
        Value::Array(items) => items.iter().for_each(|value| find(value, key, found)),
        _ => {}
    }
}

#[test]
fn alerts_ask_for_metrics_that_exist() {
    let alerts = alerts();
    assert!(alerts.len() >= 5);
    for alert in &alerts {
        assert_known(&text(&alert["alert"]), &text(&alert["expr"]));
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(&chart("files/dashboard.json")).unwrap();
    let mut queries = vec![];
    find(&dashboard["panels"], "expr", &mut queries);
    assert!(queries.len() > 20, "{} queries", queries.len());
    for query in queries {
        assert_known("dashboard", query.as_str().unwrap());
    }
    let mut definitions = vec![];
    find(&dashboard["templating"], "definition", &mut definitions);
    assert_eq!(definitions.len(), 3);
    for definition in definitions {
        let definition = definition.as_str().unwrap();
        // label_values(series, label)
        let arguments = definition
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = arguments.and_then(|arguments| arguments.rsplit_once(", ")).unwrap();
        assert_known("dashboard", &format!("count by ({label}) ({series})"));
    }
}

#[test]
fn all_that_is_exported_is_on_the_dashboard() {
    let dashboard = chart("files/dashboard.json");
    for metric in metric::OF_OPERATOR.iter().chain(metric::OF_WORKLOADS) {
        assert!(dashboard.contains(metric.name), "{} is on no panel", metric.name);
    }
}

#[test]
fn queries_of_what_nobody_exports_are_found() {
    for (query, complaint) in [
        ("syncpipeline_condtion == 0", "nobody exports syncpipeline_condtion"),
        ("rate(syncpipeline_reconcile_duration_seconds[5m])", "nobody exports"),
        (r#"syncpipeline_condition{kind="Ready"}"#, "no label kind"),
        ("sum by (pod) (syncpipeline_condition)", "no label pod"),
        (
            "sum by (le) (syncpipeline_reconcile_duration_seconds_count)",
            "no label le",
        ),
        (
            "sum by (topic, pod) (syncpipeline_http_requests_total)",
            "no label topic",
        ),
        (
            "syncpipeline_condition unless on (topic) syncpipeline_topic_lag_messages",
            "no label topic",
        ),
    ] {
        let error = format!("{:#}", check(query).unwrap_err());
        assert!(error.contains(complaint), "{query}: {error}");
    }
}

#[test]
fn every_alert_is_tested_firing_and_quiet_documented_and_known_to_the_schema() {
    let alerts = names_of_alerts();
    let cases = yaml("tests/alerts.yaml");
    let mut tests = vec![];
    find(&cases, "alert_rule_test", &mut tests);
    let tests: Vec<&Value> = tests.into_iter().flat_map(|list| list.as_array().unwrap()).collect();
    let tested = |fires: bool| -> BTreeSet<String> {
        let of_kind = tests.iter().filter(|test| {
            test["exp_alerts"]
                .as_array()
                .is_some_and(|expected| expected.is_empty() != fires)
        });
        of_kind.map(|test| text(&test["alertname"])).collect()
    };
    assert_eq!(tested(true), alerts, "fire in a test");
    assert_eq!(tested(false), alerts, "stay quiet in a test");

    let schema: Value = serde_json::from_str(&chart("values.schema.json")).unwrap();
    let known = schema["definitions"]["alert"]["enum"].as_array().unwrap();
    assert_eq!(known.iter().map(text).collect::<BTreeSet<_>>(), alerts);

    let operations = chart("../../docs/operations.md");
    for alert in &alerts {
        assert!(
            operations.contains(&format!("`{alert}`")),
            "docs/operations.md does not explain {alert}"
        );
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    for alert in alerts() {
        let name = text(&alert["alert"]);
        let severity = text(&alert["labels"]["severity"]);
        assert!(
            ["warning", "critical"].contains(&severity.as_str()),
            "{name}: {severity}"
        );
        for annotation in ["summary", "description"] {
            assert!(
                alert["annotations"][annotation].is_string(),
                "{name} has no {annotation}"
            );
        }
    }
}
