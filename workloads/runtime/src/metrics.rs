//! Prometheus collectors in the default registry. Asking twice for one name gives the same collector, so that
//! parts of a workload, and tests, need not know of each other.

use contract::metric::{self, Kind};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};
use std::{
    any::Any,
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

/// A collector that cannot be registered: a mistake in the program, reported at start.
#[derive(Debug, thiserror::Error)]
pub enum MetricError {
    /// The name or a label is no valid Prometheus name.
    #[error("metric {name}: {source}")]
    Invalid {
        /// Name of the metric.
        name: String,
        /// What the registry said.
        source: prometheus::Error,
    },
    /// A metric of the contract is registered as something else than the contract says.
    #[error("metric {name} is not a {kind:?} by {labels:?}, as the contract describes it")]
    NotAsDescribed {
        /// Name of the metric.
        name: String,
        /// Kind in the contract.
        kind: Kind,
        /// Labels in the contract.
        labels: &'static [&'static str],
    },
    /// The name is taken by a collector of another kind.
    #[error("metric {name} is registered already as another kind of metric")]
    OtherKind {
        /// Name of the metric.
        name: String,
    },
}

static COLLECTORS: LazyLock<Mutex<HashMap<String, Box<dyn Any + Send>>>> = LazyLock::new(Default::default);

/// The registry behind `/metrics`.
pub fn registry() -> &'static Registry {
    prometheus::default_registry()
}

/// A counter with labels.
pub fn counter_vec(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, MetricError> {
    as_described(name, Kind::Counter, labels)?;
    registered(name, || IntCounterVec::new(Opts::new(name, help), labels))
}

/// A histogram with labels and these upper bounds of its buckets.
pub fn histogram_vec(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Result<HistogramVec, MetricError> {
    as_described(name, Kind::Histogram, labels)?;
    registered(name, || {
        HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)
    })
}

/// A gauge.
pub fn gauge(name: &str, help: &str) -> Result<IntGauge, MetricError> {
    as_described(name, Kind::Gauge, &[])?;
    registered(name, || IntGauge::new(name, help))
}

/// A gauge with labels.
pub fn gauge_vec(name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, MetricError> {
    as_described(name, Kind::Gauge, labels)?;
    registered(name, || IntGaugeVec::new(Opts::new(name, help), labels))
}

/// Bounds, in seconds, for what usually takes milliseconds and must not take longer than half a minute.
pub const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Everything in the registry, in Prometheus' text format.
pub fn text() -> Result<Vec<u8>, prometheus::Error> {
    let mut text = Vec::with_capacity(16 * 1024);
    TextEncoder::new().encode(&registry().gather(), &mut text)?;
    Ok(text)
}

/// Holds what the contract names to what it says, so that alerts and dashboards can rely on it.
fn as_described(name: &str, kind: Kind, labels: &[&str]) -> Result<(), MetricError> {
    match metric::find(name) {
        Some(metric) if metric.kind != kind || metric.labels != labels => Err(MetricError::NotAsDescribed {
            name: name.to_owned(),
            kind: metric.kind,
            labels: metric.labels,
        }),
        _ => Ok(()),
    }
}

fn registered<C: Collector + Clone + 'static>(
    name: &str,
    build: impl FnOnce() -> Result<C, prometheus::Error>,
) -> Result<C, MetricError> {
    let mut collectors = COLLECTORS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = collectors.get(name) {
        return known
            .downcast_ref::<C>()
            .cloned()
            .ok_or_else(|| MetricError::OtherKind { name: name.to_owned() });
    }
    let invalid = |source| MetricError::Invalid {
        name: name.to_owned(),
        source,
    };
    let collector = build().map_err(invalid)?;
    registry().register(Box::new(collector.clone())).map_err(invalid)?;
    collectors.insert(name.to_owned(), Box::new(collector.clone()));
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_one_collector() {
        counter_vec("runtime_test_total", "A test.", &["kind"])
            .unwrap()
            .with_label_values(&["a"])
            .inc();
        counter_vec("runtime_test_total", "A test.", &["kind"])
            .unwrap()
            .with_label_values(&["a"])
            .inc();
        let text = String::from_utf8(text().unwrap()).unwrap();
        assert!(text.contains("runtime_test_total{kind=\"a\"} 2\n"), "{text}");
    }

    #[test]
    fn a_name_taken_by_another_kind_or_not_valid_is_an_error() {
        gauge("runtime_test_gauge", "A test.").unwrap();
        let other = counter_vec("runtime_test_gauge", "A test.", &["kind"]).unwrap_err();
        assert_eq!(
            other.to_string(),
            "metric runtime_test_gauge is registered already as another kind of metric"
        );
        assert!(matches!(
            gauge("not a name", "A test."),
            Err(MetricError::Invalid { .. })
        ));
    }

    #[test]
    fn metrics_of_the_contract_are_what_the_contract_says() {
        let error = counter_vec(metric::CONSUMER_RETRIES, "A test.", &["topic"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "metric syncpipeline_consumer_retries_total is not a Counter by [\"store\"], as the contract describes it"
        );
        let error = gauge_vec(metric::CONSUMER_RETRIES, "A test.", &["store"]).unwrap_err();
        assert!(matches!(error, MetricError::NotAsDescribed { .. }), "{error}");
    }
}
