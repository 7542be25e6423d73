//! Ports that the workloads listen on, inside their pods.

/// HTTP of the producer: the API, health and metrics.
pub const PRODUCER: u16 = 8000;
/// HTTP of the consumer: health and metrics only.
pub const CONSUMER: u16 = 8080;
/// HTTP of the Insights API and of the SMS Extraction API.
pub const INSIGHTS: u16 = 8000;
/// HTTP of the generator: progress, receipts, health and metrics.
pub const GENERATOR: u16 = 8080;
/// HTTP of the operator: health and metrics.
pub const OPERATOR: u16 = 8080;
