//! From what a user wrote to a pipeline with every default filled in. Pure: no cluster, no Kafka.
//!
//! The API server has already checked what one field or one object can tell (see [`crate::api::spec`]); here
//! stands what needs the profile's defaults.
//!
//! - [`pipeline`]: the result
//! - `profile`: what MobileForge fills in; `topic`, `producer`, `consumer`, `insights`, `region`: one part each
//! - [`connections`]: what the stores can bear

pub mod connections;
mod consumer;
mod insights;
pub mod pipeline;
mod producer;
mod profile;
mod region;
mod topic;

use std::collections::BTreeSet;
use std::time::Duration;

use contract::Source;
use kube::ResourceExt;

use crate::api::duration;
use crate::api::spec::{self, LadderColumn, Profile, SyncPipeline, Topic as TopicSpec};
use crate::ladder::{self, Bounds};

use connections::Pools;
use consumer::resolve_consumer;
use insights::resolve_insights;
pub use pipeline::{Component, Consumer, Insight, InsightKind, Pipeline, Producer, Scaling, Topic};
use producer::idempotency_window;
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

    let enabled = |field: &str, names: Option<&Vec<String>>, own_image: bool| -> Result<Vec<String>, InvalidSpec> {
        let names = names.ok_or_else(|| {
            invalid(
                field,
                "is needed: only components that the profile MobileForge knows by name have topics of their own",
            )
        })?;
        if let Some(unknown) = names.iter().find(|name| !known.contains(name.as_str())) {
            return Err(invalid(
                field,
                format!("topic {unknown:?} is not declared in spec.topics"),
            ));
        }
        let no_source = names.iter().find(|name| Source::of_topic(name, "").is_none());
        if let Some(topic) = no_source.filter(|_| own_image) {
            let sources = Source::ALL.map(Source::topic).join(", ");
            return Err(invalid(
                field,
                format!(
                    "topic {topic} is none that the operator's own image knows ({sources}); give the component an image"
                ),
            ));
        }
        let here = names.iter().filter(|name| !absent.contains(name.as_str()));
        Ok(here.map(|name| format!("{}{name}", spec.kafka.topic_prefix)).collect())
    };
    let row = ladder::row_for(&rows(spec)?, spec.daily_active_users);

    let mut producers = Vec::new();
    for producer in &producer_specs {
        let field = format!("spec.producers[{}]", producer.name);
        let component = &producer.component;
        let bounds = bounds_of(&field, component, Some(LadderColumn::Producer), row.as_ref())?;
        producers.push(Producer {
            component: resolve_component(&producer.name, component, bounds, contract::port::PRODUCER),
            topics: enabled(
                &format!("{field}.topics"),
                producer.topics.as_ref(),
                component.image.is_none(),
            )?,
            service: producer.service.clone(),
            ingress: producer.ingress.clone(),
            api_keys: producer.api_keys,
            idempotency_window: idempotency_window(spec, &field, producer)?,
        });
    }

    let mut consumers = Vec::new();
    for consumer in &consumer_specs {
        let field = format!("spec.consumers[{}]", consumer.name);
        let own_image = consumer.component.image.is_none();
        let reads = enabled(&format!("{field}.topics"), consumer.topics.as_ref(), own_image)?;
        if reads.is_empty() {
            // Every topic of this reader is left out of the region.
            continue;
        }
        consumers.push(resolve_consumer(spec, &field, consumer, reads, &topics, row.as_ref())?);
    }
    let insights = resolve_insights(spec, row.as_ref())?;
    check_names(&producers, &consumers, &insights)?;
    check_groups(&consumers)?;
    check_stores(spec, &consumers)?;
    add_dead_letter_topics(spec, &mut topics, &consumers);

    let pipeline = Pipeline {
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
        insights,
        pools: Pools::default(),
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
    };
    Ok(connections::fit(pipeline))
}

/// The ladder's rows, ascending.
fn rows(spec: &spec::SyncPipelineSpec) -> Result<Vec<ladder::Row>, InvalidSpec> {
    if spec.ladder.is_empty() {
        return Ok(ladder::built_in());
    }
    let bounds = |bounds: spec::ReplicaBounds| Bounds {
        min: bounds.min,
        max: bounds.max,
    };
    let mut rows: Vec<ladder::Row> = spec
        .ladder
        .iter()
        .map(|row| ladder::Row {
            users: row.users,
            columns: row
                .columns()
                .map(|(column, replicas)| (column, bounds(replicas)))
                .collect(),
            brokers: row.brokers.map(bounds),
        })
        .collect();
    rows.sort_by_key(|row| row.users);
    match rows.windows(2).find(|pair| pair[0].users == pair[1].users) {
        Some(pair) => Err(invalid(
            format!("spec.ladder[{}]", pair[0].users),
            "two rows are made for this number of users; leave one of them out",
        )),
        None => Ok(rows),
    }
}

/// Least and most replicas: the component's own, or those of its column in the row.
fn bounds_of(
    field: &str,
    component: &spec::Component,
    column: Option<LadderColumn>,
    row: Option<&ladder::Chosen>,
) -> Result<Bounds, InvalidSpec> {
    if let Some(spec::ReplicaBounds { min, max }) = component.replicas {
        return Ok(Bounds { min, max });
    }
    let Some(column) = column else {
        return Err(invalid(
            format!("{field}.scaling.ladder.column"),
            "is needed where the component's name is no column of the ladder; or write replicas, as the other types of \
             scaling need",
        ));
    };
    let bounds = row.and_then(|chosen| chosen.row.columns.get(&column));
    bounds.copied().ok_or_else(|| {
        let users = row.map_or(0, |chosen| chosen.row.users);
        invalid(
            format!("spec.ladder[{users}].{}", column.name()),
            format!("is needed by {field}; or write its replicas"),
        )
    })
}

/// What the operator's own image of consumers writes to.
fn check_stores(spec: &spec::SyncPipelineSpec, consumers: &[Consumer]) -> Result<(), InvalidSpec> {
    let mut own = consumers.iter().filter(|consumer| consumer.component.image.is_none());
    let Some(consumer) = own.next() else { return Ok(()) };
    let needed = |field: &str, what: &str| {
        invalid(
            field,
            format!("is needed: spec.consumers[{}] {what}", consumer.component.name),
        )
    };
    if spec.postgres.is_none() {
        return Err(needed("spec.postgres", "writes to it and keeps its ledger in it"));
    }
    if spec.mongodb.is_none() {
        return Err(needed("spec.mongodb", "writes to it"));
    }
    Ok(())
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
        short_of_connections: 0,
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

fn check_names(producers: &[Producer], consumers: &[Consumer], insights: &[Insight]) -> Result<(), InvalidSpec> {
    // The names that are fixed first: the others can be chosen.
    let mut seen: BTreeSet<&String> = insights.iter().map(|insight| &insight.component.name).collect();
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
