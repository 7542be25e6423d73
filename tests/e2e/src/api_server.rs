//! What the API server was asked to write, from its own metrics.

use crate::cluster::Cluster;
use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};

const REQUESTS: &str = "apiserver_request_total";
const WRITES: [&str; 5] = ["POST", "PUT", "PATCH", "APPLY", "DELETE"];

/// What the operator writes, Events apart, which everybody writes: [`Told`] knows its own. Other subresources, as the
/// status of a Deployment, are other programs' to write.
pub const BY_OPERATOR: [&str; 11] = [
    "syncpipelines",
    "syncpipelines/status",
    "deployments",
    "deployments/scale",
    "services",
    "serviceaccounts",
    "poddisruptionbudgets",
    "networkpolicies",
    "ingresses",
    "horizontalpodautoscalers",
    "configmaps",
];
/// What the operators elect their leader with.
pub const LEASES: &str = "leases";

/// Requests that write, by resource (with its subresource) and verb.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writes(BTreeMap<(String, String), u64>);

impl Writes {
    /// All of them, since the API server was started.
    pub async fn read(cluster: &Cluster) -> Result<Writes> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = cluster.client().request_text(request).await;
        Ok(Writes::of(&text.context("read the metrics of the API server")?))
    }

    fn of(metrics: &str) -> Writes {
        let mut writes = BTreeMap::new();
        for line in metrics.lines() {
            let Some((labels, count)) = line
                .strip_prefix(REQUESTS)
                .and_then(|rest| rest.strip_prefix('{')?.rsplit_once("} "))
            else {
                continue;
            };
            let (Some(resource), Some(verb)) = (label(labels, "resource"), label(labels, "verb")) else {
                continue;
            };
            if WRITES.contains(&verb) {
                let count: f64 = count.trim().parse().unwrap_or(0.0);
                let resource = match label(labels, "subresource") {
                    None | Some("") => resource.to_owned(),
                    Some(subresource) => format!("{resource}/{subresource}"),
                };
                *writes.entry((resource, verb.to_owned())).or_default() += count as u64;
            }
        }
        Writes(writes)
    }

    /// Those since `earlier`, where there are any.
    pub fn since(&self, earlier: &Writes) -> Writes {
        let new = self.0.iter().filter_map(|(key, count)| {
            let new = count.saturating_sub(earlier.0.get(key).copied().unwrap_or(0));
            (new > 0).then(|| (key.clone(), new))
        });
        Writes(new.collect())
    }

    /// Those of these resources.
    pub fn of_resources(&self, resources: &[&str]) -> Writes {
        let those = self
            .0
            .iter()
            .filter(|((resource, _), _)| resources.contains(&resource.as_str()));
        Writes(those.map(|(key, count)| (key.clone(), *count)).collect())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }
}

impl std::fmt::Display for Writes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|((resource, verb), count)| format!("{verb} {resource} {count}"))
            .collect();
        f.write_str(&lines.join(", "))
    }
}

/// The Events that the operator has written, in their present versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told(BTreeSet<(String, String, String)>);

impl Told {
    /// All of them, as far as the API server keeps them.
    pub async fn read(cluster: &Cluster) -> Result<Told> {
        let events: Api<Event> = Api::all(cluster.client());
        let own = ListParams::default().fields("reportingComponent=syncpipeline-operator");
        let found = events.list(&own).await.context("list the operator's Events")?;
        let version = |event: &Event| {
            let namespace = event.namespace().unwrap_or_default();
            (
                namespace,
                event.name_any(),
                event.resource_version().unwrap_or_default(),
            )
        };
        Ok(Told(found.iter().map(version).collect()))
    }

    /// Those that are new, or were counted once more.
    pub fn since(&self, earlier: &Told) -> Vec<String> {
        let new = self.0.difference(&earlier.0);
        new.map(|(namespace, name, _)| format!("{namespace}/{name}")).collect()
    }
}

/// Value of a label; none of those that count here has an escaped character.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = labels.split(',');
    parts.find_map(|part| part.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_told_from_reads_and_counted_over_all_codes() {
        let metrics = "\
# TYPE apiserver_request_total counter
apiserver_request_total{code=\"200\",component=\"apiserver\",group=\"apps\",resource=\"deployments\",verb=\"GET\"} 9
apiserver_request_total{code=\"201\",component=\"apiserver\",group=\"apps\",resource=\"deployments\",verb=\"POST\"} 5
apiserver_request_total{code=\"409\",component=\"apiserver\",group=\"apps\",resource=\"deployments\",verb=\"POST\"} 1
apiserver_request_total{code=\"200\",group=\"coordination.k8s.io\",resource=\"leases\",verb=\"PUT\"} 1.2e+06
apiserver_request_total{code=\"200\",resource=\"deployments\",subresource=\"status\",verb=\"PUT\"} 4
apiserver_request_duration_seconds_count{resource=\"deployments\",verb=\"POST\"} 7
";
        let writes = Writes::of(metrics);
        assert_eq!(writes.of_resources(&["deployments"]).count(), 6);
        assert_eq!(
            writes.to_string(),
            "POST deployments 6, PUT deployments/status 4, PUT leases 1200000"
        );
        let mut later = writes.clone();
        later.0.insert(("deployments".to_owned(), "POST".to_owned()), 8);
        assert_eq!(later.since(&writes).to_string(), "POST deployments 2");
    }
}
