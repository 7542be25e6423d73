//! What a producer may ask of PostgreSQL.

use std::time::Duration;

use super::{InvalidSpec, invalid, parse_duration};
use crate::api::spec::{ApiKeys, Producer as ProducerSpec, SyncPipelineSpec};

/// Shortest and longest time for which answers may be kept.
const WINDOW: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(720 * 3600));

/// Checks that there is somewhere to keep the producer's keys and answers, and reads how long the latter are kept.
pub(super) fn idempotency_window(
    spec: &SyncPipelineSpec,
    field: &str,
    producer: &ProducerSpec,
) -> Result<Option<Duration>, InvalidSpec> {
    let needs = |what: &str| invalid(format!("{field}.{what}"), "needs spec.postgres, which keeps them");
    if producer.api_keys == ApiKeys::Required && spec.postgres.is_none() {
        return Err(needs("apiKeys"));
    }
    let Some(window) = &producer.idempotency_window else {
        return Ok(None);
    };
    if spec.postgres.is_none() {
        return Err(needs("idempotencyWindow"));
    }
    let field = format!("{field}.idempotencyWindow");
    let window = parse_duration(&field, Some(window), Duration::ZERO)?;
    if !(WINDOW.0..=WINDOW.1).contains(&window) || window.subsec_nanos() > 0 {
        return Err(invalid(field, "must be whole seconds from 1m to 720h"));
    }
    Ok(Some(window))
}
