//! What a person would look at first when a test fails: a few lines each of status, Events, pods and their logs.

use crate::world::{Case, OPERATOR, OPERATOR_NAMESPACE};
use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, LogParams};
use operator::api::SyncPipelineStatus;

/// Newest Events that are shown.
const EVENTS: usize = 25;
/// Newest warnings that are shown of each pod.
const WARNINGS: usize = 4;
/// Longest line.
const WIDTH: usize = 400;

/// Everything there is to say about a case that has failed; what cannot be had says why.
pub(crate) async fn look(case: &Case) -> String {
    let mut lines = match case.status().await {
        Ok(status) => describe_status(&status),
        Err(error) => vec![format!("status: {error:#}")],
    };
    lines.push("events:".to_owned());
    match case.cluster.events(&case.names.namespace, &case.names.pipeline).await {
        Ok(events) => lines.extend(events.iter().rev().take(EVENTS).rev().map(|event| format!("  {event}"))),
        Err(error) => lines.push(format!("  {error:#}")),
    }
    for (namespace, selector) in [(case.names.namespace.as_str(), ""), (OPERATOR_NAMESPACE, OPERATOR)] {
        lines.push(format!("pods in {namespace}:"));
        match describe_pods(case, namespace, selector).await {
            Ok(pods) => lines.extend(pods),
            Err(error) => lines.push(format!("  {error:#}")),
        }
    }
    let shortened = lines.iter().map(|line| line.chars().take(WIDTH).collect());
    shortened.collect::<Vec<String>>().join("\n")
}

fn describe_status(status: &SyncPipelineStatus) -> Vec<String> {
    let mut lines = vec![format!(
        "status: {}, pods {}, lag {:?}",
        status.summary, status.pods, status.lag
    )];
    lines.extend(status.conditions.iter().map(|condition| {
        let since = condition.last_transition_time.0;
        format!(
            "  {}={} {} since {since}: {}",
            condition.type_, condition.status, condition.reason, condition.message
        )
    }));
    lines.extend(status.components.iter().map(|component| {
        format!(
            "  {}: {} ready of {}, lag {:?}, last decision {:?}",
            component.name, component.ready, component.wanted, component.lag, component.last_decision
        )
    }));
    lines
}

async fn describe_pods(case: &Case, namespace: &str, selector: &str) -> Result<Vec<String>> {
    let api = case.cluster.api::<Pod>(namespace);
    let mut lines = Vec::new();
    for pod in api.list(&ListParams::default().labels(selector)).await? {
        lines.push(format!("  {}", describe(&pod)));
        let parameters = LogParams {
            tail_lines: Some(500),
            ..LogParams::default()
        };
        let log = match api.logs(&pod.name_any(), &parameters).await {
            Ok(log) => log,
            Err(error) => format!("\"WARN\": no log: {error}"),
        };
        let warnings: Vec<&str> = log.lines().filter(|line| is_warning(line)).collect();
        lines.extend(
            warnings
                .iter()
                .rev()
                .take(WARNINGS)
                .rev()
                .map(|line| format!("    {line}")),
        );
    }
    Ok(lines)
}

/// Whether a line is one of a log's warnings or errors, or is no line of a log at all, as a panic's is.
fn is_warning(line: &str) -> bool {
    !line.starts_with('{') || ["\"WARN\"", "\"ERROR\""].iter().any(|level| line.contains(level))
}

fn describe(pod: &Pod) -> String {
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let states: Vec<String> = containers
        .iter()
        .map(|container| {
            let state = container
                .state
                .as_ref()
                .map(|state| serde_json::json!(state).to_string());
            let last = container
                .last_state
                .as_ref()
                .map(|state| serde_json::json!(state).to_string());
            format!(
                "ready {}, restarts {}, {} before {}",
                container.ready,
                container.restart_count,
                state.unwrap_or_default(),
                last.unwrap_or_default()
            )
        })
        .collect();
    format!(
        "{} {}: {}",
        pod.name_any(),
        status.phase.unwrap_or_default(),
        states.join("; ")
    )
}
