//! The status of each component.

use super::{Observations, time};
use crate::api::status::{ComponentStatus, DecisionStatus, SyncPipelineStatus};
use crate::ladder;
use crate::plan::naming;
use crate::scale::decide::Reason;
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
        lag: None,
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
    let (scaled_by, rungs) = match &consumer.scaling {
        Scaling::Ladder { thresholds, .. } => ("Ladder", ladder::rungs(bounds, thresholds.len())),
        Scaling::Fixed => ("Fixed", vec![]),
    };
    let mut component = base(pipeline, seen, naming::CONSUMER, &consumer.component, scaled_by);
    component.rungs = rungs;
    (component.min, component.max) = (bounds.min, bounds.max);
    let missing = consumer.missing_partitions + wanted.max - bounds.max;
    component.lag = lag.and_then(|seen| seen.lag.exact());
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
