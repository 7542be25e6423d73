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
