//! How a reader is scaled, in a line for people. Pure.

use std::time::Duration;

use super::climb::without_gain;
use super::decide::seconds;
use crate::ladder::{self, Bounds};
use crate::validate::{Consumer, Pipeline, Scaling};

/// How a reader is scaled where its topics have the partitions of the spec.
pub fn of_consumer(pipeline: &Pipeline, consumer: &Consumer) -> String {
    let Bounds { min, max } = consumer.component.bounds;
    let partitions = partitions(pipeline, consumer);
    let mut parts = vec![match &consumer.scaling {
        Scaling::Fixed => format!("Fixed, {min} replicas"),
        Scaling::PerPartition => format!("PerPartition, {} replicas", partitions.clamp(min, max)),
        Scaling::Drain { target, cooldown, .. } => format!(
            "Drain, {min} to {max} replicas, what waits within {}, cooldown {}",
            seconds(*target),
            seconds(*cooldown)
        ),
        Scaling::Ladder {
            thresholds, cooldown, ..
        } => ladder(consumer.component.bounds, thresholds, *cooldown, partitions),
    }];
    parts.push(format!("{partitions} partitions"));
    if consumer.missing_partitions > 0 {
        parts.push(format!(
            "{} replicas more have no partition",
            consumer.missing_partitions
        ));
    }
    parts.extend(consumer.schedules.iter().map(ToString::to_string));
    parts.join("; ")
}

fn ladder(bounds: Bounds, thresholds: &[i64], cooldown: Duration, partitions: i32) -> String {
    let rungs = ladder::rungs(bounds, thresholds.len());
    let steps: Vec<String> = rungs
        .iter()
        .skip(1)
        .zip(thresholds)
        .map(|(rung, threshold)| format!("{rung} above {threshold}"))
        .collect();
    let useless: Vec<String> = without_gain(&rungs, partitions).iter().map(i32::to_string).collect();
    let useless = match useless.is_empty() {
        true => String::new(),
        false => format!(", of which {} write no more than the rung below", useless.join(" and ")),
    };
    let first = rungs.first().copied().unwrap_or(bounds.min);
    format!(
        "Ladder, {first} replicas, {} messages that wait{useless}, cooldown {}",
        steps.join(", "),
        seconds(cooldown)
    )
}

/// Partitions of the largest topic of a reader, by the spec; one where it reads none of the spec's.
pub fn partitions(pipeline: &Pipeline, consumer: &Consumer) -> i32 {
    let topics = pipeline.topics.iter();
    let read = topics.filter(|topic| consumer.topics.contains(&topic.name));
    read.map(|topic| topic.partitions).max().unwrap_or(1).max(1)
}
