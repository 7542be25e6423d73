//! What `kubectl apply` refuses, with a message that names the field.

use crate::tools::kubectl_apply;
use crate::world::with_case;
use serde_json::{Value, json};

/// What is wrong, the change that makes it so, and what the refusal says.
type Wrong = (&'static str, fn(&mut Value), &'static [&'static str]);

#[tokio::test]
async fn wrong_objects_are_refused_by_the_api_server() {
    with_case(
        "refusals",
        |_| {},
        async |case| {
            let good = serde_json::to_value(&case.pipeline)?;
            let wrong: Vec<Wrong> = vec![
                (
                    "an unknown environment",
                    |spec| spec["environment"] = json!("qa"),
                    &["spec.environment", "\"qa\""],
                ),
                (
                    "negative users",
                    |spec| spec["dailyActiveUsers"] = json!(-5),
                    &["spec.dailyActiveUsers", "-5"],
                ),
                (
                    "thresholds that do not ascend",
                    |spec| spec["consumers"][0]["scaling"]["ladder"] = json!({"lagThresholds": [500, 100]}),
                    &["spec.consumers[0].scaling.ladder.lagThresholds", "must be ascending"],
                ),
                (
                    "a threshold twice",
                    |spec| spec["consumers"][0]["scaling"]["ladder"] = json!({"lagThresholds": [100, 100]}),
                    &["spec.consumers[0].scaling.ladder.lagThresholds", "must be ascending"],
                ),
                (
                    "two consumers of one group on one topic",
                    |spec| {
                        let reader = |name: &str| json!({"name": name, "group": "g", "topics": ["sms_batched"]});
                        spec["consumers"] = json!([reader("a"), reader("b")]);
                    },
                    &["spec.consumers", "two consumers of one group read the same topic"],
                ),
                (
                    "min above max",
                    |spec| spec["consumers"][0]["replicas"] = json!({"min": 5, "max": 2}),
                    &["spec.consumers[0].replicas", "min: must not be more than"],
                ),
                (
                    "a producer that may be none",
                    |spec| spec["producers"] = json!([{"name": "producer", "replicas": {"min": 0, "max": 2}}]),
                    &["spec.producers[0]", "replicas.min: 0 only together with max: 0"],
                ),
                (
                    "a reader that may be none and that nothing would bring back",
                    |spec| {
                        spec["consumers"][0]["replicas"] = json!({"min": 0, "max": 2});
                        spec["consumers"][0]["scaling"] = json!({"type": "PerPartition"});
                    },
                    &[
                        "spec.consumers[0]",
                        "replicas.min: 0 only where the lag can bring the first reader",
                    ],
                ),
                (
                    "a target of another kind of scaling",
                    |spec| spec["consumers"][0]["scaling"] = json!({"drain": {"target": "1m"}}),
                    &["spec.consumers[0].scaling", "scaling.drain: belongs to type Drain only"],
                ),
                (
                    "thresholds of another kind of scaling",
                    |spec| {
                        let ladder = json!({"lagThresholds": [1, 2]});
                        spec["consumers"][0]["scaling"] = json!({"type": "Drain", "ladder": ladder});
                    },
                    &[
                        "spec.consumers[0].scaling",
                        "scaling.ladder: belongs to type Ladder only",
                    ],
                ),
                (
                    "a cooldown where nothing cools down",
                    |spec| spec["consumers"][0]["scaling"] = json!({"type": "Fixed", "cooldown": "1m"}),
                    &[
                        "spec.consumers[0].scaling",
                        "scaling.cooldown: belongs to types Ladder and Drain only",
                    ],
                ),
                (
                    "a schedule where the replicas are left alone",
                    |spec| {
                        let day = json!({"start": "0 8 * * *", "end": "0 20 * * *", "minReplicas": 2});
                        spec["consumers"][0]["scaling"] = json!({"type": "Fixed", "schedules": [day]});
                    },
                    &[
                        "spec.consumers[0].scaling",
                        "scaling.schedules: type Fixed leaves the replicas alone",
                    ],
                ),
                (
                    "a trace where nothing is decided",
                    |spec| spec["consumers"][0]["scaling"] = json!({"type": "Fixed", "trace": true}),
                    &[
                        "spec.consumers[0].scaling",
                        "scaling.trace: with type Fixed nothing is decided",
                    ],
                ),
                (
                    "a variable of the environment contract",
                    |spec| spec["consumers"][0]["env"] = json!([{"name": "DI_KAFKA_PASSWORD", "value": "x"}]),
                    &["spec.consumers[0].env[0].name", "belongs to the environment contract"],
                ),
                (
                    "a variable with two values",
                    |spec| {
                        let from = json!({"secretKeyRef": {"name": "s", "key": "k"}});
                        spec["consumers"][0]["env"] = json!([{"name": "A", "value": "x", "valueFrom": from}]);
                    },
                    &["spec.consumers[0].env[0]", "either value or valueFrom"],
                ),
                (
                    "a variable from nowhere",
                    |spec| spec["consumers"][0]["env"] = json!([{"name": "A", "valueFrom": {}}]),
                    &[
                        "spec.consumers[0].env[0].valueFrom",
                        "exactly one of secretKeyRef and configMapKeyRef",
                    ],
                ),
                (
                    "a label of the operator",
                    |spec| spec["consumers"][0]["pod"] = json!({"labels": {"syncpipeline.dev/pipeline": "other"}}),
                    &["spec.consumers[0].pod.labels", "are the operator's own"],
                ),
                (
                    "root that may not be root",
                    |spec| spec["consumers"][0]["pod"] = json!({"securityContext": {"runAsUser": 0}}),
                    &[
                        "spec.consumers[0].pod.securityContext",
                        "user 0 needs runAsNonRoot: false",
                    ],
                ),
                (
                    "a path of a probe that asks none",
                    |spec| spec["consumers"][0]["probes"] = json!({"type": "Tcp", "livenessPath": "/alive"}),
                    &["spec.consumers[0].probes", "paths belong to type Http only"],
                ),
                (
                    "a network that is none",
                    |spec| spec["networkPolicy"] = json!({"egressCIDRs": ["everywhere"]}),
                    &["spec.networkPolicy.egressCIDRs[0]", "everywhere"],
                ),
                (
                    "an unknown deletion policy",
                    |spec| spec["topics"] = json!([{"name": "sms_batched", "deletionPolicy": "Forget"}]),
                    &["spec.topics[0].deletionPolicy", "Forget"],
                ),
                (
                    "a topic twice",
                    |spec| spec["topics"] = json!([{"name": "a"}, {"name": "a"}]),
                    &["spec.topics[1]", "Duplicate value"],
                ),
                (
                    "a reader of a topic that is not declared",
                    |spec| {
                        spec["profile"] = json!("Custom");
                        spec["topics"] = json!([{"name": "clicks"}]);
                        let replicas = json!({"min": 1, "max": 1});
                        let reader = json!({"name": "a", "group": "g", "topics": ["views"], "replicas": replicas});
                        spec["consumers"] = json!([reader]);
                    },
                    &["spec.consumers: a topic that is read is not declared in spec.topics"],
                ),
                (
                    "a reader without a group that no profile gives it",
                    |spec| {
                        spec["profile"] = json!("Custom");
                        spec["topics"] = json!([{"name": "clicks"}]);
                        spec["consumers"] = json!([{"name": "a", "topics": ["clicks"]}]);
                    },
                    &["spec.consumers: topics and group are needed with profile Custom"],
                ),
                (
                    "two ways to one MongoDB",
                    |spec| spec["mongodb"]["uriSecretRef"] = json!({"name": "s", "key": "k"}),
                    &["spec.mongodb: exactly one of host and uriSecretRef"],
                ),
                (
                    "a host with a space",
                    |spec| spec["postgres"]["host"] = json!("my postgres"),
                    &["spec.postgres.host", "my postgres"],
                ),
                (
                    "a row of the ladder twice",
                    |spec| spec["ladder"] = json!([{"users": 5}, {"users": 5}]),
                    &["spec.ladder[1]", "Duplicate value"],
                ),
                (
                    "an unknown region",
                    |spec| spec["region"] = json!("Atlantis"),
                    &["spec.region", "Atlantis"],
                ),
            ];
            for (what, change, expected) in wrong {
                let mut object = good.clone();
                change(&mut object["spec"]);
                let Err(refusal) = kubectl_apply(&object).await.map_err(|error| error.to_string()) else {
                    panic!("{what} was accepted");
                };
                for words in expected {
                    assert!(refusal.contains(words), "{what}: {refusal:?} does not say {words:?}");
                }
            }
            // The object that all of them come from is a good one.
            kubectl_apply(&good).await?;
            Ok(())
        },
    )
    .await;
}
