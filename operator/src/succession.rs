//! Readers that are no longer planned, and those that read for their groups from now on. Pure.
//!
//! A reader that was given another name is another Deployment of the same group. The old one reads on until the new
//! one is ready: a group without members would fall behind for as long as pods take to start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;

use crate::plan::naming::{GROUP_ANNOTATION, object_name};
use crate::plan::{Plan, Start};
use crate::validate::{Consumer, Pipeline};

/// By the name of a component that is not ready yet, the Deployment that reads on in its place.
pub type Predecessors = BTreeMap<String, String>;

/// The readers among `live` that stay although they are not planned. One that takes over starts with as many replicas
/// as the one before it has, as far as its bounds go.
pub fn arrange(plan: &mut Plan, pipeline: &Pipeline, live: &[Arc<Deployment>]) -> Predecessors {
    let planned: BTreeSet<String> = plan.deployments.iter().map(ResourceExt::name_any).collect();
    let (present, leaving): (Vec<_>, Vec<_>) = live.iter().partition(|live| planned.contains(&live.name_any()));
    let mut predecessors = Predecessors::new();
    for consumer in &pipeline.consumers {
        let name = object_name(&pipeline.name, &consumer.component.name);
        let now = present.iter().find(|present| present.name_any() == name);
        if now.is_some_and(|now| is_ready(now, consumer)) {
            continue;
        }
        // Of several, as after two names in a row, the one that really reads.
        let before = leaving
            .iter()
            .filter(|leaving| reads_for(leaving, &consumer.group) && wanted(leaving) > 0)
            .max_by_key(|leaving| ready(leaving));
        if let Some(before) = before {
            let bounds = consumer.component.bounds;
            let replicas = wanted(before).max(bounds.min).min(bounds.max);
            plan.starts.insert(name, Start::With(replicas));
            predecessors.insert(consumer.component.name.clone(), before.name_any());
        }
    }
    predecessors
}

/// Whether a reader has the pods that it has at least: more of them may wait for the room that the old ones take.
fn is_ready(deployment: &Deployment, consumer: &Consumer) -> bool {
    ready(deployment) >= consumer.component.bounds.min.max(1).min(wanted(deployment))
}

fn reads_for(deployment: &Deployment, group: &str) -> bool {
    deployment
        .annotations()
        .get(GROUP_ANNOTATION)
        .is_some_and(|own| own == group)
}

fn ready(deployment: &Deployment) -> i32 {
    let status = deployment.status.as_ref();
    status.and_then(|status| status.ready_replicas).unwrap_or(0)
}

fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SyncPipeline;
    use crate::plan::{SecretDigests, Settings, plan};
    use crate::validate::validate;
    use serde_json::json;

    fn live(name: &str, group: &str, wanted: i32, ready: i32) -> Arc<Deployment> {
        let deployment = serde_json::from_value(json!({
            "metadata": {"name": name, "annotations": {GROUP_ANNOTATION: group}},
            "spec": {"replicas": wanted, "selector": {}, "template": {}},
            "status": {"readyReplicas": ready},
        }));
        Arc::new(deployment.unwrap())
    }

    /// The predecessors of the reader `new` of the group `readers`, and the replicas that it starts with.
    fn arranged(live: &[Arc<Deployment>]) -> (Predecessors, i32) {
        let object: SyncPipeline = serde_json::from_value(json!({
            "apiVersion": "syncpipeline.dev/v1alpha1", "kind": "SyncPipeline",
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {
                "profile": "Custom", "dailyActiveUsers": 1, "kafka": {"bootstrapServers": ["k:9092"]},
                "postgres": {"host": "h", "credentialsSecretRef": {"name": "s"}},
                "topics": [{"name": "clicks", "partitions": 8}],
                "consumers": [{"name": "new", "group": "readers", "topics": ["clicks"],
                    "image": "i", "replicas": {"min": 2, "max": 4}}],
            },
        }))
        .unwrap();
        let pipeline = validate(&object).unwrap();
        let settings = Settings {
            producer_image: "producer".to_owned(),
            consumer_image: "consumer".to_owned(),
            monitoring_namespace: "monitoring".to_owned(),
        };
        let mut plan = plan(
            &pipeline,
            &settings,
            &crate::reconcile::owner(&object),
            &SecretDigests::default(),
        );
        let predecessors = arrange(&mut plan, &pipeline, live);
        (predecessors, plan.starts["p-new"].replicas())
    }

    #[test]
    fn a_renamed_reader_stays_until_the_new_one_is_ready() {
        let stays = Predecessors::from([("new".to_owned(), "p-old".to_owned())]);
        let old = live("p-old", "readers", 3, 3);
        assert_eq!(
            arranged(std::slice::from_ref(&old)),
            (stays.clone(), 3),
            "it is not there yet"
        );
        assert_eq!(arranged(&[live("p-new", "readers", 3, 1), old.clone()]), (stays, 3));
        assert_eq!(arranged(&[live("p-new", "readers", 3, 2), old]).0, Predecessors::new());
    }

    #[test]
    fn of_two_names_in_a_row_the_one_that_reads_stays() {
        let (first, second) = (live("p-first", "readers", 2, 2), live("p-second", "readers", 2, 0));
        for order in [[first.clone(), second.clone()], [second, first]] {
            assert_eq!(arranged(&order).0["new"], "p-first");
        }
    }

    #[test]
    fn one_takes_over_with_as_many_as_there_were_within_its_bounds() {
        assert_eq!(arranged(&[live("p-old", "readers", 9, 9)]).1, 4);
        assert_eq!(arranged(&[live("p-old", "readers", 1, 1)]).1, 2);
    }

    #[test]
    fn who_reads_for_another_group_or_not_at_all_goes_at_once() {
        assert_eq!(arranged(&[live("p-old", "others", 3, 3)]), (Predecessors::new(), 2));
        assert_eq!(arranged(&[live("p-old", "readers", 0, 0)]), (Predecessors::new(), 2));
    }
}
