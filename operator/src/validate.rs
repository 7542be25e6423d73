//! From what a user wrote to a pipeline with every default filled in. Pure: no cluster, no Kafka.
//!
//! The API server has already checked what one field or one object can tell (see [`crate::api::spec`]); here
//! stands what needs the profile's defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use contract::{Source, header};
use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::ResourceExt;

use crate::api::duration;
use crate::api::spec::{
    self, Consumer as ConsumerSpec, Environment, LadderColumn, LadderScaling, Producer as ProducerSpec, Profile,
    Region, ScalingType, ServiceSettings, SyncPipeline, Topic as TopicSpec,
};
use crate::ladder::{self, Bounds};

/// How long messages of a topic are kept by default.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long dead letters are kept by default.
const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(14 * 24 * 3600);
/// How long the lag must be low before the next rung down, by default.
const COOLDOWN: Duration = Duration::from_secs(300);
/// Copies of a topic, and those that must have a message before it is acknowledged, by default.
const REPLICATION: (i32, i32) = (3, 2);
/// Partitions of a topic that neither the spec nor the profile sizes.
const PARTITIONS: i32 = 1;
/// Lag thresholds, in messages, where the spec gives none. One upload is one message, so a reader of single
/// events steps earlier than a reader of uploads: the design's values at 100,000 users.
const UPLOAD_THRESHOLDS: [i64; 3] = [100, 500, 1000];
const EVENT_THRESHOLDS: [i64; 4] = [3, 6, 8, 10];
/// What a write to the stores may take on top of the linger before the next commit is seen.
const COMMIT_SLACK: Duration = Duration::from_millis(300);

/// A pipeline with every default filled in: what the plan is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Name of the SyncPipeline.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Sizes and small-cluster rules.
    pub environment: Environment,
    /// Region, where one is given.
    pub region: Option<Region>,
    /// Row of the ladder.
    pub ladder: ladder::Chosen,
    /// The Kafka cluster as the user wrote it.
    pub kafka: spec::Kafka,
    /// The PostgreSQL server as the user wrote it.
    pub postgres: Option<spec::Postgres>,
    /// The MongoDB server as the user wrote it.
    pub mongodb: Option<spec::Mongodb>,
    /// Topics, dead-letter topics included.
    pub topics: Vec<Topic>,
    /// Producers.
    pub producers: Vec<Producer>,
    /// Consumers.
    pub consumers: Vec<Consumer>,
    /// Secrets with credentials of the image registry.
    pub image_pull_secrets: Vec<String>,
    /// When to pull images.
    pub image_pull_policy: Option<&'static str>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name, prefix included.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication_factor: i32,
    /// Settings by Kafka's names, `min.insync.replicas` apart: it depends on the brokers.
    pub config: BTreeMap<String, String>,
    /// Copies that must have a message before it is acknowledged.
    pub min_in_sync_replicas: i32,
}

/// What every component has.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Name within the pipeline.
    pub name: String,
    /// Image; the operator's default when absent.
    pub image: Option<String>,
    /// Least and most replicas.
    pub bounds: Bounds,
    /// Requests and limits; those of the environment when absent.
    pub resources: Option<ResourceRequirements>,
}

/// An HTTP API that writes to topics.
#[derive(Debug, Clone, PartialEq)]
pub struct Producer {
    /// What every component has.
    pub component: Component,
    /// Topics it writes to, prefix included.
    pub topics: Vec<String>,
    /// Its Service.
    pub service: ServiceSettings,
}

/// A reader of topics.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    /// What every component has.
    pub component: Component,
    /// Topics it reads, prefix included.
    pub topics: Vec<String>,
    /// Its consumer group, prefix included.
    pub group: String,
    /// Most records in one write.
    pub batch_max_records: i32,
    /// Longest wait for a write to fill.
    pub linger: Duration,
    /// How replicas follow the lag.
    pub scaling: Scaling,
    /// Replicas that the ladder or the spec asks for but the topics have no partitions for.
    pub missing_partitions: i32,
}

/// How replicas follow the lag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scaling {
    /// Along rungs.
    Ladder {
        /// Lags that lead one step up each, ascending.
        thresholds: Vec<i64>,
        /// How long the lag must be low before the next rung down.
        cooldown: Duration,
        /// Longest time between two commits of a busy reader.
        commit_interval: Duration,
    },
    /// Not at all.
    Fixed,
}

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
            component: resolve_component(&producer.name, &producer.component, bounds),
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
    })
}

/// The profile's lists with what the user wrote laid over them by name.
fn mobile_forge(spec: &spec::SyncPipelineSpec) -> (Vec<TopicSpec>, Vec<ProducerSpec>, Vec<ConsumerSpec>) {
    let mut topics = spec.topics.clone();
    for source in Source::ALL {
        let index = position_or_insert(
            &mut topics,
            |topic| topic.name == source.topic(),
            || named_topic(source.topic()),
        );
        let topic = &mut topics[index];
        topic.partitions.get_or_insert(source.partitions());
        if topic.except_regions.is_none() {
            topic.except_regions = Some(if source.except_regions().is_empty() {
                vec![]
            } else {
                vec![Region::India]
            });
        }
    }
    let mut producers = spec.producers.clone();
    let index = position_or_insert(&mut producers, |producer| producer.name == "producer", named_producer);
    producers[index]
        .topics
        .get_or_insert_with(|| Source::ALL.map(|source| source.topic().to_owned()).to_vec());

    let mut consumers = spec.consumers.clone();
    // One reader of everything, as `dev` may have it, replaces the three.
    let reads_all = consumers.iter().any(|consumer| consumer.name == "all");
    if !reads_all {
        for (name, sources) in [
            ("sms", vec![Source::Sms]),
            ("events", vec![Source::Events]),
            (
                "common",
                vec![Source::AppsAndDevice, Source::Contacts, Source::CallLogs],
            ),
        ] {
            let index = position_or_insert(
                &mut consumers,
                |consumer| consumer.name == name,
                || named_consumer(name),
            );
            let consumer = &mut consumers[index];
            consumer.group.get_or_insert_with(|| sources[0].group().to_owned());
            consumer
                .topics
                .get_or_insert_with(|| sources.iter().map(|source| source.topic().to_owned()).collect());
        }
    } else if let Some(all) = consumers.iter_mut().find(|consumer| consumer.name == "all") {
        all.group.get_or_insert_with(|| "all-consumer-group".to_owned());
        all.topics
            .get_or_insert_with(|| Source::ALL.map(|source| source.topic().to_owned()).to_vec());
    }
    (topics, producers, consumers)
}

fn position_or_insert<T>(list: &mut Vec<T>, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> usize {
    list.iter().position(is).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    })
}

fn named_topic(name: &str) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions: None,
        replication_factor: None,
        retention: None,
        retention_bytes: None,
        config: BTreeMap::new(),
        except_regions: None,
    }
}

fn named_producer() -> ProducerSpec {
    ProducerSpec {
        name: "producer".to_owned(),
        topics: None,
        service: ServiceSettings::default(),
        component: spec::Component::default(),
    }
}

fn named_consumer(name: &str) -> ConsumerSpec {
    ConsumerSpec {
        name: name.to_owned(),
        topics: None,
        group: None,
        batch: spec::Batch::default(),
        scaling: spec::Scaling::default(),
        component: spec::Component::default(),
    }
}

fn parse_duration(field: &str, text: Option<&String>, default: Duration) -> Result<Duration, InvalidSpec> {
    text.map_or(Ok(default), |text| {
        duration::parse(text).map_err(|error| invalid(field, error.to_string()))
    })
}

fn resolve_topic(kafka: &spec::Kafka, topic: &TopicSpec, index: usize) -> Result<Topic, InvalidSpec> {
    let field = format!("spec.topics[{index}]");
    let retention = parse_duration(&format!("{field}.retention"), topic.retention.as_ref(), RETENTION)?;
    let replication = topic
        .replication_factor
        .or(kafka.replication_factor)
        .unwrap_or(REPLICATION.0);
    let mut config = topic.config.clone();
    for (key, owner) in [
        ("retention.ms", "retention"),
        ("retention.bytes", "retentionBytes"),
        ("min.insync.replicas", "minInSyncReplicas"),
    ] {
        if config.contains_key(key) {
            return Err(invalid(
                format!("{field}.config"),
                format!("{key} is set by {owner}; write it there"),
            ));
        }
    }
    config.insert("retention.ms".to_owned(), retention.as_millis().to_string());
    if let Some(bytes) = topic.retention_bytes {
        config.insert("retention.bytes".to_owned(), bytes.to_string());
    }
    Ok(Topic {
        name: format!("{}{}", kafka.topic_prefix, topic.name),
        partitions: topic.partitions.unwrap_or(PARTITIONS),
        replication_factor: replication,
        min_in_sync_replicas: min_in_sync(kafka, replication),
        config,
    })
}

fn min_in_sync(kafka: &spec::Kafka, replication: i32) -> i32 {
    kafka.min_in_sync_replicas.unwrap_or(REPLICATION.1).min(replication)
}

fn resolve_component(name: &str, component: &spec::Component, bounds: Bounds) -> Component {
    Component {
        name: name.to_owned(),
        image: component.image.clone(),
        bounds,
        resources: component.resources.clone(),
    }
}

fn resolve_consumer(
    spec: &spec::SyncPipelineSpec,
    field: &str,
    consumer: &ConsumerSpec,
    reads: Vec<String>,
    topics: &[Topic],
    row: &ladder::Chosen,
) -> Result<Consumer, InvalidSpec> {
    let group = consumer
        .group
        .as_ref()
        .ok_or_else(|| invalid(format!("{field}.group"), "is needed with profile Custom"))?;
    let settings = consumer.scaling.ladder.clone().unwrap_or_default();
    let column = settings.column.or_else(|| column_of(&consumer.name));
    let asked = match (consumer.component.replicas, column) {
        (Some(replicas), _) => Bounds {
            min: replicas.min,
            max: replicas.max,
        },
        (None, Some(column)) => row.row.bounds(column),
        (None, None) => {
            return Err(invalid(
                format!("{field}.scaling.ladder.column"),
                "is needed where the component's name is no column of the ladder; or write replicas",
            ));
        }
    };
    // More readers than partitions of the largest topic would stand idle.
    let partitions = topics
        .iter()
        .filter(|topic| reads.contains(&topic.name))
        .map(|topic| topic.partitions)
        .max()
        .unwrap_or(asked.max);
    let bounds = Bounds {
        min: asked.min.min(partitions),
        max: asked.max.min(partitions),
    };
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
        ScalingType::Ladder => Scaling::Ladder {
            thresholds: thresholds(&settings, &reads, &spec.kafka.topic_prefix),
            cooldown,
            commit_interval: linger + COMMIT_SLACK,
        },
    };
    Ok(Consumer {
        component: resolve_component(&consumer.name, &consumer.component, bounds),
        topics: reads,
        group: format!("{}{group}", spec.kafka.group_prefix),
        batch_max_records: consumer.batch.max_records,
        linger,
        scaling,
        missing_partitions: (asked.max - partitions).max(0),
    })
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

/// A dead-letter topic for each topic that is read, where the spec does not declare one of that name.
fn add_dead_letter_topics(spec: &spec::SyncPipelineSpec, topics: &mut Vec<Topic>, consumers: &[Consumer]) {
    let read: BTreeSet<&String> = consumers.iter().flat_map(|consumer| &consumer.topics).collect();
    for topic in read {
        let name = header::dead_letter_topic(topic);
        if topics.iter().any(|topic| topic.name == name) {
            continue;
        }
        let replication = spec.kafka.replication_factor.unwrap_or(REPLICATION.0);
        let retention = DEAD_LETTER_RETENTION.as_millis().to_string();
        topics.push(Topic {
            name,
            partitions: PARTITIONS,
            replication_factor: replication,
            min_in_sync_replicas: min_in_sync(&spec.kafka, replication),
            config: BTreeMap::from([("retention.ms".to_owned(), retention)]),
        });
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
mod tests {
    use super::*;

    fn object(yaml: &str) -> SyncPipeline {
        crate::manifest::parse(yaml).unwrap()
    }

    fn short(extra: &str) -> SyncPipeline {
        object(&format!(
            "apiVersion: syncpipeline.dev/v1alpha1\nkind: SyncPipeline\nmetadata: {{name: p, namespace: n}}\nspec:\n  \
             dailyActiveUsers: 100000\n  kafka: {{bootstrapServers: ['k:9092']}}\n  \
             postgres: {{host: pg, credentialsSecretRef: {{name: pg}}}}\n{extra}"
        ))
    }

    #[test]
    fn the_short_form_is_the_whole_pipeline() {
        let pipeline = validate(&short("")).unwrap();
        let topics: Vec<_> = pipeline
            .topics
            .iter()
            .map(|topic| (topic.name.as_str(), topic.partitions))
            .collect();
        assert_eq!(
            topics,
            [
                ("sms_batched", 16),
                ("events_log", 20),
                ("apps_and_device_batched", 10),
                ("contacts_batched", 10),
                ("call_logs_batched", 10),
                ("apps_and_device_batched.dlq", 1),
                ("call_logs_batched.dlq", 1),
                ("contacts_batched.dlq", 1),
                ("events_log.dlq", 1),
                ("sms_batched.dlq", 1),
            ]
        );
        let consumers: Vec<_> = pipeline
            .consumers
            .iter()
            .map(|consumer| {
                (
                    consumer.component.name.as_str(),
                    consumer.group.as_str(),
                    consumer.component.bounds,
                )
            })
            .collect();
        assert_eq!(
            consumers,
            [
                ("sms", "sms-consumer-group", Bounds { min: 4, max: 16 }),
                ("events", "events-consumer-group", Bounds { min: 3, max: 10 }),
                ("common", "common-consumer-group", Bounds { min: 3, max: 10 }),
            ]
        );
    }

    #[test]
    fn region_india_has_no_contacts_and_no_calls_anywhere() {
        let pipeline = validate(&short("  region: India\n")).unwrap();
        let mentions = |names: &[String]| {
            names
                .iter()
                .any(|name| name.contains("contacts") || name.contains("call_logs"))
        };
        assert!(
            !pipeline
                .topics
                .iter()
                .any(|topic| mentions(std::slice::from_ref(&topic.name)))
        );
        assert!(!pipeline.producers.iter().any(|producer| mentions(&producer.topics)));
        assert!(!pipeline.consumers.iter().any(|consumer| mentions(&consumer.topics)));
    }

    #[test]
    fn a_reader_never_has_more_replicas_than_its_largest_topic_has_partitions() {
        let pipeline = validate(&short("  topics: [{name: sms_batched, partitions: 6}]\n")).unwrap();
        let sms = &pipeline.consumers[0];
        assert_eq!(sms.component.bounds, Bounds { min: 4, max: 6 });
        assert_eq!(sms.missing_partitions, 10);
    }

    #[test]
    fn a_clash_with_a_group_of_the_profile_names_both_readers() {
        let clash = short(
            "  consumers: [{name: mine, group: sms-consumer-group, topics: [sms_batched], replicas: {min: 1, max: 1}}]\n",
        );
        assert_eq!(
            validate(&clash).unwrap_err().to_string(),
            "spec.consumers[sms].group: mine and sms read topic sms_batched in one group sms-consumer-group; give one \
             of them another group or other topics"
        );
    }

    #[test]
    fn one_reader_of_everything_replaces_the_three() {
        let pipeline = validate(&short("  environment: dev\n  consumers: [{name: all}]\n")).unwrap();
        assert_eq!(pipeline.consumers.len(), 1);
        assert_eq!(pipeline.consumers[0].topics.len(), 5);
    }

    #[test]
    fn prefixes_stand_before_topics_and_groups() {
        let mut object = short("");
        object.spec.kafka.topic_prefix = "a.".into();
        object.spec.kafka.group_prefix = "b.".into();
        let pipeline = validate(&object).unwrap();
        assert!(pipeline.topics.iter().all(|topic| topic.name.starts_with("a.")));
        assert!(
            pipeline
                .consumers
                .iter()
                .all(|consumer| consumer.group.starts_with("b."))
        );
        assert_eq!(
            pipeline.consumers[1].scaling,
            Scaling::Ladder {
                thresholds: vec![3, 6, 8, 10],
                cooldown: Duration::from_secs(300),
                commit_interval: Duration::from_millis(500)
            }
        );
    }

    #[test]
    fn custom_fills_in_nothing_and_says_what_is_missing() {
        let custom = short(
            "  profile: Custom\n  topics: [{name: a}]\n  consumers: [{name: reader, topics: [a], replicas: {min: 1, max: 1}}]\n",
        );
        assert_eq!(
            validate(&custom).unwrap_err().to_string(),
            "spec.consumers[reader].group: is needed with profile Custom"
        );
    }
}
