//! Observations → status. Pure: no client, no clock of its own.

mod component;
pub mod condition;
pub mod trouble;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::status::{ComponentStatus, LadderStatus, SyncPipelineStatus, TopicStatus};
use crate::defaults::Resolved;
use crate::kafka::topics::ObservedTopics;
use crate::scale::seen::Snapshot;
use crate::succession::Predecessors;
use crate::validate::Pipeline;
use condition::State;
use trouble::Trouble;

/// Most characters of the summary, which is a column of a table.
const SUMMARY_LENGTH: usize = 160;

/// A step of the pass that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A word for machines.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether the topics are what is wrong.
    pub of_topics: bool,
}

/// What a pass has seen.
#[derive(Debug, Clone, Default)]
pub struct Observations {
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// The pipeline; absent when the spec is not valid.
    pub pipeline: Option<Pipeline>,
    /// Defaults that were filled in.
    pub resolved: Resolved,
    /// The topics; absent when Kafka did not answer.
    pub topics: Option<ObservedTopics>,
    /// Deployments by name.
    pub deployments: BTreeMap<String, Deployment>,
    /// What keeps pods from being ready, by component; asked for where some component has not what it wants.
    pub troubles: BTreeMap<String, Trouble>,
    /// Who reads on in place of a component that is not ready yet.
    pub predecessors: Predecessors,
    /// What the follower sees; absent before it runs.
    pub lag: Option<Snapshot>,
    /// The step that failed.
    pub failure: Option<Failure>,
    /// Whether the user has asked the operator to keep its hands off.
    pub paused: bool,
    /// Whether the object is being deleted.
    pub leaving: bool,
}

/// The status after a pass. What could not be seen this time stays as it was in `previous`.
pub fn status(previous: &SyncPipelineStatus, seen: &Observations, now: DateTime<Utc>) -> SyncPipelineStatus {
    let components = match &seen.pipeline {
        Some(pipeline) => component::components(previous, pipeline, seen),
        None => previous.components.clone(),
    };
    let topics = match (&seen.pipeline, &seen.topics) {
        (Some(pipeline), Some(observed)) => topics(pipeline, observed),
        _ => previous.topics.clone(),
    };
    let topics_ready = condition::topics_ready(seen);
    let available = condition::workloads_available(seen, &components);
    let scaling = condition::scaling_active(seen);
    let ready = condition::ready(seen, [&topics_ready, &available, &scaling]);
    let summary = summary(&ready, &components, seen);
    let conditions = [
        (condition::READY, ready),
        (condition::TOPICS_READY, topics_ready),
        (condition::WORKLOADS_AVAILABLE, available),
        (condition::SCALING_ACTIVE, scaling),
        (condition::DEGRADED, condition::degraded(seen)),
        (condition::PAUSED, condition::paused(seen)),
    ]
    .map(|(type_, state)| state.into_condition(type_, previous, seen.generation, now))
    .to_vec();
    SyncPipelineStatus {
        observed_generation: seen.generation,
        summary,
        lag: total_lag(seen),
        pods: format!(
            "{}/{}",
            components.iter().map(|component| component.ready).sum::<i32>(),
            components.iter().map(|component| component.wanted).sum::<i32>()
        ),
        conditions,
        kafka_cluster_id: seen
            .topics
            .as_ref()
            .map(|topics| topics.cluster_id.clone())
            .or_else(|| previous.kafka_cluster_id.clone()),
        resolved: match &seen.pipeline {
            Some(_) => seen.resolved.clone(),
            None => previous.resolved.clone(),
        },
        ladder: seen
            .pipeline
            .as_ref()
            .and_then(|pipeline| pipeline.ladder.as_ref())
            .map(|chosen| LadderStatus {
                users: chosen.row.users,
                recommended_brokers: chosen.row.brokers.map(|brokers| brokers.min),
                brokers: seen
                    .topics
                    .as_ref()
                    .map(|topics| topics.brokers)
                    .or(previous.ladder.as_ref().and_then(|ladder| ladder.brokers)),
            }),
        components,
        topics,
    }
}

/// A Kubernetes time, in whole seconds as the API server keeps it.
pub fn time(at: DateTime<Utc>) -> Time {
    Time(Timestamp::from_second(at.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn topics(pipeline: &Pipeline, observed: &ObservedTopics) -> Vec<TopicStatus> {
    pipeline
        .topics
        .iter()
        .filter_map(|topic| {
            let found = observed.topics.iter().find(|found| found.name == topic.name)?;
            let difference = found.difference.as_ref();
            Some(TopicStatus {
                name: topic.name.clone(),
                partitions: found.partitions,
                replication_factor: found.replication_factor,
                managed: found.managed,
                state: difference.map_or_else(|| "Ready".to_owned(), ToString::to_string),
            })
        })
        .collect()
}

impl Observations {
    /// Whether a reader is switched off: nobody follows its lag.
    fn is_off(&self, consumer: &str) -> bool {
        let mut consumers = self.pipeline.iter().flat_map(|pipeline| &pipeline.consumers);
        consumers.any(|found| found.component.name == consumer && found.component.bounds.is_off())
    }

    /// Whether some component has not the pods that it wants, or still has pods of an earlier template.
    pub fn is_short_of_pods(&self) -> bool {
        self.deployments.values().any(|deployment| {
            let wanted = deployment.spec.replicas.unwrap_or(1);
            let status = deployment.status.clone().unwrap_or_default();
            status.ready_replicas.unwrap_or(0) < wanted || status.updated_replicas.unwrap_or(0) < wanted
        })
    }
}

fn total_lag(seen: &Observations) -> Option<i64> {
    let readers = &seen.lag.as_ref()?.readers;
    if readers.is_empty() {
        return None;
    }
    readers.values().map(|seen| seen.total.exact()).sum()
}

/// The first words of a text that is too long for a column of a table.
fn shortened(text: &str) -> String {
    if text.chars().count() <= SUMMARY_LENGTH {
        return text.to_owned();
    }
    let cut: String = text.chars().take(SUMMARY_LENGTH).collect();
    let words = cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words);
    format!("{words} …")
}

/// One line for `kubectl get`: what is wrong, or who is where on the ladder.
fn summary(ready: &State, components: &[ComponentStatus], seen: &Observations) -> String {
    if !ready.holds() {
        return shortened(&format!("{}: {}", ready.reason, ready.message));
    }
    let short = |component: &ComponentStatus| {
        let pods = match component.ready == component.wanted {
            true => format!("{} {}", component.name, component.ready),
            false => format!("{} {}→{}", component.name, component.ready, component.wanted),
        };
        match seen.troubles.get(&component.name) {
            Some(trouble) => format!("{pods} ({})", trouble.reason),
            None => pods,
        }
    };
    components.iter().map(short).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_ends_after_a_word() {
        assert_eq!(shortened("short"), "short");
        let long = "word ".repeat(60);
        let short = shortened(&long);
        assert!(short.ends_with("word …"), "{short}");
        assert!(short.chars().count() <= SUMMARY_LENGTH + 2);
    }
}
