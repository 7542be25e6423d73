//! What was filled in where the user wrote nothing: for `status.resolved`, and to tell when another version of the
//! operator fills in something else. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use crate::api::SyncPipelineSpec;
use crate::api::spec::{Component as ComponentSpec, Topic as TopicSpec};
use crate::ladder::Bounds;
use crate::plan::Settings;
use crate::validate::{Component, Consumer, InsightKind, Pipeline, Scaling, Topic};

/// Values by the path of the field that could have been written, such as `consumers[sms].group`.
pub type Resolved = BTreeMap<String, String>;

/// Every default of `pipeline` that `spec` does not write itself.
pub fn filled_in(spec: &SyncPipelineSpec, pipeline: &Pipeline, settings: &Settings) -> Resolved {
    let mut resolved = Resolved::new();
    let sasl = spec.kafka.security.as_ref().and_then(|security| security.sasl.as_ref());
    let written = sasl.and_then(|sasl| sasl.aws_region.as_ref());
    if let (Some(region), None) = (&pipeline.aws_region, written) {
        resolved.insert("kafka.security.sasl.awsRegion".to_owned(), region.clone());
    }
    let prefix = spec.kafka.topic_prefix.as_str();
    for topic in &pipeline.topics {
        let name = topic.name.strip_prefix(prefix).unwrap_or(&topic.name);
        let written = spec.topics.iter().find(|written| written.name == name);
        of_topic(&mut resolved, spec, name, written, topic);
    }
    for producer in &pipeline.producers {
        let name = &producer.component.name;
        let written = spec.producers.iter().find(|written| written.name == *name);
        let mut lines = Lines::of(&mut resolved, "producers", name);
        lines.unless(
            written.is_some_and(|written| written.topics.is_some()),
            "topics",
            || list(&producer.topics),
        );
        let component = written.map(|written| &written.component);
        of_component(&mut lines, component, &producer.component, &settings.producer_image);
    }
    for consumer in &pipeline.consumers {
        of_consumer(&mut resolved, spec, consumer, settings);
    }
    for insight in &pipeline.insights {
        let written = spec.insights.as_ref().and_then(|insights| match insight.kind {
            InsightKind::Api => insights.api.as_ref(),
            InsightKind::SmsExtraction => insights.sms_extraction.as_ref(),
        });
        let path = insight.kind.field().trim_start_matches("spec.").to_owned();
        let mut lines = Lines {
            resolved: &mut resolved,
            path,
        };
        of_component(
            &mut lines,
            written.map(|written| &written.component),
            &insight.component,
            "",
        );
    }
    resolved
}

/// What differs between two versions of the operator, in words.
pub fn differences(before: &Resolved, now: &Resolved) -> Vec<String> {
    let paths = before
        .keys()
        .chain(now.keys())
        .collect::<std::collections::BTreeSet<_>>();
    let text = |value: Option<&String>| value.map_or("nothing", String::as_str).to_owned();
    paths
        .into_iter()
        .filter(|path| before.get(*path) != now.get(*path))
        .map(|path| format!("{path}: {} → {}", text(before.get(path)), text(now.get(path))))
        .collect()
}

fn of_topic(resolved: &mut Resolved, spec: &SyncPipelineSpec, name: &str, written: Option<&TopicSpec>, topic: &Topic) {
    let mut lines = Lines::of(resolved, "topics", name);
    lines.unless(
        written.is_some_and(|topic| topic.partitions.is_some()),
        "partitions",
        || topic.partitions,
    );
    let copies = written
        .and_then(|topic| topic.replication_factor)
        .or(spec.kafka.replication_factor);
    lines.unless(copies.is_some(), "replicationFactor", || topic.replication_factor);
    lines.unless(spec.kafka.min_in_sync_replicas.is_some(), "minInSyncReplicas", || {
        topic.min_in_sync_replicas
    });
    if let Some(retention) = topic.config.get("retention.ms") {
        lines.unless(
            written.is_some_and(|topic| topic.retention.is_some()),
            "retention",
            || format!("{retention}ms"),
        );
    }
}

fn of_consumer(resolved: &mut Resolved, spec: &SyncPipelineSpec, consumer: &Consumer, settings: &Settings) {
    let name = &consumer.component.name;
    let written = spec.consumers.iter().find(|written| written.name == *name);
    let mut lines = Lines::of(resolved, "consumers", name);
    lines.unless(
        written.is_some_and(|written| written.topics.is_some()),
        "topics",
        || list(&consumer.topics),
    );
    lines.unless(written.is_some_and(|written| written.group.is_some()), "group", || {
        consumer.group.clone()
    });
    if let Scaling::Ladder {
        thresholds, cooldown, ..
    } = &consumer.scaling
    {
        let ladder = written.and_then(|written| written.scaling.ladder.as_ref());
        let own = ladder.is_some_and(|ladder| ladder.lag_thresholds.is_some());
        lines.unless(own, "scaling.ladder.lagThresholds", || list(thresholds));
        let own = written.is_some_and(|written| written.scaling.cooldown.is_some());
        lines.unless(own, "scaling.cooldown", || seconds(*cooldown));
    }
    if let Scaling::Drain { target, cooldown, .. } = &consumer.scaling {
        let drain = written.and_then(|written| written.scaling.drain.as_ref());
        let own = drain.is_some_and(|drain| drain.target.is_some());
        lines.unless(own, "scaling.drain.target", || seconds(*target));
        let own = written.is_some_and(|written| written.scaling.cooldown.is_some());
        lines.unless(own, "scaling.cooldown", || seconds(*cooldown));
    }
    let component = written.map(|written| &written.component);
    of_component(&mut lines, component, &consumer.component, &settings.consumer_image);
}

fn of_component(lines: &mut Lines<'_>, written: Option<&ComponentSpec>, component: &Component, image: &str) {
    let replicas = written.is_some_and(|written| written.replicas.is_some());
    let Bounds { min, max } = component.bounds;
    lines.unless(replicas, "replicas", || format!("{min}–{max}"));
    lines.unless(component.image.is_some(), "image", || image.to_owned());
}

/// Lines about one item of a list.
struct Lines<'a> {
    resolved: &'a mut Resolved,
    path: String,
}

impl<'a> Lines<'a> {
    fn of(resolved: &'a mut Resolved, list: &str, name: &str) -> Lines<'a> {
        let path = format!("{list}[{name}]");
        Lines { resolved, path }
    }

    fn unless<T: Display>(&mut self, written: bool, field: &str, value: impl FnOnce() -> T) {
        if !written {
            self.resolved
                .insert(format!("{}.{field}", self.path), value().to_string());
        }
    }
}

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SyncPipeline;
    use crate::validate::validate;

    fn resolved(extra: &str) -> Resolved {
        let object: SyncPipeline = crate::manifest::parse(&format!(
            "apiVersion: syncpipeline.dev/v1alpha1\nkind: SyncPipeline\nmetadata: {{name: p, namespace: n}}\nspec:\n  \
             dailyActiveUsers: 100000\n  kafka: {{bootstrapServers: ['k:9092'], topicPrefix: a.}}\n  \
             postgres: {{host: pg, credentialsSecretRef: {{name: pg}}}}\n  \
             mongodb: {{host: mg, credentialsSecretRef: {{name: mg}}}}\n{extra}"
        ))
        .unwrap();
        let settings = Settings {
            producer_image: "p:1".into(),
            consumer_image: "c:1".into(),
            monitoring_namespace: "m".into(),
        };
        filled_in(&object.spec, &validate(&object).unwrap(), &settings)
    }

    #[test]
    fn the_short_form_names_every_default() {
        let resolved = resolved("");
        for (path, value) in [
            ("topics[sms_batched].partitions", "16"),
            ("topics[sms_batched].replicationFactor", "3"),
            ("topics[sms_batched].retention", "604800000ms"),
            ("producers[producer].replicas", "4–10"),
            ("producers[producer].image", "p:1"),
            ("consumers[sms].group", "sms-consumer-group"),
            ("consumers[sms].topics", "a.sms_batched"),
            ("consumers[sms].replicas", "4–16"),
            ("consumers[events].scaling.ladder.lagThresholds", "3,6,8,10"),
            ("consumers[common].scaling.cooldown", "300s"),
        ] {
            assert_eq!(resolved.get(path).map(String::as_str), Some(value), "{path}");
        }
    }

    #[test]
    fn what_the_user_wrote_is_no_default() {
        let resolved = resolved(
            "  topics: [{name: sms_batched, partitions: 20, retention: 1h}]\n  \
             consumers: [{name: sms, group: g, image: i, replicas: {min: 1, max: 2}}]\n",
        );
        for path in [
            "topics[sms_batched].partitions",
            "topics[sms_batched].retention",
            "consumers[sms].group",
            "consumers[sms].image",
            "consumers[sms].replicas",
        ] {
            assert_eq!(resolved.get(path), None, "{path}");
        }
        assert!(resolved.contains_key("consumers[sms].topics"));
    }

    #[test]
    fn a_region_that_the_brokers_names_tell_is_a_default() {
        let region = |sasl: &str| {
            let object: SyncPipeline = crate::manifest::parse(&format!(
                "apiVersion: syncpipeline.dev/v1alpha1\nkind: SyncPipeline\nmetadata: {{name: p, namespace: n}}\nspec:\n  \
                 profile: Custom\n  dailyActiveUsers: 1\n  kafka:\n    \
                 bootstrapServers: ['b-1.x.abcdef.c2.kafka.eu-central-1.amazonaws.com:9098']\n    \
                 security: {{protocol: SASL_SSL, sasl: {{{sasl}}}}}\n"
            ))
            .unwrap();
            let settings = Settings {
                producer_image: "p:1".into(),
                consumer_image: "c:1".into(),
                monitoring_namespace: "m".into(),
            };
            let mut resolved = filled_in(&object.spec, &validate(&object).unwrap(), &settings);
            resolved.remove("kafka.security.sasl.awsRegion")
        };
        assert_eq!(region("mechanism: AWS_MSK_IAM").as_deref(), Some("eu-central-1"));
        assert_eq!(region("mechanism: AWS_MSK_IAM, awsRegion: eu-west-1"), None);
        assert_eq!(region("mechanism: PLAIN, credentialsSecretRef: {name: a}"), None);
    }

    #[test]
    fn a_changed_default_is_named_with_both_values() {
        let (before, mut now) = (resolved(""), resolved(""));
        assert!(differences(&before, &now).is_empty());
        now.insert("consumers[sms].image".into(), "c:2".into());
        assert_eq!(differences(&before, &now), ["consumers[sms].image: c:1 → c:2"]);
    }
}
