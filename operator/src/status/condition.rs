//! The conditions: what holds, since when, and why.

use chrono::{DateTime, Utc};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{Observations, time};
use crate::api::status::{ComponentStatus, SyncPipelineStatus};

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

/// State of a condition before it is dated.
pub(super) struct State {
    /// `True`, `False` or `Unknown`.
    status: &'static str,
    /// A word for machines.
    pub(super) reason: String,
    /// The same for people.
    pub(super) message: String,
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

    pub(super) fn holds(&self) -> bool {
        self.status == "True"
    }

    /// Dates the condition: the time is that of the last change of its status.
    pub(super) fn into_condition(
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

pub(super) fn topics_ready(seen: &Observations) -> State {
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
pub(super) fn degraded(seen: &Observations) -> State {
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
    for (component, trouble) in &seen.troubles {
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

pub(super) fn paused(seen: &Observations) -> State {
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

pub(super) fn workloads_available(seen: &Observations, components: &[ComponentStatus]) -> State {
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
            match seen.troubles.get(&component.name) {
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

pub(super) fn scaling_active(seen: &Observations) -> State {
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
        .filter(|(name, reader)| reader.lag.exact().is_none() && !seen.is_off(name))
        .map(|(name, _)| name.as_str())
        .collect();
    if unknown.is_empty() {
        match &snapshot.unmeasured {
            None => State::new(true, "LagKnown", "the lag of every reader is followed"),
            Some(problem) => State::new(
                true,
                "LagAlone",
                format!("the lag of every reader is followed, not what the pods use: {problem}"),
            ),
        }
    } else {
        State::new(
            false,
            "LagUnknown",
            format!(
                "the lag of {} is not wholly known: no pods are given up",
                unknown.join(", ")
            ),
        )
    }
}

pub(super) fn ready(seen: &Observations, parts: [&State; 3]) -> State {
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
