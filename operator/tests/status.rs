//! Observations → status, without a cluster.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its own functions too")]

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus};
use operator::api::{SyncPipeline, SyncPipelineStatus};
use operator::kafka::KafkaError;
use operator::kafka::drift::Difference;
use operator::kafka::topics::{ObservedTopic, ObservedTopics};
use operator::ladder::Bounds;
use operator::scale::decide::{Decision, Reason};
use operator::scale::lag::Lag;
use operator::scale::seen::{Change, Seen, Snapshot};
use operator::status::{Failure, Observations, status};
use operator::{manifest, validate};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn deployment(ready: i32, wanted: i32) -> Deployment {
    Deployment {
        spec: DeploymentSpec {
            replicas: Some(wanted),
            ..DeploymentSpec::default()
        },
        status: Some(DeploymentStatus {
            replicas: Some(wanted),
            ready_replicas: Some(ready),
            updated_replicas: Some(wanted),
            ..DeploymentStatus::default()
        }),
        ..Deployment::default()
    }
}

/// Everything as it should be.
fn healthy() -> Observations {
    let path = format!("{}/../examples/mobileforge.yaml", env!("CARGO_MANIFEST_DIR"));
    let object: SyncPipeline = manifest::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    let pipeline = validate::validate(&object).unwrap();
    let topics = pipeline
        .topics
        .iter()
        .map(|topic| ObservedTopic {
            name: topic.name.clone(),
            partitions: topic.partitions,
            replication_factor: 1,
            managed: true,
            changes: vec![],
            difference: None,
        })
        .collect();
    let seen = |lag: i64| Seen {
        lag: Lag::Known(lag),
        total: Lag::Known(lag + 1),
        delay: None,
        ill: None,
        pod_rate: None,
        decision: Some(Decision {
            wanted: 2,
            exceeded: Some(0),
            reason: Reason::Steady,
            message: format!("lag {lag}"),
        }),
        changed: None,
    };
    Observations {
        generation: Some(7),
        pipeline: Some(pipeline),
        resolved: BTreeMap::from([("consumers[sms].group".into(), "sms-consumer-group".into())]),
        topics: Some(ObservedTopics {
            cluster_id: "cluster".into(),
            brokers: 3,
            topics,
        }),
        deployments: BTreeMap::from([
            ("mobileforge-producer".into(), deployment(2, 2)),
            ("mobileforge-sms".into(), deployment(2, 2)),
            ("mobileforge-events".into(), deployment(1, 1)),
            ("mobileforge-common".into(), deployment(1, 1)),
        ]),
        troubles: BTreeMap::new(),
        predecessors: BTreeMap::new(),
        lag: Some(Snapshot {
            readers: BTreeMap::from([
                ("sms".into(), seen(4)),
                ("events".into(), seen(0)),
                ("common".into(), seen(9)),
            ]),
            problem: None,
            unmeasured: None,
        }),
        failure: None,
        paused: false,
        leaving: false,
    }
}

fn condition<'a>(status: &'a SyncPipelineStatus, type_: &str) -> (&'a str, &'a str, i64) {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .unwrap();
    (
        &found.status,
        &found.reason,
        found.last_transition_time.0.as_second() - at(0).timestamp(),
    )
}

#[test]
fn a_healthy_pipeline_says_where_everybody_is() {
    let status = status(&SyncPipelineStatus::default(), &healthy(), at(0));
    insta::assert_yaml_snapshot!("healthy", status);
}

#[test]
fn the_same_observations_give_the_same_status_so_nothing_is_written() {
    let first = status(&SyncPipelineStatus::default(), &healthy(), at(0));
    assert_eq!(status(&first, &healthy(), at(3600)), first);
}

#[test]
fn a_transition_time_moves_only_when_the_status_does() {
    let first = status(&SyncPipelineStatus::default(), &healthy(), at(0));
    let mut short = healthy();
    short.deployments.insert("mobileforge-sms".into(), deployment(1, 2));
    let second = status(&first, &short, at(10));
    assert_eq!(condition(&second, "Ready"), ("False", "PodsNotReady", 10));
    assert_eq!(condition(&second, "WorkloadsAvailable"), ("False", "PodsNotReady", 10));
    assert_eq!(condition(&second, "TopicsReady"), ("True", "AllTopicsExist", 0));
    assert_eq!(second.summary, "PodsNotReady: sms has 1 of 2 pods ready");
}

#[test]
fn a_component_that_is_not_ready_says_who_reads_meanwhile() {
    let mut renamed = healthy();
    renamed.predecessors.insert("sms".into(), "mobileforge-texts".into());
    let status = status(&SyncPipelineStatus::default(), &renamed, at(0));
    let messages: Vec<&str> = status
        .components
        .iter()
        .map(|component| component.message.as_str())
        .collect();
    assert!(
        messages.contains(&"mobileforge-texts reads on until these pods are ready"),
        "{messages:?}"
    );
}

#[test]
fn without_kafka_the_last_known_stays_and_the_reason_is_told() {
    let first = status(&SyncPipelineStatus::default(), &healthy(), at(0));
    let problem = KafkaError::KafkaUnreachable {
        bootstrap_servers: "k:9092".into(),
        problem: "refused".into(),
    };
    let mut away = healthy();
    away.topics = None;
    away.failure = Some(Failure {
        reason: problem.reason(),
        message: problem.to_string(),
        of_topics: true,
    });
    away.lag = Some(Snapshot {
        readers: BTreeMap::new(),
        problem: Some(problem),
        unmeasured: None,
    });
    let second = status(&first, &away, at(10));
    assert_eq!(second.topics, first.topics);
    assert_eq!(second.lag, None);
    for type_ in ["Ready", "TopicsReady", "ScalingActive"] {
        assert_eq!(condition(&second, type_), ("False", "KafkaUnreachable", 10));
    }
    assert_eq!(condition(&second, "WorkloadsAvailable"), ("True", "AllAvailable", 0));
}

#[test]
fn the_last_decision_survives_a_restart_of_the_operator() {
    let mut scaled = healthy();
    let lag = scaled.lag.as_mut().unwrap();
    lag.readers.get_mut("sms").unwrap().changed = Some(Change {
        time: at(5),
        from: 2,
        to: 8,
        reason: Reason::LagAboveThreshold,
        message: "lag 1200 of sms_batched is above 1000".into(),
    });
    let first = status(&SyncPipelineStatus::default(), &scaled, at(5));
    let after_restart = status(&first, &healthy(), at(60));
    let decision = after_restart
        .components
        .iter()
        .find(|component| component.name == "sms")
        .unwrap();
    let decision = decision.last_decision.as_ref().unwrap();
    assert_eq!(
        (decision.from, decision.to, decision.reason.as_str()),
        (2, 8, "LagAboveThreshold")
    );
}

#[test]
fn fewer_brokers_than_recommended_degrade_a_pipeline_that_is_ready() {
    let mut small = healthy();
    small.topics.as_mut().unwrap().brokers = 1;
    let status = status(&SyncPipelineStatus::default(), &small, at(0));
    assert_eq!(condition(&status, "Ready"), ("True", "Running", 0));
    assert_eq!(
        condition(&status, "Degraded"),
        ("True", "BrokersBelowRecommendation", 0)
    );
}

#[test]
fn a_topic_that_was_there_before_is_used_and_one_that_shrinks_is_refused() {
    let differing = |difference: Difference| {
        let mut seen = healthy();
        seen.topics.as_mut().unwrap().topics[0].difference = Some(difference);
        status(&SyncPipelineStatus::default(), &seen, at(0))
    };
    let (partitions, wanted) = (20, 16);
    let used = differing(Difference::UsedAsItIs { partitions, wanted });
    assert_eq!(condition(&used, "TopicsReady"), ("True", "AllTopicsExist", 0));
    assert_eq!(condition(&used, "Degraded"), ("True", "UsedAsItIs", 0));
    let refused = differing(Difference::Shrink { partitions, wanted });
    assert_eq!(condition(&refused, "TopicsReady"), ("False", "ShrinkRefused", 0));
    assert_eq!(condition(&refused, "Ready"), ("False", "ShrinkRefused", 0));
    assert!(
        refused.topics[0].state.contains("partitions are never taken away"),
        "{:?}",
        refused.topics[0]
    );
}

#[test]
fn a_paused_pipeline_says_so() {
    let mut paused = healthy();
    paused.paused = true;
    let status = status(&SyncPipelineStatus::default(), &paused, at(0));
    assert_eq!(condition(&status, "Paused"), ("True", "PausedByAnnotation", 0));
    assert_eq!(condition(&status, "Ready"), ("True", "Running", 0));
}

#[test]
fn a_component_that_is_switched_off_wants_nothing_and_is_no_trouble() {
    let mut off = healthy();
    let sms = off
        .pipeline
        .iter_mut()
        .flat_map(|pipeline| &mut pipeline.consumers)
        .find(|consumer| consumer.component.name == "sms");
    sms.unwrap().component.bounds = Bounds { min: 0, max: 0 };
    off.deployments.insert("mobileforge-sms".into(), deployment(0, 0));
    let readers = off.lag.iter_mut().flat_map(|lag| &mut lag.readers);
    for (_, reader) in readers.filter(|(name, _)| *name == "sms") {
        reader.lag = Lag::Unknown;
    }
    let off = status(&SyncPipelineStatus::default(), &off, at(0));
    assert_eq!(condition(&off, "Ready"), ("True", "Running", 0));
    let sms = off.components.iter().find(|component| component.name == "sms").unwrap();
    assert_eq!((sms.wanted, sms.min, sms.max), (0, 0, 0));
    assert_eq!(sms.message, "it is switched off");
    assert!(sms.rungs.iter().all(|rung| *rung == 0));
}
