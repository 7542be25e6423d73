//! From what a user wrote to a pipeline with every default filled in. Pure: no cluster, no Kafka.
//!
//! The API server has already checked what one field or one object can tell (see [`crate::api::spec`]); here
//! stands what needs the profile's defaults.
//!
//! - [`pipeline`]: the result
//! - `profile`: what MobileForge fills in; `topic`, `consumer`, `region`: one part each

mod consumer;
pub mod pipeline;
mod profile;
mod region;
mod topic;

use std::collections::BTreeSet;
use std::time::Duration;

use kube::ResourceExt;

use crate::api::duration;
use crate::api::spec::{self, Profile, SyncPipeline, Topic as TopicSpec};
use crate::ladder::{self, Bounds};

use consumer::resolve_consumer;
pub use pipeline::{Component, Consumer, Pipeline, Producer, Scaling, Topic};
use profile::mobile_forge;
pub(crate) use region::aws_region;
use topic::{add_dead_letter_topics, resolve_topic};

/// A spec that cannot become a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidSpec {
    /// Path of the field.
    pub field: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> InvalidSpec {
    InvalidSpec {
        field: field.into(),
        problem: problem.into(),
    }
}

/// Fills in the defaults of profile, environment and ladder, and checks what depends on them.
pub fn validate(object: &SyncPipeline) -> Result<Pipeline, InvalidSpec> {
    let spec = &object.spec;
    let (topic_specs, producer_specs, consumer_specs) = match spec.profile {
        Profile::Custom => (spec.topics.clone(), spec.producers.clone(), spec.consumers.clone()),
        Profile::MobileForge => mobile_forge(spec),
    };
    let present = |topic: &&TopicSpec| {
        !spec
            .region
            .is_some_and(|region| topic.except_regions.iter().flatten().any(|except| *except == region))
    };
    let absent: BTreeSet<&str> = topic_specs
        .iter()
        .filter(|topic| !present(topic))
        .map(|topic| topic.name.as_str())
        .collect();
    let known: BTreeSet<&str> = topic_specs.iter().map(|topic| topic.name.as_str()).collect();
    let mut topics = topic_specs
        .iter()
        .filter(present)
        .enumerate()
        .map(|(index, topic)| resolve_topic(&spec.kafka, topic, index))
        .collect::<Result<Vec<_>, _>>()?;

    let enabled = |field: &str, names: Option<&Vec<String>>| -> Result<Vec<String>, InvalidSpec> {
        let names = names.ok_or_else(|| invalid(field, "is needed with profile Custom"))?;
        if let Some(unknown) = names.iter().find(|name| !known.contains(name.as_str())) {
            return Err(invalid(
                field,
                format!("topic {unknown:?} is not declared in spec.topics"),
            ));
        }
        let here = names.iter().filter(|name| !absent.contains(name.as_str()));
        Ok(here.map(|name| format!("{}{name}", spec.kafka.topic_prefix)).collect())
    };
    let row = ladder::row_for(spec.daily_active_users);

    let mut producers = Vec::new();
    for producer in &producer_specs {
        let field = format!("spec.producers[{}]", producer.name);
        let bounds = match (producer.component.replicas, spec.profile) {
            (Some(replicas), _) => Bounds {
                min: replicas.min,
                max: replicas.max,
            },
            _ => row.row.producer,
        };
        producers.push(Producer {
            component: resolve_component(&producer.name, &producer.component, bounds, contract::port::PRODUCER),
            topics: enabled(&format!("{field}.topics"), producer.topics.as_ref())?,
            service: producer.service.clone(),
        });
    }

    let mut consumers = Vec::new();
    for consumer in &consumer_specs {
        let field = format!("spec.consumers[{}]", consumer.name);
        let reads = enabled(&format!("{field}.topics"), consumer.topics.as_ref())?;
        if reads.is_empty() {
            // Every topic of this reader is left out of the region.
            continue;
        }
        consumers.push(resolve_consumer(spec, &field, consumer, reads, &topics, &row)?);
    }
    check_names(&producers, &consumers)?;
    check_groups(&consumers)?;
    if !consumers.is_empty() && spec.postgres.is_none() {
        return Err(invalid(
            "spec.postgres",
            "is needed: consumers write to it and keep their ledger in it",
        ));
    }
    add_dead_letter_topics(spec, &mut topics, &consumers);

    Ok(Pipeline {
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_else(|| "default".to_owned()),
        environment: spec.environment,
        region: spec.region,
        ladder: row,
        kafka: spec.kafka.clone(),
        aws_region: aws_region(&spec.kafka)?,
        postgres: spec.postgres.clone(),
        mongodb: spec.mongodb.clone(),
        topics,
        producers,
        consumers,
        image_pull_secrets: spec
            .image_pull_secrets
            .iter()
            .map(|secret| secret.name.clone())
            .collect(),
        image_pull_policy: spec.image_pull_policy.map(|policy| match policy {
            spec::ImagePullPolicy::Always => "Always",
            spec::ImagePullPolicy::IfNotPresent => "IfNotPresent",
            spec::ImagePullPolicy::Never => "Never",
        }),
        network_policy: spec.network_policy.clone(),
        service_account: spec.service_account.clone().unwrap_or_default(),
    })
}

fn parse_duration(field: &str, text: Option<&String>, default: Duration) -> Result<Duration, InvalidSpec> {
    text.map_or(Ok(default), |text| {
        duration::parse(text).map_err(|error| invalid(field, error.to_string()))
    })
}

fn resolve_component(name: &str, component: &spec::Component, bounds: Bounds, default_port: u16) -> Component {
    Component {
        name: name.to_owned(),
        image: component.image.clone(),
        bounds,
        resources: component.resources.clone(),
        // The API server has checked the range.
        port: component
            .port
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(default_port),
        probes: component.probes.clone(),
        env: component.env.clone(),
        pod: component.pod.clone(),
    }
}

fn check_names(producers: &[Producer], consumers: &[Consumer]) -> Result<(), InvalidSpec> {
    let mut seen = BTreeSet::new();
    let producers = producers
        .iter()
        .map(|producer| ("spec.producers", &producer.component.name));
    let consumers = consumers
        .iter()
        .map(|consumer| ("spec.consumers", &consumer.component.name));
    for (list, name) in producers.chain(consumers) {
        if !seen.insert(name) {
            return Err(invalid(
                format!("{list}[{name}].name"),
                "another component has this name; choose another",
            ));
        }
    }
    Ok(())
}

fn check_groups(consumers: &[Consumer]) -> Result<(), InvalidSpec> {
    for (index, one) in consumers.iter().enumerate() {
        for other in &consumers[index + 1..] {
            if one.group != other.group {
                continue;
            }
            if let Some(topic) = one.topics.iter().find(|topic| other.topics.contains(topic)) {
                return Err(invalid(
                    format!("spec.consumers[{}].group", other.component.name),
                    format!(
                        "{} and {} read topic {topic} in one group {}; give one of them another group or other topics",
                        one.component.name, other.component.name, one.group
                    ),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
