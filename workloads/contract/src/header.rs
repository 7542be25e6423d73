//! Kafka headers of a dead letter. Its key and value are those of the original message, unchanged.

/// Topic of the original message.
pub const TOPIC: &str = "syncpipeline-topic";
/// Partition of the original message, decimal.
pub const PARTITION: &str = "syncpipeline-partition";
/// Offset of the original message, decimal.
pub const OFFSET: &str = "syncpipeline-offset";
/// Place of the guilty record in its batch, decimal; absent when the whole message is guilty.
pub const INDEX: &str = "syncpipeline-index";
/// Kafka timestamp of the original message, RFC 3339.
pub const TIMESTAMP: &str = "syncpipeline-timestamp";
/// Stage that gave the record up, for example `consumer`.
pub const STAGE: &str = "syncpipeline-stage";
/// Class of the error: `decode`, `validation` or `data`.
pub const ERROR_CLASS: &str = "syncpipeline-error-class";
/// Text of the error, without the record's content.
pub const ERROR: &str = "syncpipeline-error";
/// How often the record was tried, decimal.
pub const ATTEMPT: &str = "syncpipeline-attempt";
/// The delivery id, see [`crate::DeliveryId`].
pub const DELIVERY_ID: &str = "syncpipeline-delivery-id";

/// Delivery id of the first dead letter, on a message that was sent again because of it.
pub const REPLAY_OF: &str = "syncpipeline-replay-of";

/// All of them: what is not among these is the original message's own.
pub const ALL: &[&str] = &[
    TOPIC,
    PARTITION,
    OFFSET,
    INDEX,
    TIMESTAMP,
    STAGE,
    ERROR_CLASS,
    ERROR,
    ATTEMPT,
    DELIVERY_ID,
    REPLAY_OF,
];

/// Suffix of the default dead-letter topic of a topic.
pub const DEAD_LETTER_SUFFIX: &str = ".dlq";

/// Default dead-letter topic of `topic`.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}{DEAD_LETTER_SUFFIX}")
}
