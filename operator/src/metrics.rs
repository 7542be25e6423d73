//! The operator's own metrics.

use contract::metric;
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector};

/// Collectors of the operator, in a registry of their own.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Registry,
    /// Lag of a group on a topic, by namespace, pipeline, group and topic.
    pub lag: IntGaugeVec,
    /// Decisions that changed replicas, by namespace, pipeline, component and direction.
    pub decisions: IntCounterVec,
    /// Reconciles by outcome.
    pub reconciles: IntCounterVec,
    /// Seconds of a reconcile.
    pub reconcile_duration: Histogram,
    /// Seconds of one reading of offsets.
    pub offset_read_duration: Histogram,
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
            decisions: IntCounterVec::new(
                Opts::new(metric::DECISIONS, "Scaling decisions that changed replicas"),
                &["namespace", "pipeline", "component", "direction"],
            )?,
            reconciles: IntCounterVec::new(Opts::new(metric::RECONCILES, "Reconciles"), &["outcome"])?,
            reconcile_duration: seconds(metric::RECONCILE_DURATION, "Duration of a reconcile")?,
            offset_read_duration: seconds(metric::OFFSET_READ_DURATION, "Duration of one reading of offsets")?,
            registry,
        };
        let collectors: [Box<dyn Collector>; 5] = [
            Box::new(metrics.lag.clone()),
            Box::new(metrics.decisions.clone()),
            Box::new(metrics.reconciles.clone()),
            Box::new(metrics.reconcile_duration.clone()),
            Box::new(metrics.offset_read_duration.clone()),
        ];
        for collector in collectors {
            metrics.registry.register(collector)?;
        }
        Ok(metrics)
    }

    /// All values in Prometheus' text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
