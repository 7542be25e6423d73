//! What the profile MobileForge fills in.

use std::collections::BTreeMap;

use contract::Source;

use crate::api::spec::{
    self, Consumer as ConsumerSpec, DeletionPolicy, Producer as ProducerSpec, Region, ServiceSettings,
    Topic as TopicSpec,
};

/// The profile's lists with what the user wrote laid over them by name.
pub(super) fn mobile_forge(spec: &spec::SyncPipelineSpec) -> (Vec<TopicSpec>, Vec<ProducerSpec>, Vec<ConsumerSpec>) {
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
        manage: None,
        deletion_policy: DeletionPolicy::default(),
        except_regions: None,
    }
}

fn named_producer() -> ProducerSpec {
    ProducerSpec {
        name: "producer".to_owned(),
        topics: None,
        service: ServiceSettings::default(),
        ingress: None,
        api_keys: spec::ApiKeys::default(),
        idempotency_window: None,
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
