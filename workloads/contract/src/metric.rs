//! Metric names, in Prometheus' conventions. Labels are bounded sets: source, topic, partition, outcome.

/// Counter: HTTP requests by `route`, `method` and `status`.
pub const HTTP_REQUESTS: &str = "syncpipeline_http_requests_total";
/// Histogram, seconds: HTTP request duration by `route`.
pub const HTTP_DURATION: &str = "syncpipeline_http_request_duration_seconds";
/// Counter: records accepted by the producer, by `source`.
pub const PRODUCER_ACCEPTED: &str = "syncpipeline_producer_accepted_records_total";
/// Counter: records refused by the producer, by `source` and `reason`.
pub const PRODUCER_REFUSED: &str = "syncpipeline_producer_refused_records_total";
/// Histogram, seconds: from produce to acknowledgement, by `topic`.
pub const PRODUCE_DURATION: &str = "syncpipeline_produce_duration_seconds";
/// Counter: uploads that the producer answered as the first time they were sent, by `source`.
pub const PRODUCER_REPLAYS: &str = "syncpipeline_producer_idempotent_replays_total";
/// Counter: API keys looked up by the producer, by `outcome` (cached, found, unknown, unavailable).
pub const PRODUCER_KEY_LOOKUPS: &str = "syncpipeline_producer_key_lookups_total";
/// Gauge: messages of all partitions by `source` and `outcome` (settled, expired, in_flight, and unaccounted, which is 0 or
/// something is wrong), as every producer finds them in the consumers' accounts and in Kafka.
pub const RECONCILIATION: &str = "syncpipeline_reconciliation_messages";
/// Counter: records by `source` and `outcome` (stored, duplicate, dead_lettered, erased).
pub const CONSUMER_RECORDS: &str = "syncpipeline_consumer_records_total";
/// Histogram: records in one write to the stores.
pub const CONSUMER_BATCH_RECORDS: &str = "syncpipeline_consumer_batch_records";
/// Histogram, seconds: one write by `store` (postgres, mongodb).
pub const CONSUMER_WRITE_DURATION: &str = "syncpipeline_consumer_write_duration_seconds";
/// Counter: retries of a write by `store`.
pub const CONSUMER_RETRIES: &str = "syncpipeline_consumer_retries_total";
/// Gauge: partitions assigned to this reader.
pub const CONSUMER_PARTITIONS: &str = "syncpipeline_consumer_assigned_partitions";
/// Counter: batches dropped because another reader had moved the ledger on.
pub const CONSUMER_FENCED: &str = "syncpipeline_consumer_fenced_batches_total";
/// Counter: messages that Kafka had deleted before they were read, by `source`.
pub const CONSUMER_EXPIRED: &str = "syncpipeline_consumer_expired_messages_total";
/// Counter: records given up, by `source` and `class` (decode, validation, data).
pub const CONSUMER_DEAD_LETTERS: &str = "syncpipeline_consumer_dead_letters_total";
/// Counter: times that partitions were paused because a store did not keep up.
pub const CONSUMER_PAUSES: &str = "syncpipeline_consumer_pauses_total";
/// Gauge: batches that are held back because nearly nothing of them can be stored.
pub const CONSUMER_BREAKERS: &str = "syncpipeline_consumer_open_breakers";
/// Histogram, seconds: from Kafka's timestamp of a message to its records being stored, by `source`.
pub const CONSUMER_STORE_LATENCY: &str = "syncpipeline_consumer_store_latency_seconds";
/// Histogram, seconds: from the producer's taking an upload to its records being stored, by `source`.
pub const CONSUMER_END_TO_END: &str = "syncpipeline_consumer_end_to_end_seconds";
/// Gauge: lag of a group on a topic, messages, by `namespace`, `pipeline`, `group` and `topic`.
pub const LAG: &str = "syncpipeline_topic_lag_messages";
/// Gauge, seconds: how long ago the oldest message arrived that a group has not read of a topic, by the same.
pub const LAG_SECONDS: &str = "syncpipeline_topic_lag_seconds";
/// Gauge, seconds: how long Kafka keeps the messages of a topic, read or not, by the same.
pub const RETENTION: &str = "syncpipeline_topic_retention_seconds";
/// Gauge: partitions of a topic by how a group reads them, by the same and `health` (ok, falling_behind, stalled,
/// stopped, rewound, expired, unknown).
pub const PARTITIONS: &str = "syncpipeline_topic_partitions";
/// Gauge: 1 while a condition of a pipeline holds, else 0, by `namespace`, `pipeline` and `type`.
pub const CONDITION: &str = "syncpipeline_condition";
/// Gauge: pods that a component is meant to have, by `namespace`, `pipeline` and `component`.
pub const COMPONENT_WANTED: &str = "syncpipeline_component_wanted_replicas";
/// Gauge: pods of a component that are ready, by `namespace`, `pipeline` and `component`.
pub const COMPONENT_READY: &str = "syncpipeline_component_ready_replicas";
/// Gauge: least pods of a component, by `namespace`, `pipeline` and `component`.
pub const COMPONENT_MIN: &str = "syncpipeline_component_min_replicas";
/// Gauge: most pods of a component, by `namespace`, `pipeline` and `component`.
pub const COMPONENT_MAX: &str = "syncpipeline_component_max_replicas";
/// Counter: scaling decisions that changed replicas, by `namespace`, `pipeline`, `component` and `direction`.
pub const DECISIONS: &str = "syncpipeline_scaling_decisions_total";
/// Counter: reconciles by `outcome`.
pub const RECONCILES: &str = "syncpipeline_reconciles_total";
/// Histogram, seconds: reconcile duration.
pub const RECONCILE_DURATION: &str = "syncpipeline_reconcile_duration_seconds";
/// Histogram, seconds: one reading of a Kafka cluster's offsets.
pub const OFFSET_READ_DURATION: &str = "syncpipeline_offset_read_duration_seconds";
/// Counter: requests to the API server by `method` and `outcome` (success, failure).
pub const API_REQUESTS: &str = "syncpipeline_api_requests_total";

/// What a metric is, beside its name. Whoever exports one is held to it, and so are the chart's alerts and dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Names of its labels, in the order in which their values are given.
    pub labels: &'static [&'static str],
}

/// Kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

impl Metric {
    const fn counter(name: &'static str, labels: &'static [&'static str]) -> Metric {
        Metric {
            name,
            kind: Kind::Counter,
            labels,
        }
    }

    const fn gauge(name: &'static str, labels: &'static [&'static str]) -> Metric {
        Metric {
            name,
            kind: Kind::Gauge,
            labels,
        }
    }

    const fn histogram(name: &'static str, labels: &'static [&'static str]) -> Metric {
        Metric {
            name,
            kind: Kind::Histogram,
            labels,
        }
    }
}

const OF_COMPONENT: &[&str] = &["namespace", "pipeline", "component"];

/// What the operator exports.
pub const OF_OPERATOR: &[Metric] = &[
    Metric::gauge(LAG, &["namespace", "pipeline", "group", "topic"]),
    Metric::gauge(LAG_SECONDS, &["namespace", "pipeline", "group", "topic"]),
    Metric::gauge(RETENTION, &["namespace", "pipeline", "group", "topic"]),
    Metric::gauge(PARTITIONS, &["namespace", "pipeline", "group", "topic", "health"]),
    Metric::gauge(CONDITION, &["namespace", "pipeline", "type"]),
    Metric::gauge(COMPONENT_WANTED, OF_COMPONENT),
    Metric::gauge(COMPONENT_READY, OF_COMPONENT),
    Metric::gauge(COMPONENT_MIN, OF_COMPONENT),
    Metric::gauge(COMPONENT_MAX, OF_COMPONENT),
    Metric::counter(DECISIONS, &["namespace", "pipeline", "component", "direction"]),
    Metric::counter(RECONCILES, &["outcome"]),
    Metric::histogram(RECONCILE_DURATION, &[]),
    Metric::histogram(OFFSET_READ_DURATION, &[]),
    Metric::counter(API_REQUESTS, &["method", "outcome"]),
];

/// What the workloads export.
pub const OF_WORKLOADS: &[Metric] = &[
    Metric::counter(HTTP_REQUESTS, &["route", "method", "status"]),
    Metric::histogram(HTTP_DURATION, &["route"]),
    Metric::counter(PRODUCER_ACCEPTED, &["source"]),
    Metric::counter(PRODUCER_REFUSED, &["source", "reason"]),
    Metric::histogram(PRODUCE_DURATION, &["topic"]),
    Metric::counter(PRODUCER_REPLAYS, &["source"]),
    Metric::counter(PRODUCER_KEY_LOOKUPS, &["outcome"]),
    Metric::gauge(RECONCILIATION, &["source", "outcome"]),
    Metric::counter(CONSUMER_RECORDS, &["source", "outcome"]),
    Metric::histogram(CONSUMER_BATCH_RECORDS, &[]),
    Metric::histogram(CONSUMER_WRITE_DURATION, &["store"]),
    Metric::counter(CONSUMER_RETRIES, &["store"]),
    Metric::gauge(CONSUMER_PARTITIONS, &[]),
    Metric::counter(CONSUMER_FENCED, &[]),
    Metric::counter(CONSUMER_EXPIRED, &["source"]),
    Metric::counter(CONSUMER_DEAD_LETTERS, &["source", "class"]),
    Metric::counter(CONSUMER_PAUSES, &[]),
    Metric::gauge(CONSUMER_BREAKERS, &[]),
    Metric::histogram(CONSUMER_STORE_LATENCY, &["source"]),
    Metric::histogram(CONSUMER_END_TO_END, &["source"]),
];

/// The metric with this name.
pub fn find(name: &str) -> Option<&'static Metric> {
    OF_OPERATOR
        .iter()
        .chain(OF_WORKLOADS)
        .find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_described_once() {
        let declaration = "pub const ";
        let names: Vec<&str> = include_str!("metric.rs")
            .lines()
            .filter(|line| line.starts_with(declaration) && line.contains(": &str = "))
            .filter_map(|line| line.split('"').nth(1))
            .collect();
        let mut described: Vec<&str> = OF_OPERATOR
            .iter()
            .chain(OF_WORKLOADS)
            .map(|metric| metric.name)
            .collect();
        assert!(names.len() > 15, "{names:?}");
        for name in &names {
            assert!(find(name).is_some(), "{name} is not described");
        }
        described.sort_unstable();
        described.dedup();
        assert_eq!(described.len(), names.len());
    }

    #[test]
    fn names_follow_the_conventions() {
        for metric in OF_OPERATOR.iter().chain(OF_WORKLOADS) {
            let counts = metric.name.ends_with("_total");
            assert_eq!(counts, metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.name.starts_with("syncpipeline_"), "{}", metric.name);
        }
    }
}
