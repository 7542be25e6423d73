//! The status of each component.

use super::{Observations, time};
use crate::api::status::{ComponentStatus, DecisionStatus, SyncPipelineStatus};
use crate::kafka::topics::ObservedTopics;
use crate::ladder;
use crate::plan::naming;
use crate::scale::climb::without_gain;
use crate::scale::decide::Reason;
use crate::scale::reader::coarse;
use crate::scale::seen::Seen;
use crate::validate::{Component, Consumer, Pipeline, Scaling};

/// All components, in the plan's order.
pub(super) fn components(
    previous: &SyncPipelineStatus,
    pipeline: &Pipeline,
    seen: &Observations,
) -> Vec<ComponentStatus> {
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
        let kind = naming::of_insight(insight.kind);
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
        rungs_without_gain: vec![],
        lag: None,
        lag_seconds: None,
        pod_rate: None,
        last_decision: None,
        message: message(seen, component),
    }
}

/// What keeps a component from its work, and who does it meanwhile.
fn message(seen: &Observations, component: &Component) -> String {
    let trouble = seen
        .troubles
        .get(&component.name)
        .map(|trouble| trouble.message.clone());
    let predecessor = seen.predecessors.get(&component.name);
    let meanwhile = predecessor.map(|before| format!("{before} reads on until these pods are ready"));
    let off = component.bounds.is_off().then(|| "it is switched off".to_owned());
    let notes: Vec<String> = [trouble, meanwhile, off].into_iter().flatten().collect();
    notes.join("; ")
}

fn of_consumer(
    pipeline: &Pipeline,
    seen: &Observations,
    consumer: &Consumer,
    lag: Option<&Seen>,
    before: Option<&ComponentStatus>,
) -> ComponentStatus {
    let wanted = consumer.component.bounds;
    let topics = seen.topics.as_ref();
    let bounds = topics.map_or(wanted, |topics| topics.possible(wanted, &consumer.topics));
    let rungs = match &consumer.scaling {
        Scaling::Ladder { thresholds, .. } => ladder::rungs(bounds, thresholds.len()),
        Scaling::Drain { .. } | Scaling::PerPartition | Scaling::Fixed => vec![],
    };
    let scaled_by = consumer.scaling.name();
    let mut component = base(pipeline, seen, naming::CONSUMER, &consumer.component, scaled_by);
    component.rungs_without_gain = without_gain(&rungs, largest(topics, consumer));
    component.rungs = rungs;
    (component.min, component.max) = (bounds.min, bounds.max);
    let missing = consumer.missing_partitions + wanted.max - bounds.max;
    component.lag = lag.and_then(|seen| seen.lag.exact());
    let delay = lag.and_then(|seen| seen.delay);
    component.lag_seconds = delay.and_then(|delay| i64::try_from(coarse(delay.lower_bound()).as_secs()).ok());
    component.pod_rate = pod_rate(lag, before);
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
    // Nobody is meant to read for a reader that is none.
    let ill = lag.and_then(|seen| seen.ill.as_ref()).filter(|_| component.wanted > 0);
    component.message = if let Some(ill) = ill {
        // Which partitions it is changes with every reading, and would be a write each time.
        format!("a partition of {} {}", ill.topic, ill.health.text())
    } else if missing > 0 {
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

/// Partitions of a consumer's largest topic; none while that is not known.
fn largest(topics: Option<&ObservedTopics>, consumer: &Consumer) -> i32 {
    let present = topics.iter().flat_map(|topics| &topics.topics);
    let read = present.filter(|topic| consumer.topics.contains(&topic.name));
    read.map(|topic| topic.partitions).max().unwrap_or(0)
}

/// What a pod writes in a minute. One that is nearly what the status says already stays: it would be a write each time.
fn pod_rate(lag: Option<&Seen>, before: Option<&ComponentStatus>) -> Option<i64> {
    let known = before.and_then(|before| before.pod_rate);
    let Some(measured) = lag
        .and_then(|seen| seen.pod_rate)
        .map(|rate| (rate * 60.0).round() as i64)
    else {
        return known;
    };
    let is_near = |known: &i64| (known - measured).abs() * 5 <= *known;
    known.filter(is_near).or(Some(measured))
}

/// A sentence for a decision that changed nothing.
fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::LagUnknown => "the lag is not known: replicas stay as they are",
        Reason::Rebalancing => "the group is rebalancing: replicas stay until it has settled",
        Reason::Cooldown => "fewer replicas are enough: there are fewer after the cooldown",
        Reason::NoHelp => "more replicas have written no more: what they write to is the limit",
        Reason::PodsNotComing => "more replicas would be asked for, but those that were asked for do not become ready",
        Reason::Partitions => "there is one replica for each partition",
        Reason::CpuAboveTarget => "the pods use more than half of their CPU",
        Reason::MemoryAboveTarget => "the pods use more than half of their memory",
        Reason::Schedule => "the schedule asks for so many replicas at this hour",
        Reason::Idle => "nothing arrives: there are no replicas until something does",
        Reason::NotLowYet => "the lag must fall to half of the crossed threshold before a rung is given up",
        Reason::ManualScale => "somebody has set the replicas: they are kept for half an hour",
        Reason::ManualScaleOver => "the replicas that somebody had set are undone",
        Reason::Probe => "nothing waits: fewer replicas are enough, or show what a pod writes",
        Reason::Steady
        | Reason::LagAboveThreshold
        | Reason::Backlog
        | Reason::Arrivals
        | Reason::LagLow
        | Reason::BelowMinimum
        | Reason::AboveMaximum => "the replicas are what the lag asks for",
    }
}
