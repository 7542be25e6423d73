//! What the statuses of pipelines say, as gauges.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use contract::metric;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};

use crate::api::SyncPipelineStatus;

const TRUE: &str = "True";

/// Conditions and replicas of all pipelines. Made anew for each scrape from the statuses that were shown last, so that
/// a component or a pipeline that is gone leaves no series behind.
#[derive(Debug, Clone)]
pub struct Statuses {
    shown: Arc<Mutex<BTreeMap<(String, String), Figures>>>,
    conditions: IntGaugeVec,
    wanted: IntGaugeVec,
    ready: IntGaugeVec,
    min: IntGaugeVec,
    max: IntGaugeVec,
}

/// The figures of one status.
#[derive(Debug)]
struct Figures {
    conditions: Vec<(String, bool)>,
    components: Vec<Replicas>,
}

#[derive(Debug)]
struct Replicas {
    component: String,
    wanted: i32,
    ready: i32,
    min: i32,
    max: i32,
}

impl Statuses {
    /// No statuses yet.
    pub(super) fn new() -> Result<Statuses, prometheus::Error> {
        let of_component = |name: &str, help: &str| {
            let labels = ["namespace", "pipeline", "component"];
            IntGaugeVec::new(Opts::new(name, help), &labels)
        };
        Ok(Statuses {
            shown: Arc::default(),
            conditions: IntGaugeVec::new(
                Opts::new(metric::CONDITION, "1 while a condition of a pipeline holds"),
                &["namespace", "pipeline", "type"],
            )?,
            wanted: of_component(metric::COMPONENT_WANTED, "Pods that a component is meant to have")?,
            ready: of_component(metric::COMPONENT_READY, "Pods of a component that are ready")?,
            min: of_component(metric::COMPONENT_MIN, "Least pods of a component")?,
            max: of_component(metric::COMPONENT_MAX, "Most pods of a component")?,
        })
    }

    /// Shows what `status` says, in place of what an earlier one did.
    pub fn show(&self, namespace: &str, pipeline: &str, status: &SyncPipelineStatus) {
        let conditions = status.conditions.iter();
        let components = status.components.iter();
        let figures = Figures {
            conditions: conditions
                .map(|condition| (condition.type_.clone(), condition.status == TRUE))
                .collect(),
            components: components
                .map(|component| Replicas {
                    component: component.name.clone(),
                    wanted: component.wanted,
                    ready: component.ready,
                    min: component.min,
                    max: component.max,
                })
                .collect(),
        };
        let key = (namespace.to_owned(), pipeline.to_owned());
        self.lock().insert(key, figures);
    }

    /// Forgets pipelines whose namespace and name are not in `alive`.
    pub fn retain(&self, alive: &BTreeSet<(String, String)>) {
        self.lock().retain(|pipeline, _| alive.contains(pipeline));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(String, String), Figures>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gauges(&self) -> [&IntGaugeVec; 5] {
        [&self.conditions, &self.wanted, &self.ready, &self.min, &self.max]
    }
}

impl Collector for Statuses {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Held to the end: two scrapes at the same time would clear each other's values.
        let shown = self.lock();
        self.gauges().into_iter().for_each(IntGaugeVec::reset);
        for ((namespace, pipeline), figures) in shown.iter() {
            for (type_, holds) in &figures.conditions {
                let labels = [namespace, pipeline, type_];
                self.conditions.with_label_values(&labels).set(i64::from(*holds));
            }
            for replicas in &figures.components {
                let labels = [namespace, pipeline, &replicas.component];
                for (gauge, count) in [
                    (&self.wanted, replicas.wanted),
                    (&self.ready, replicas.ready),
                    (&self.min, replicas.min),
                    (&self.max, replicas.max),
                ] {
                    gauge.with_label_values(&labels).set(i64::from(count));
                }
            }
        }
        self.gauges().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Registry, TextEncoder};
    use serde_json::json;

    fn status(components: &[(&str, i32)]) -> SyncPipelineStatus {
        let component = |(name, ready): &(&str, i32)| {
            json!({"name": name, "kind": "consumer", "replicas": 4, "ready": ready, "wanted": 4, "min": 2, "max": 8,
                "scaledBy": "Ladder"})
        };
        let condition = |type_: &str, status: &str| {
            json!({"type": type_, "status": status, "reason": "Test", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"})
        };
        serde_json::from_value(json!({
            "conditions": [condition("Ready", "False"), condition("TopicsReady", "True")],
            "components": components.iter().map(component).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    fn render(statuses: &Statuses) -> Vec<String> {
        let registry = Registry::new();
        registry.register(Box::new(statuses.clone())).unwrap();
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.map(str::to_owned).collect()
    }

    #[test]
    fn conditions_and_replicas_are_shown() {
        let statuses = Statuses::new().unwrap();
        statuses.show("shop", "a", &status(&[("sms", 3)]));
        assert_eq!(
            render(&statuses),
            [
                r#"syncpipeline_component_max_replicas{component="sms",namespace="shop",pipeline="a"} 8"#,
                r#"syncpipeline_component_min_replicas{component="sms",namespace="shop",pipeline="a"} 2"#,
                r#"syncpipeline_component_ready_replicas{component="sms",namespace="shop",pipeline="a"} 3"#,
                r#"syncpipeline_component_wanted_replicas{component="sms",namespace="shop",pipeline="a"} 4"#,
                r#"syncpipeline_condition{namespace="shop",pipeline="a",type="Ready"} 0"#,
                r#"syncpipeline_condition{namespace="shop",pipeline="a",type="TopicsReady"} 1"#,
            ]
        );
    }

    #[test]
    fn what_is_gone_leaves_no_series_behind() {
        let statuses = Statuses::new().unwrap();
        statuses.show("shop", "a", &status(&[("sms", 3), ("events", 1)]));
        statuses.show("shop", "b", &status(&[("sms", 1)]));
        statuses.show("shop", "a", &status(&[("events", 2)]));
        statuses.retain(&BTreeSet::from([("shop".to_owned(), "a".to_owned())]));
        let left = render(&statuses);
        assert_eq!(left.len(), 6, "{left:?}");
        assert!(left.iter().all(|line| line.contains(r#"pipeline="a""#)), "{left:?}");
        assert!(!left.iter().any(|line| line.contains("sms")), "{left:?}");
    }
}
