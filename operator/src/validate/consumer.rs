//! Readers: group, bounds and scaling.

use std::time::Duration;

use contract::Source;

use super::{Consumer, InvalidSpec, Scaling, Topic, bounds_of, invalid, parse_duration, resolve_component};
use crate::api::spec::{self, Consumer as ConsumerSpec, LadderColumn, LadderScaling, ScalingType};
use crate::ladder::{self, Bounds};
use crate::scale::schedule::Schedule;

/// How long fewer replicas must have been enough, by default.
const COOLDOWN: Duration = Duration::from_secs(300);
/// Lag thresholds, in messages, where the spec gives none. One upload is one message, so a reader of single
/// events steps earlier than a reader of uploads: the design's values at 100,000 users.
const UPLOAD_THRESHOLDS: [i64; 3] = [100, 500, 1000];
const EVENT_THRESHOLDS: [i64; 4] = [3, 6, 8, 10];
/// Within which `Drain` writes what waits, by default.
const DRAIN_TARGET: Duration = Duration::from_secs(60);
const LEAST_DRAIN_TARGET: Duration = Duration::from_secs(1);
/// What a write to the stores may take on top of the linger before the next commit is seen.
const COMMIT_SLACK: Duration = Duration::from_millis(300);

pub(super) fn resolve_consumer(
    spec: &spec::SyncPipelineSpec,
    field: &str,
    consumer: &ConsumerSpec,
    reads: Vec<String>,
    topics: &[Topic],
    row: Option<&ladder::Chosen>,
) -> Result<Consumer, InvalidSpec> {
    let group = consumer.group.as_ref().ok_or_else(|| {
        invalid(
            format!("{field}.group"),
            "is needed: only consumers that the profile MobileForge knows by name have a group of their own",
        )
    })?;
    let settings = consumer.scaling.ladder.clone().unwrap_or_default();
    let column = settings.column.or_else(|| column_of(&consumer.name));
    let asked = match (consumer.scaling.type_, column) {
        // Nothing but the partitions bounds it.
        (ScalingType::PerPartition, None) if consumer.component.replicas.is_none() => Bounds { min: 1, max: i32::MAX },
        _ => bounds_of(field, &consumer.component, column, row)?,
    };
    // More readers than partitions of the largest topic would stand idle.
    let partitions = topics
        .iter()
        .filter(|topic| reads.contains(&topic.name))
        .map(|topic| topic.partitions)
        .max()
        .unwrap_or(asked.max);
    let bounds = asked.at_most(partitions);
    let linger = parse_duration(
        &format!("{field}.batch.linger"),
        Some(&consumer.batch.linger),
        Duration::ZERO,
    )?;
    let cooldown = parse_duration(
        &format!("{field}.scaling.cooldown"),
        consumer.scaling.cooldown.as_ref(),
        COOLDOWN,
    )?;
    let scaling = match consumer.scaling.type_ {
        ScalingType::Fixed => Scaling::Fixed,
        ScalingType::PerPartition => Scaling::PerPartition,
        ScalingType::Drain => Scaling::Drain {
            target: drain_target(field, consumer)?,
            cooldown,
            commit_interval: linger + COMMIT_SLACK,
        },
        ScalingType::Ladder => Scaling::Ladder {
            thresholds: thresholds(&settings, &reads, &spec.kafka.topic_prefix),
            cooldown,
            commit_interval: linger + COMMIT_SLACK,
        },
    };
    Ok(Consumer {
        component: resolve_component(&consumer.name, &consumer.component, bounds, contract::port::CONSUMER),
        topics: reads,
        group: format!("{}{group}", spec.kafka.group_prefix),
        batch_max_records: consumer.batch.max_records,
        parallel_writes: consumer.batch.parallel_writes,
        linger,
        scaling,
        schedules: schedules(field, consumer)?,
        trace: consumer.scaling.trace.unwrap_or(false),
        missing_partitions: match consumer.scaling.type_ {
            ScalingType::PerPartition => 0,
            _ => (asked.max - partitions).max(0),
        },
    })
}

fn drain_target(field: &str, consumer: &ConsumerSpec) -> Result<Duration, InvalidSpec> {
    let field = format!("{field}.scaling.drain.target");
    let written = consumer.scaling.drain.as_ref().and_then(|drain| drain.target.as_ref());
    let target = parse_duration(&field, written, DRAIN_TARGET)?;
    if target < LEAST_DRAIN_TARGET {
        return Err(invalid(field, "must be at least 1s: no pod starts sooner"));
    }
    Ok(target)
}

fn schedules(field: &str, consumer: &ConsumerSpec) -> Result<Vec<Schedule>, InvalidSpec> {
    let written = consumer.scaling.schedules.iter().flatten().enumerate();
    written
        .map(|(index, spec)| {
            Schedule::new(&spec.start, &spec.end, &spec.time_zone, spec.min_replicas).map_err(|error| {
                let field = format!("{field}.scaling.schedules[{index}].{}", error.field());
                invalid(field, error.to_string())
            })
        })
        .collect()
}

/// The component's own name chooses its column; a reader of everything is as large as the largest.
fn column_of(name: &str) -> Option<LadderColumn> {
    match name {
        "sms" | "all" => Some(LadderColumn::Sms),
        "events" => Some(LadderColumn::Events),
        "common" => Some(LadderColumn::Common),
        _ => None,
    }
}

fn thresholds(settings: &LadderScaling, reads: &[String], prefix: &str) -> Vec<i64> {
    settings.lag_thresholds.clone().unwrap_or_else(|| {
        let only_events = reads
            .iter()
            .all(|topic| Source::of_topic(topic, prefix) == Some(Source::Events));
        if only_events {
            EVENT_THRESHOLDS.to_vec()
        } else {
            UPLOAD_THRESHOLDS.to_vec()
        }
    })
}
