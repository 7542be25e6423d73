//! What the pods of a pipeline use, as the cluster's metrics server measures it.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::api::{ListParams, ObjectList};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::debug;

use super::usage::Usage;
use crate::plan::naming::{self, COMPONENT_LABEL};

/// How often it is read: the metrics server measures no more often by itself.
const INTERVAL: Duration = Duration::from_secs(15);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of a pipeline's pods.
#[derive(Debug, Clone, PartialEq)]
pub enum Measured {
    /// Nothing was read yet.
    NotYet,
    /// What the pods of each component use.
    Usage(BTreeMap<String, Usage>),
    /// It cannot be had, and why.
    Unknown(String),
}

impl Measured {
    /// What the pods of a component use.
    pub fn of(&self, component: &str) -> Option<&Usage> {
        match self {
            Measured::Usage(usages) => usages.get(component),
            Measured::NotYet | Measured::Unknown(_) => None,
        }
    }

    /// Why nothing is known.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Measured::Unknown(problem) => Some(problem),
            Measured::NotYet | Measured::Usage(_) => None,
        }
    }
}

/// Reads beside the follower, which must not wait for it.
pub(super) struct Meter {
    measured: watch::Receiver<Measured>,
    task: JoinHandle<()>,
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Meter {
    /// Reads what the pods of `pipeline` use from now on.
    pub(super) fn start(client: Client, namespace: &str, pipeline: &str) -> Meter {
        let pods: Api<DynamicObject> = Api::namespaced_with(client, namespace, &pod_metrics());
        let of_pipeline = ListParams::default().labels(&naming::selector_of(pipeline));
        let (sender, measured) = watch::channel(Measured::NotYet);
        let task = tokio::spawn(async move {
            let mut turns = tokio::time::interval(INTERVAL);
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                turns.tick().await;
                let read = match tokio::time::timeout(TIMEOUT, pods.list(&of_pipeline)).await {
                    Ok(Ok(list)) => Measured::Usage(usages(&list)),
                    Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                        Measured::Unknown("the cluster has no metrics server".to_owned())
                    }
                    Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                        Measured::Unknown("the operator may not list pods of metrics.k8s.io; check its role".to_owned())
                    }
                    // What it says in detail changes, and would be a write each time.
                    Ok(Err(error)) => {
                        debug!(%error, "the metrics server does not answer");
                        Measured::Unknown("the metrics server does not answer".to_owned())
                    }
                    Err(_) => Measured::Unknown("the metrics server does not answer".to_owned()),
                };
                if sender.send(read).is_err() {
                    return;
                }
            }
        });
        Meter { measured, task }
    }

    /// What was read last.
    pub(super) fn latest(&self) -> Measured {
        self.measured.borrow().clone()
    }
}

fn pod_metrics() -> ApiResource {
    ApiResource {
        group: "metrics.k8s.io".to_owned(),
        version: "v1beta1".to_owned(),
        api_version: "metrics.k8s.io/v1beta1".to_owned(),
        kind: "PodMetrics".to_owned(),
        plural: "pods".to_owned(),
    }
}

/// What is read of a PodMetrics.
#[derive(Deserialize)]
struct Containers {
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    usage: Used,
}

#[derive(Deserialize)]
struct Used {
    cpu: String,
    memory: String,
}

fn usages(list: &ObjectList<DynamicObject>) -> BTreeMap<String, Usage> {
    let mut usages = BTreeMap::new();
    for pod in &list.items {
        let Some(component) = pod.labels().get(COMPONENT_LABEL) else {
            continue;
        };
        let Some((cores, bytes)) = used(&pod.data) else {
            continue;
        };
        let usage: &mut Usage = usages.entry(component.clone()).or_default();
        usage.pods += 1;
        usage.milli_cpu += cores * 1000.0;
        usage.memory_mib += bytes / f64::from(1 << 20);
    }
    usages
}

/// Cores and bytes of all containers of a pod.
fn used(pod: &serde_json::Value) -> Option<(f64, f64)> {
    let pod = Containers::deserialize(pod).ok()?;
    let mut sum = (0.0, 0.0);
    for container in &pod.containers {
        sum.0 += quantity(&container.usage.cpu)?;
        sum.1 += quantity(&container.usage.memory)?;
    }
    Some(sum)
}

/// The number that a quantity of Kubernetes stands for.
fn quantity(text: &str) -> Option<f64> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
    let factor = match unit {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "Ki" => f64::from(1 << 10),
        "Mi" => f64::from(1 << 20),
        "Gi" => f64::from(1 << 30),
        "Ti" => f64::from(1 << 30) * f64::from(1 << 10),
        _ => return None,
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_numbers() {
        assert_eq!(quantity("1500m"), Some(1.5));
        assert_eq!(quantity("250000000n"), Some(0.25));
        assert_eq!(quantity("0"), Some(0.0));
        assert_eq!(quantity("1.5Gi"), Some(1.5 * 1024.0 * 1024.0 * 1024.0));
        assert_eq!((quantity(""), quantity("Ki"), quantity("1e3x")), (None, None, None));
    }

    #[test]
    fn pods_of_a_component_are_summed_with_all_their_containers() {
        let pod = |component: &str, containers: &[(&str, &str)]| {
            let containers = containers
                .iter()
                .map(|(cpu, memory)| json!({"name": "c", "usage": {"cpu": cpu, "memory": memory}}));
            json!({
                "metadata": {"name": "p", "labels": {COMPONENT_LABEL: component}},
                "timestamp": "2026-11-20T00:00:00Z", "window": "15s",
                "containers": containers.collect::<Vec<_>>(),
            })
        };
        let list = json!({
            "apiVersion": "metrics.k8s.io/v1beta1", "kind": "PodMetricsList", "metadata": {},
            "items": [
                pod("sms", &[("500m", "64Mi"), ("250000000n", "1024Ki")]),
                pod("sms", &[("250m", "63Mi")]),
                pod("events", &[("odd", "1Mi")]),
            ],
        });
        let usages = usages(&serde_json::from_value(list).unwrap());
        let sms = Usage {
            pods: 2,
            milli_cpu: 1000.0,
            memory_mib: 128.0,
        };
        assert_eq!(usages, BTreeMap::from([("sms".to_owned(), sms)]));
    }
}
