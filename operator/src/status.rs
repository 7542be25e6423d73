//! Observations → status. Pure: no client, no clock of its own.

pub mod trouble;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::api::status::{ComponentStatus, DecisionStatus, LadderStatus, SyncPipelineStatus, TopicStatus};
use crate::defaults::Resolved;
use crate::kafka::topics::ObservedTopics;
use crate::ladder::{self, Bounds};
use crate::plan::naming;
use crate::scale::decide::Reason;
use crate::scale::follow::{Seen, Snapshot};
use crate::scale::lag::Lag;
use crate::validate::{Component, Consumer, InsightKind, Pipeline, Scaling};
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
    /// Pods, where some component has not what it wants.
    pub pods: Vec<Pod>,
    /// What the follower sees; absent before it runs.
    pub lag: Option<Snapshot>,
    /// The step that failed.
    pub failure: Option<Failure>,
    /// Whether the user has asked the operator to keep its hands off.
    pub paused: bool,
    /// Whether the object is being deleted.
    pub leaving: bool,
}

/// Condition types.
pub mod condition {
    /// Everything below holds.
    pub const READY: &str = "Ready";
    /// Every topic exists as planned.
    pub const TOPICS_READY: &str = "TopicsReady";
    /// Every component has at least its least number of pods.
    pub const WORKLOADS_AVAILABLE: &str = "WorkloadsAvailable";
    /// The lag of every reader is known and followed.
    pub const SCALING_ACTIVE: &str = "ScalingActive";
    /// The pipeline works, but not as well as it should.
    pub const DEGRADED: &str = "Degraded";
    /// The user has asked the operator to keep its hands off.
    pub const PAUSED: &str = "Paused";
}

/// The status after a pass. What could not be seen this time stays as it was in `previous`.
pub fn status(previous: &SyncPipelineStatus, seen: &Observations, now: DateTime<Utc>) -> SyncPipelineStatus {
    let components = match &seen.pipeline {
        Some(pipeline) => components(previous, pipeline, seen),
        None => previous.components.clone(),
    };
    let topics = match (&seen.pipeline, &seen.topics) {
        (Some(pipeline), Some(observed)) => topics(pipeline, observed),
        _ => previous.topics.clone(),
    };
    let topics_ready = topics_ready(seen);
    let available = workloads_available(seen, &components);
    let scaling = scaling_active(seen);
    let ready = ready(seen, [&topics_ready, &available, &scaling]);
    let summary = summary(&ready, &components, seen);
    let conditions = [
        (condition::READY, ready),
        (condition::TOPICS_READY, topics_ready),
        (condition::WORKLOADS_AVAILABLE, available),
        (condition::SCALING_ACTIVE, scaling),
        (condition::DEGRADED, degraded(seen)),
        (condition::PAUSED, paused(seen)),
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

/// State of a condition before it is dated.
struct State {
    /// `True`, `False` or `Unknown`.
    status: &'static str,
    reason: String,
    message: String,
}

impl State {
    fn new(holds: bool, reason: &str, message: impl Into<String>) -> State {
        let status = if holds { "True" } else { "False" };
        State {
            status,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    fn unknown(reason: &str, message: impl Into<String>) -> State {
        State {
            status: "Unknown",
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    fn holds(&self) -> bool {
        self.status == "True"
    }

    /// Dates the condition: the time is that of the last change of its status.
    fn into_condition(
        self,
        type_: &str,
        previous: &SyncPipelineStatus,
        generation: Option<i64>,
        now: DateTime<Utc>,
    ) -> Condition {
        let before = previous.conditions.iter().find(|condition| condition.type_ == type_);
        let last_transition_time = match before {
            Some(before) if before.status == self.status => before.last_transition_time.clone(),
            _ => time(now),
        };
        Condition {
            type_: type_.to_owned(),
            status: self.status.to_owned(),
            reason: self.reason,
            message: self.message,
            observed_generation: generation,
            last_transition_time,
        }
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

fn topics_ready(seen: &Observations) -> State {
    if let Some(failure) = seen.failure.as_ref().filter(|failure| failure.of_topics) {
        return State::new(false, failure.reason, &failure.message);
    }
    let Some(observed) = &seen.topics else {
        return State::unknown("NotChecked", "the topics were not checked: an earlier step failed");
    };
    let differences = observed.topics.iter().filter_map(|topic| {
        let difference = topic
            .difference
            .as_ref()
            .filter(|difference| !difference.is_harmless())?;
        Some((difference.reason(), format!("topic {} {difference}", topic.name)))
    });
    let differences: Vec<_> = differences.collect();
    match differences.first() {
        None => State::new(
            true,
            "AllTopicsExist",
            format!("{} topics exist as planned", observed.topics.len()),
        ),
        Some((reason, _)) => {
            let messages: Vec<&str> = differences.iter().map(|(_, message)| message.as_str()).collect();
            State::new(false, reason, messages.join("; "))
        }
    }
}

/// What works, but not as well as it should: the first reason, and all of them in words.
fn degraded(seen: &Observations) -> State {
    let mut notes: Vec<(&str, String)> = vec![];
    if let Some(pipeline) = &seen.pipeline {
        let chosen = pipeline.ladder.as_ref();
        if let Some(topics) = &seen.topics {
            let recommended = chosen.and_then(|chosen| Some((chosen.row.users, chosen.row.brokers?.min)));
            if let Some((users, recommended)) = recommended.filter(|(_, least)| topics.brokers < *least) {
                notes.push((
                    "BrokersBelowRecommendation",
                    format!(
                        "the Kafka cluster has {} brokers, {recommended} are recommended for {users} users",
                        topics.brokers
                    ),
                ));
            }
            let as_they_are = topics.topics.iter().filter_map(|topic| {
                let difference = topic
                    .difference
                    .as_ref()
                    .filter(|difference| difference.is_harmless())?;
                Some((difference.reason(), format!("topic {} {difference}", topic.name)))
            });
            notes.extend(as_they_are);
        }
        if let Some((last, users)) = chosen.and_then(|chosen| Some((chosen.beyond?, chosen.row.users))) {
            notes.push((
                "BeyondLadder",
                format!("the ladder ends at {last} users; its last row is scaled up in proportion to {users}"),
            ));
        }
        for component in pipeline
            .components()
            .filter(|component| component.short_of_connections > 0)
        {
            notes.push((
                "ConnectionsShort",
                format!(
                    "{} may have {} replicas fewer than asked for: maxConnections of a store allows no more",
                    component.name, component.short_of_connections
                ),
            ));
        }
        for consumer in pipeline
            .consumers
            .iter()
            .filter(|consumer| consumer.missing_partitions > 0)
        {
            notes.push((
                "PartitionsMissing",
                format!(
                    "{} may have {} replicas fewer than the ladder asks for: its topics have too few partitions",
                    consumer.component.name, consumer.missing_partitions
                ),
            ));
        }
    }
    for (component, trouble) in trouble::by_component(&seen.pods) {
        notes.insert(0, ("PodsInTrouble", format!("{component}: {}", trouble.message)));
    }
    match notes.first() {
        None => State::new(false, "AsRecommended", "nothing is short of what is recommended"),
        Some((reason, _)) => {
            let messages: Vec<&str> = notes.iter().map(|(_, message)| message.as_str()).collect();
            State::new(true, reason, messages.join("; "))
        }
    }
}

fn paused(seen: &Observations) -> State {
    if seen.paused {
        State::new(
            true,
            "PausedByAnnotation",
            "nothing is changed while the annotation syncpipeline.dev/paused is true",
        )
    } else {
        State::new(false, "NotPaused", "the pipeline is kept as its spec says")
    }
}

fn components(previous: &SyncPipelineStatus, pipeline: &Pipeline, seen: &Observations) -> Vec<ComponentStatus> {
    let producers = pipeline.producers.iter().map(|producer| {
        base(
            pipeline,
            seen,
            naming::PRODUCER,
            &producer.component,
            "HorizontalPodAutoscaler",
        )
    });
    let consumers = pipeline.consumers.iter().map(|consumer| {
        let name = &consumer.component.name;
        let before = previous.components.iter().find(|component| component.name == *name);
        let lag = seen.lag.as_ref().and_then(|lag| lag.readers.get(name));
        of_consumer(pipeline, seen, consumer, lag, before)
    });
    let insights = pipeline.insights.iter().map(|insight| {
        let kind = match insight.kind {
            InsightKind::Api => naming::INSIGHTS,
            InsightKind::SmsExtraction => naming::SMS_EXTRACTION,
        };
        base(pipeline, seen, kind, &insight.component, "HorizontalPodAutoscaler")
    });
    producers.chain(consumers).chain(insights).collect()
}

fn base(
    pipeline: &Pipeline,
    seen: &Observations,
    kind: &str,
    component: &Component,
    scaled_by: &str,
) -> ComponentStatus {
    let deployment = seen
        .deployments
        .get(&naming::object_name(&pipeline.name, &component.name));
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    ComponentStatus {
        name: component.name.clone(),
        kind: kind.to_owned(),
        replicas: status.and_then(|status| status.replicas).unwrap_or(0),
        ready: status.and_then(|status| status.ready_replicas).unwrap_or(0),
        wanted: match deployment {
            Some(deployment) if !component.bounds.is_off() => deployment.spec.replicas.unwrap_or(1),
            _ => component.bounds.min,
        },
        min: component.bounds.min,
        max: component.bounds.max,
        scaled_by: scaled_by.to_owned(),
        rung: None,
        rungs: vec![],
        lag: None,
        last_decision: None,
        message: match seen.trouble(&component.name) {
            Some(trouble) => trouble.message,
            None if component.bounds.is_off() => "it is switched off".to_owned(),
            None => String::new(),
        },
    }
}

impl Observations {
    /// What keeps a pod of a component from being ready.
    fn trouble(&self, component: &str) -> Option<Trouble> {
        trouble::by_component(&self.pods).remove(component)
    }

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

fn of_consumer(
    pipeline: &Pipeline,
    seen: &Observations,
    consumer: &Consumer,
    lag: Option<&Seen>,
    before: Option<&ComponentStatus>,
) -> ComponentStatus {
    let bounds = possible_bounds(consumer, seen);
    let (scaled_by, rungs) = match &consumer.scaling {
        Scaling::Ladder { thresholds, .. } => ("Ladder", ladder::rungs(bounds, thresholds.len())),
        Scaling::Fixed => ("Fixed", vec![]),
    };
    let mut component = base(pipeline, seen, naming::CONSUMER, &consumer.component, scaled_by);
    component.rungs = rungs;
    (component.min, component.max) = (bounds.min, bounds.max);
    let missing = consumer.missing_partitions + consumer.component.bounds.max - bounds.max;
    component.lag = lag.and_then(|seen| exact(seen.lag));
    let decision = lag.and_then(|seen| seen.decision.as_ref());
    component.rung = decision
        .and_then(|decision| decision.exceeded)
        .and_then(|steps| i32::try_from(steps).ok());
    component.last_decision = lag
        .and_then(|seen| seen.changed.as_ref())
        .map(|change| DecisionStatus {
            time: time(change.time),
            from: change.from,
            to: change.to,
            reason: change.reason.to_string(),
            message: change.message.clone(),
        })
        .or_else(|| before.and_then(|before| before.last_decision.clone()));
    if !component.message.is_empty() {
        return component;
    }
    component.message = if missing > 0 {
        format!(
            "the ladder asks for up to {} replicas; {missing} partitions are missing for that",
            bounds.max + missing
        )
    } else {
        // Numbers that change with every reading stay out: they would be a write each time.
        decision
            .map(|decision| explain(decision.reason).to_owned())
            .unwrap_or_default()
    };
    component
}

/// Bounds that the partitions which exist allow: where the topics are not known, those that are wanted.
fn possible_bounds(consumer: &Consumer, seen: &Observations) -> Bounds {
    let topics = seen.topics.iter().flat_map(|observed| &observed.topics);
    let read = topics.filter(|topic| topic.partitions > 0 && consumer.topics.contains(&topic.name));
    let cap = read.map(|topic| topic.partitions).max().unwrap_or(i32::MAX);
    let Bounds { min, max } = consumer.component.bounds;
    Bounds {
        min: min.min(cap),
        max: max.min(cap),
    }
}

/// A sentence for a decision that changed nothing.
fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::LagUnknown => "the lag is not known: replicas stay as they are",
        Reason::Rebalancing => "the group is rebalancing: replicas stay until it has settled",
        Reason::Cooldown => "the lag is low: one rung down after the cooldown",
        Reason::NotLowYet => "the lag must fall to half of the crossed threshold before a rung is given up",
        Reason::ManualScale => "somebody has set the replicas: they are kept for half an hour",
        Reason::ManualScaleOver => "the replicas that somebody had set are undone",
        Reason::Steady | Reason::LagAboveThreshold | Reason::LagLow | Reason::BelowMinimum | Reason::AboveMaximum => {
            "the replicas are what the lag asks for"
        }
    }
}

fn exact(lag: Lag) -> Option<i64> {
    match lag {
        Lag::Known(lag) => Some(lag),
        Lag::AtLeast(_) | Lag::Unknown => None,
    }
}

fn total_lag(seen: &Observations) -> Option<i64> {
    let readers = &seen.lag.as_ref()?.readers;
    if readers.is_empty() {
        return None;
    }
    readers.values().map(|seen| exact(seen.total)).sum()
}

fn workloads_available(seen: &Observations, components: &[ComponentStatus]) -> State {
    if seen.pipeline.is_none() && components.is_empty() {
        return State::unknown("NotPlanned", "no component was made yet");
    }
    let short: Vec<String> = components
        .iter()
        .filter(|component| component.ready < component.min.min(component.wanted.max(1)))
        .map(|component| {
            let short = format!(
                "{} has {} of {} pods ready",
                component.name, component.ready, component.min
            );
            match seen.trouble(&component.name) {
                Some(trouble) => format!("{short} ({})", trouble.message),
                None => short,
            }
        })
        .collect();
    if short.is_empty() {
        State::new(
            true,
            "AllAvailable",
            "every component has at least its least number of pods",
        )
    } else {
        State::new(false, "PodsNotReady", short.join("; "))
    }
}

fn scaling_active(seen: &Observations) -> State {
    let Some(snapshot) = &seen.lag else {
        return State::unknown("NotStarted", "the lag is not followed yet");
    };
    if let Some(problem) = &snapshot.problem {
        return State::new(
            false,
            problem.reason(),
            format!("the lag is not known, replicas stay: {problem}"),
        );
    }
    let unknown: Vec<&str> = snapshot
        .readers
        .iter()
        .filter(|(name, reader)| exact(reader.lag).is_none() && !seen.is_off(name))
        .map(|(name, _)| name.as_str())
        .collect();
    if unknown.is_empty() {
        State::new(true, "LagKnown", "the lag of every reader is followed")
    } else {
        State::new(
            false,
            "LagUnknown",
            format!("the lag of {} is not wholly known: replicas stay", unknown.join(", ")),
        )
    }
}

fn ready(seen: &Observations, parts: [&State; 3]) -> State {
    if let Some(failure) = &seen.failure {
        return State::new(false, failure.reason, &failure.message);
    }
    if seen.leaving {
        return State::new(
            false,
            "Deleting",
            "the pods stop, and then the topics go whose deletionPolicy is Delete",
        );
    }
    match parts.into_iter().find(|state| !state.holds()) {
        Some(state) => State::new(false, &state.reason, &state.message),
        None => State::new(
            true,
            "Running",
            "topics exist, pods are available and the lag is followed",
        ),
    }
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
        match seen.trouble(&component.name) {
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
