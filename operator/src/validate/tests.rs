use super::*;

fn object(yaml: &str) -> SyncPipeline {
    crate::manifest::parse(yaml).unwrap()
}

fn short(extra: &str) -> SyncPipeline {
    object(&format!(
        "apiVersion: syncpipeline.dev/v1alpha1\nkind: SyncPipeline\nmetadata: {{name: p, namespace: n}}\nspec:\n  \
         dailyActiveUsers: 100000\n  kafka: {{bootstrapServers: ['k:9092']}}\n  \
         postgres: {{host: pg, credentialsSecretRef: {{name: pg}}}}\n  \
         mongodb: {{host: mg, credentialsSecretRef: {{name: mg}}}}\n{extra}"
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
fn dead_letters_may_be_longer_than_their_messages() {
    let topics = "  topics: [{name: sms_batched, config: {max.message.bytes: '4194304'}}, {name: contacts_batched}]\n";
    let pipeline = validate(&short(&format!(
        "{topics}  consumers: [{{name: sms}}, {{name: common, topics: [contacts_batched]}}]\n"
    )))
    .unwrap();
    let longest = |name: &str| {
        let topic = pipeline.topics.iter().find(|topic| topic.name == name).unwrap();
        topic.config["max.message.bytes"].as_str()
    };
    assert_eq!(longest("sms_batched.dlq"), "4259840");
    assert_eq!(longest("contacts_batched.dlq"), "1114124");
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
fn a_schedule_that_cannot_be_read_is_named_by_its_field() {
    let with = |schedule: &str| {
        short(&format!(
            "  consumers: [{{name: sms, scaling: {{schedules: [{schedule}]}}}}]\n"
        ))
    };
    let day = "{start: 0 8 * * 1-5, end: 0 20 * * 1-5, timeZone: Asia/Kolkata, minReplicas: 6}";
    let pipeline = validate(&with(day)).unwrap();
    assert_eq!(pipeline.consumers[0].schedules.len(), 1);
    assert_eq!(
        validate(&with(
            "{start: 0 8 * * *, end: 0 20 * * *, timeZone: Bombay, minReplicas: 6}"
        ))
        .unwrap_err()
        .to_string(),
        "spec.consumers[sms].scaling.schedules[0].timeZone: is no time zone of the IANA database, as Asia/Kolkata or UTC"
    );
}

#[test]
fn custom_fills_in_nothing_and_says_what_is_missing() {
    let custom = short(
        "  profile: Custom\n  topics: [{name: a}]\n  \
         consumers: [{name: reader, topics: [a], image: i, replicas: {min: 1, max: 1}}]\n",
    );
    assert_eq!(
        validate(&custom).unwrap_err().to_string(),
        "spec.consumers[reader].group: is needed: only consumers that the profile MobileForge knows by name have a group \
         of their own"
    );
}

#[test]
fn topics_that_our_images_do_not_know_need_an_image_that_does() {
    let producer = "  profile: Custom\n  topics: [{name: clicks}]\n  producers: [{name: api, topics: [clicks]}]\n";
    assert_eq!(
        validate(&short(producer)).unwrap_err().to_string(),
        "spec.producers[api].topics: topic clicks is none that the operator's own image knows (sms_batched, events_log, \
         apps_and_device_batched, contacts_batched, call_logs_batched); give the component an image"
    );
    let own = producer.replace("{name: api,", "{name: api, image: 'vendor:1',");
    assert_eq!(validate(&short(&own)).unwrap().producers.len(), 1);
}

#[test]
fn our_readers_need_both_stores_and_a_vendors_none() {
    let mut object = short("");
    object.spec.mongodb = None;
    assert_eq!(
        validate(&object).unwrap_err().to_string(),
        "spec.mongodb: is needed: spec.consumers[sms] writes to it"
    );
    object.spec.postgres = None;
    object.spec.consumers =
        short("  consumers: [{name: sms, image: v}, {name: events, image: v}, {name: common, image: v}]\n")
            .spec
            .consumers;
    assert_eq!(validate(&object).unwrap().consumers.len(), 3);
}

#[test]
fn a_ladder_of_ones_own_replaces_the_rows() {
    let own = "  ladder:\n  - {users: 200000, producer: {min: 3, max: 6}, sms: {min: 2, max: 9}, events: {min: 1, max: 3}, \
               common: {min: 1, max: 2}}\n  - {users: 50000, producer: {min: 1, max: 1}}\n";
    let pipeline = validate(&short(own)).unwrap();
    assert_eq!(pipeline.ladder.unwrap().row.users, 200_000);
    assert_eq!(pipeline.producers[0].component.bounds, Bounds { min: 3, max: 6 });
    assert_eq!(pipeline.consumers[0].component.bounds, Bounds { min: 2, max: 9 });

    let without = own.replace("events: {min: 1, max: 3}, ", "");
    assert_eq!(
        validate(&short(&without)).unwrap_err().to_string(),
        "spec.ladder[200000].events: is needed by spec.consumers[events]; or write its replicas"
    );
}

#[test]
fn insights_and_sms_extraction_are_there_when_they_are_written() {
    let pipeline = validate(&short(
        "  insights: {api: {image: i}, smsExtraction: {image: s, port: 9000}}\n",
    ))
    .unwrap();
    let found: Vec<_> = pipeline
        .insights
        .iter()
        .map(|insight| {
            (
                insight.component.name.as_str(),
                insight.component.bounds,
                insight.component.port,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("insights", Bounds { min: 6, max: 10 }, 8000),
            ("sms-extraction", Bounds { min: 3, max: 5 }, 9000),
        ]
    );
    assert!(validate(&short("")).unwrap().insights.is_empty());
    assert_eq!(
        validate(&short("  insights: {api: {}}\n")).unwrap_err().to_string(),
        "spec.insights.api.image: is needed: the operator brings no image of its own for this component"
    );
    let taken = short("  insights: {api: {image: i}}\n  producers: [{name: insights, topics: [sms_batched]}]\n");
    assert_eq!(
        validate(&taken).unwrap_err().to_string(),
        "spec.producers[insights].name: another component has this name; choose another"
    );
}

#[test]
fn connections_are_shared_among_the_pods() {
    let mut object = short("");
    object.spec.postgres.as_mut().unwrap().max_connections = Some(100);
    let pipeline = validate(&object).unwrap();
    // 10 producers and 16 + 10 + 10 readers, and a quarter more of each while they are rolled: 59.
    assert_eq!(pipeline.pools.postgres, Some(1));
    object.spec.postgres.as_mut().unwrap().max_connections = Some(118);
    assert_eq!(validate(&object).unwrap().pools.postgres, Some(2));
    object.spec.postgres.as_mut().unwrap().max_connections = Some(20);
    let pipeline = validate(&object).unwrap();
    assert_eq!(pipeline.pools.postgres, Some(1));
    assert!(
        pipeline
            .components()
            .any(|component| component.short_of_connections > 0)
    );
}

#[test]
fn keys_and_kept_answers_need_postgresql() {
    let custom = |producer: &str| {
        let object = object(&format!(
            "apiVersion: syncpipeline.dev/v1alpha1\nkind: SyncPipeline\nmetadata: {{name: p, namespace: n}}\nspec:\n  \
             profile: Custom\n  dailyActiveUsers: 1000\n  kafka: {{bootstrapServers: ['k:9092']}}\n  topics: [{{name: sms_batched, partitions: 1}}]\n  \
             producers: [{{name: api, topics: [sms_batched], replicas: {{min: 1, max: 1}}, {producer}}}]\n"
        ));
        validate(&object).map_err(|error| error.to_string())
    };
    assert!(custom("apiKeys: Disabled").is_ok());
    assert_eq!(
        custom("apiKeys: Required").unwrap_err(),
        "spec.producers[api].apiKeys: needs spec.postgres, which keeps them"
    );
    assert_eq!(
        custom("idempotencyWindow: 1h").unwrap_err(),
        "spec.producers[api].idempotencyWindow: needs spec.postgres, which keeps them"
    );
}

#[test]
fn a_producer_that_is_not_written_out_asks_for_no_keys_and_one_that_is_may() {
    let pipeline = validate(&short("")).unwrap();
    assert_eq!(pipeline.producers[0].api_keys, spec::ApiKeys::Disabled);
    assert_eq!(pipeline.producers[0].idempotency_window, None);
    let window = |text: &str| {
        validate(&short(&format!(
            "  producers: [{{name: producer, idempotencyWindow: {text}}}]\n"
        )))
    };
    assert_eq!(
        window("1h30m").unwrap().producers[0].idempotency_window,
        Some(Duration::from_secs(5400))
    );
    for wrong in ["59s", "721h", "60500ms"] {
        assert_eq!(
            window(wrong).unwrap_err().to_string(),
            "spec.producers[producer].idempotencyWindow: must be whole seconds from 1m to 720h"
        );
    }
}
