//! What `kubectl apply` refuses, with a message that names the field.

use crate::tools::kubectl_apply;
use crate::world::with_case;
use serde_json::{Value, json};

#[tokio::test]
async fn wrong_objects_are_refused_by_the_api_server() {
    with_case(
        "refusals",
        |_| {},
        async |case| {
            let good = serde_json::to_value(&case.pipeline)?;
            let wrong: [(&str, fn(&mut Value), &[&str]); 7] = [
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
