//! What keeps pods from being ready, in words.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

use crate::plan::naming;

/// Reasons of waiting that do not end by themselves soon.
const STUCK: [&str; 8] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];
/// Longest part of a message or of a log that is shown.
const LENGTH: usize = 240;

/// The first pod in trouble of each component, by the component's name: a word, and the whole story.
pub fn by_component(pods: &[Pod]) -> BTreeMap<String, Trouble> {
    let mut troubles = BTreeMap::new();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let Some(component) = pod.labels().get(naming::COMPONENT_LABEL) else {
            continue;
        };
        if let Some((reason, story)) = of_pod(pod) {
            troubles.entry(component.clone()).or_insert(Trouble {
                message: format!("pod {}: {reason}: {story}", pod.name_any()),
                reason,
            });
        }
    }
    troubles
}

/// Why a pod is not ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// A word, as Kubernetes says it.
    pub reason: String,
    /// The pod, and what is wrong with it.
    pub message: String,
}

fn of_pod(pod: &Pod) -> Option<(String, String)> {
    let status = pod.status.as_ref()?;
    let scheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled");
    if let Some(condition) = scheduled.filter(|condition| condition.status == "False") {
        let message = condition.message.as_deref().unwrap_or("no node takes it");
        return Some(("Unschedulable".to_owned(), shorten(message)));
    }
    status.container_statuses.iter().flatten().find_map(of_container)
}

fn of_container(status: &ContainerStatus) -> Option<(String, String)> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting
        .reason
        .clone()
        .filter(|reason| STUCK.contains(&reason.as_str()))?;
    let ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let story = match ended {
        Some(ended) => {
            let last_line = ended.message.as_deref().and_then(|log| log.trim().lines().last());
            let last_line = last_line.map(|line| format!(", its last words: {}", shorten(&said(line))));
            format!(
                "it ended with code {}{}",
                ended.exit_code,
                last_line.unwrap_or_default()
            )
        }
        None => shorten(waiting.message.as_deref().unwrap_or("no reason is given")),
    };
    Some((reason, story))
}

/// The message of a line of a log that is JSON; any other line as it is.
fn said(line: &str) -> String {
    let fields: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let text = |name: &str| fields.as_ref()?.get(name)?.as_str().map(str::to_owned);
    match (text("message"), text("error")) {
        (Some(message), Some(error)) => format!("{message}: {error}"),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => line.to_owned(),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn troubles(status: &Value) -> BTreeMap<String, Trouble> {
        let pod = json!({
            "metadata": {"name": "p-sms-1", "labels": {naming::COMPONENT_LABEL: "sms"}},
            "status": status,
        });
        by_component(&[serde_json::from_value(pod).unwrap()])
    }

    fn waiting(reason: &str, last: &Value) -> Value {
        json!({"containerStatuses": [{
            "name": "consumer", "image": "i", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": reason, "message": "back-off 10s"}}, "lastState": last,
        }]})
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_named() {
        let found = troubles(&waiting("ErrImagePull", &json!({})));
        assert_eq!(found["sms"].message, "pod p-sms-1: ErrImagePull: back-off 10s");
    }

    #[test]
    fn a_container_that_crashes_tells_its_last_words() {
        let log =
            "{\"message\":\"starting\"}\n{\"level\":\"ERROR\",\"message\":\"cannot run\",\"error\":\"no topic\"}\n";
        let last = json!({"terminated": {"exitCode": 1, "message": log}});
        let found = troubles(&waiting("CrashLoopBackOff", &last));
        assert_eq!(
            found["sms"].message,
            "pod p-sms-1: CrashLoopBackOff: it ended with code 1, its last words: cannot run: no topic"
        );
    }

    #[test]
    fn a_pod_without_a_node_says_why_and_one_that_starts_is_in_no_trouble() {
        let condition = json!({"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient cpu"});
        let found = troubles(&json!({"conditions": [condition]}));
        assert_eq!(found["sms"].reason, "Unschedulable");
        assert!(found["sms"].message.ends_with("0/1 nodes: Insufficient cpu"));
        assert!(troubles(&waiting("ContainerCreating", &json!({}))).is_empty());
    }
}
