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
/// Counter: records by `source` and `outcome` (stored, duplicate, dead_lettered).
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
/// Gauge: lag of a group on a topic, messages, by `namespace`, `pipeline`, `group` and `topic`.
pub const LAG: &str = "syncpipeline_topic_lag_messages";
/// Counter: scaling decisions that changed replicas, by `namespace`, `pipeline`, `component` and `direction`.
pub const DECISIONS: &str = "syncpipeline_scaling_decisions_total";
/// Counter: reconciles by `outcome`.
pub const RECONCILES: &str = "syncpipeline_reconciles_total";
/// Histogram, seconds: reconcile duration.
pub const RECONCILE_DURATION: &str = "syncpipeline_reconcile_duration_seconds";
/// Histogram, seconds: one reading of a Kafka cluster's offsets.
pub const OFFSET_READ_DURATION: &str = "syncpipeline_offset_read_duration_seconds";
