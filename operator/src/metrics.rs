//! The operator's own metrics.

mod statuses;

pub use statuses::Statuses;

use std::time::Duration;

use contract::metric;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};

use crate::scale::health::Health;

/// Collectors of the operator, in a registry of their own.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// Lag of a group on a topic, by namespace, pipeline, group and topic.
    pub lag: IntGaugeVec,
    /// How long ago the oldest message arrived that a group has not read of a topic, by the same.
    pub delay: GaugeVec,
    /// How long Kafka keeps messages of a topic, by the same.
    pub retention: GaugeVec,
    /// Partitions of a topic by how they are read, by the same and health.
    pub partitions: IntGaugeVec,
    /// What the statuses say.
    pub statuses: Statuses,
    /// Decisions that changed replicas, by namespace, pipeline, component and direction.
    pub decisions: IntCounterVec,
    /// Reconciles by outcome.
    pub reconciles: IntCounterVec,
    /// Seconds of a reconcile.
    pub reconcile_duration: Histogram,
    /// Seconds of one reading of offsets.
    pub offset_read_duration: Histogram,
    /// Requests to the API server, by method and outcome.
    pub api_requests: IntCounterVec,
}

impl Metrics {
    /// Makes and registers all collectors.
    pub fn register() -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let seconds = |name: &str, help: &str| {
            let buckets = prometheus::exponential_buckets(0.001, 2.0, 14)?;
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
        };
        let metrics = Metrics {
            lag: IntGaugeVec::new(
                Opts::new(metric::LAG, "Messages that a group has not read of a topic"),
                &["namespace", "pipeline", "group", "topic"],
            )?,
            delay: GaugeVec::new(
                Opts::new(
                    metric::LAG_SECONDS,
                    "How long ago the oldest message arrived that a group has not read",
                ),
                &["namespace", "pipeline", "group", "topic"],
            )?,
            retention: GaugeVec::new(
                Opts::new(metric::RETENTION, "How long Kafka keeps the messages of a topic"),
                &["namespace", "pipeline", "group", "topic"],
            )?,
            partitions: IntGaugeVec::new(
                Opts::new(metric::PARTITIONS, "Partitions of a topic by how a group reads them"),
                &["namespace", "pipeline", "group", "topic", "health"],
            )?,
            statuses: Statuses::new()?,
            decisions: IntCounterVec::new(
                Opts::new(metric::DECISIONS, "Scaling decisions that changed replicas"),
                &["namespace", "pipeline", "component", "direction"],
            )?,
            reconciles: IntCounterVec::new(Opts::new(metric::RECONCILES, "Reconciles"), &["outcome"])?,
            reconcile_duration: seconds(metric::RECONCILE_DURATION, "Duration of a reconcile")?,
            offset_read_duration: seconds(metric::OFFSET_READ_DURATION, "Duration of one reading of offsets")?,
            api_requests: IntCounterVec::new(
                Opts::new(metric::API_REQUESTS, "Requests to the API server"),
                &["method", "outcome"],
            )?,
            registry,
        };
        for collector in metrics.collectors() {
            metrics.registry.register(collector)?;
        }
        Ok(metrics)
    }

    fn collectors(&self) -> [Box<dyn Collector>; 10] {
        [
            Box::new(self.lag.clone()),
            Box::new(self.delay.clone()),
            Box::new(self.retention.clone()),
            Box::new(self.partitions.clone()),
            Box::new(self.statuses.clone()),
            Box::new(self.decisions.clone()),
            Box::new(self.reconciles.clone()),
            Box::new(self.reconcile_duration.clone()),
            Box::new(self.offset_read_duration.clone()),
            Box::new(self.api_requests.clone()),
        ]
    }

    /// Shows how a group reads a topic, by namespace, pipeline, group and topic.
    pub fn show_topic(&self, labels: &[&str; 4], lag: i64, delay: Option<Duration>, health: &[Health]) {
        self.lag.with_label_values(labels).set(lag);
        match delay {
            Some(delay) => self.delay.with_label_values(labels).set(delay.as_secs_f64()),
            // Fails where there is none already.
            None => drop(self.delay.remove_label_values(labels)),
        }
        for one in Health::ALL {
            let count = health.iter().filter(|health| **health == one).count();
            let labels = [labels[0], labels[1], labels[2], labels[3], one.name()];
            self.partitions
                .with_label_values(&labels)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Shows how long messages of a topic are kept, by the same; nothing where that is not known.
    pub fn show_retention(&self, labels: &[&str; 4], retention: Option<Duration>) {
        match retention {
            Some(time) => self.retention.with_label_values(labels).set(time.as_secs_f64()),
            // Fails where there is none already.
            None => drop(self.retention.remove_label_values(labels)),
        }
    }

    /// Shows nothing more of a group and a topic.
    pub fn hide_topic(&self, labels: &[&str; 4]) {
        // Each fails where there is none already.
        drop(self.lag.remove_label_values(labels));
        drop(self.delay.remove_label_values(labels));
        drop(self.retention.remove_label_values(labels));
        for one in Health::ALL {
            let labels = [labels[0], labels[1], labels[2], labels[3], one.name()];
            drop(self.partitions.remove_label_values(&labels));
        }
    }

    /// All values in Prometheus' text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::metric::Kind;
    use prometheus::proto::MetricType;

    #[test]
    fn metrics_are_what_the_contract_says() {
        let metrics = Metrics::register().unwrap();
        let mut exported = vec![];
        for collector in metrics.collectors() {
            for (desc, family) in collector.desc().into_iter().zip(collector.collect()) {
                let kind = match family.get_field_type() {
                    MetricType::COUNTER => Kind::Counter,
                    MetricType::GAUGE => Kind::Gauge,
                    MetricType::HISTOGRAM => Kind::Histogram,
                    other => panic!("{} is a {other:?}", desc.fq_name),
                };
                exported.push((desc.fq_name.clone(), kind, desc.variable_labels.clone()));
            }
        }
        let owned = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>();
        let described: Vec<_> = metric::OF_OPERATOR
            .iter()
            .map(|metric| (metric.name.to_owned(), metric.kind, owned(metric.labels)))
            .collect();
        assert_eq!(exported, described);
    }
}
