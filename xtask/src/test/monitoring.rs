//! The chart's alerts and dashboard, judged by Prometheus' own tool. That they name only what exists is a unit test.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use host::progress::Progress;
use serde_json::{Value, json};

use crate::{foreground, workspace};

/// The tool, and the Debian package that brings it.
const PROMTOOL: (&str, &str) = ("promtool", "prometheus");
/// Variables of the dashboard that stand for a duration.
const DURATION: &str = "$__rate_interval";

/// The alerts are well-formed and do in `tests/alerts.yaml` what they should; the dashboard's queries are PromQL.
pub(crate) fn check(progress: &Progress) -> Result<()> {
    progress.run(PROMTOOL.0, |_| host::packages::ensure(&[PROMTOOL]))?;
    let chart = workspace::path("charts/syncpipeline");
    promtool(
        &["check", "rules", "--lint=all", "--lint-fatal"],
        &chart.join("files/alerts.yaml"),
    )?;
    promtool(&["test", "rules"], &chart.join("tests/alerts.yaml"))?;
    let dashboard = chart.join("files/dashboard.json");
    let dashboard = fs::read_to_string(&dashboard).with_context(|| format!("read {}", dashboard.display()))?;
    let rules = rules_of_dashboard(&serde_json::from_str(&dashboard).context("read the dashboard")?)?;
    let file = workspace::target().join("dashboard-rules.json");
    fs::write(&file, rules.to_string()).with_context(|| format!("write {}", file.display()))?;
    promtool(&["check", "rules"], &file)
}

fn promtool(arguments: &[&str], file: &Path) -> Result<()> {
    foreground::run(Command::new(PROMTOOL.0).args(arguments).arg(file))
}

/// A rule file with each query of the dashboard: the tool reads no others.
fn rules_of_dashboard(dashboard: &Value) -> Result<Value> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.filter_map(|target| target["expr"].as_str());
    let rules: Vec<Value> = queries
        .enumerate()
        .map(|(number, query)| json!({"record": format!("query:{number}"), "expr": query.replace(DURATION, "5m")}))
        .collect();
    ensure!(!rules.is_empty(), "the dashboard has no queries");
    Ok(json!({"groups": [{"name": "dashboard", "rules": rules}]}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_become_rules_with_durations_for_variables() {
        let panel = |query: &str| json!({"targets": [{"expr": query}]});
        let dashboard = json!({"panels": [{"type": "row"}, panel("a"), panel("rate(b[$__rate_interval])")]});
        let rules = json!([{"record": "query:0", "expr": "a"}, {"record": "query:1", "expr": "rate(b[5m])"}]);
        assert_eq!(rules_of_dashboard(&dashboard).unwrap()["groups"][0]["rules"], rules);
        assert!(rules_of_dashboard(&json!({"panels": []})).is_err());
    }
}
