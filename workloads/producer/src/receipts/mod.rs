//! What became of what was accepted under a receipt: `GET /v1/receipts/{topic}/{partition}/{offset}`.
//!
//! - [`judge`]: from what a message has left to what is said about it
//! - [`answer`]: how that is said

pub mod answer;
pub mod judge;

use crate::{api::Producer, ledger::message::Place, openapi, refusal::Refusal};
use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use answer::{ReceiptStatus, State};
use contract::FieldError;
use judge::Asker;
use std::str::FromStr;

/// What became of a receipt.
///
/// Tells for the message of a receipt whether its records are in PostgreSQL, in MongoDB and in the dead letters. A
/// message holds the records of one upload, or one event. Nothing of a record's content is told.
#[utoipa::path(
    get,
    path = "/v1/receipts/{topic}/{partition}/{offset}",
    operation_id = "receipt",
    tag = "receipts",
    security((), ("apiKey" = [])),
    params(
        ("topic" = String, Path, description = "`topic` of the receipt"),
        ("partition" = i32, Path, description = "`partition` of the receipt", minimum = 0),
        ("offset" = i64, Path, description = "`offset` of the receipt", minimum = 0),
    ),
    responses(
        (status = 200, description = "What is known of the message", body = ReceiptStatus),
        (status = 400, description = "Partition or offset is no such number", body = openapi::ErrorResponse),
        (status = 401, description = "API keys are required, and this request shows no valid one", body = openapi::ErrorResponse),
        (status = 404, description = "No topic of this producer, no such partition, a receipt of another tenant, or a pipeline without PostgreSQL", body = openapi::ErrorResponse),
        (status = 503, description = "It cannot be told at the moment", body = openapi::ErrorResponse,
            headers(("Retry-After" = u32, description = "Seconds to wait before the retry"))),
    ),
)]
pub async fn receipt(request: HttpRequest, producer: Data<Producer>) -> Result<HttpResponse, Refusal> {
    let key = producer.key(&request).await?;
    let asker = match &key {
        None => Asker::Anybody,
        Some(key) => Asker::Of(key.tenant.as_deref().unwrap_or(&producer.tenant)),
    };
    // As they stand in the path: neither a topic's name nor a number has anything that would be encoded there.
    let part = |name| request.match_info().get(name).unwrap_or_default();
    let topic = part("topic").to_owned();
    let source = producer.topics.source(&topic).ok_or(Refusal::UnknownTopic)?;
    let partition: i32 = number("partition", part("partition"), i32::MAX.into())?;
    let offset: i64 = number("offset", part("offset"), i64::MAX)?;
    let accounts = producer.accounts.as_ref().ok_or(Refusal::NoAccounts)?;
    let cluster = producer.extents.cluster().ok_or(Refusal::KafkaAway)?;
    if producer
        .extents
        .partitions(&topic)
        .is_some_and(|partitions| partition >= partitions)
    {
        return Err(Refusal::UnknownPartition);
    }
    let place = Place {
        cluster,
        topic: topic.clone(),
        source,
        partition,
        offset,
    };
    let trace = accounts.message(place).await?;
    if judge::is_of_another(&trace, asker) {
        return Err(Refusal::UnknownReceipt);
    }
    let start = match judge::depends_on_start(&trace, offset) {
        true => producer.start_of(&topic, partition).await,
        false => None,
    };
    let state = judge::state(&trace, offset, start);
    let status = ReceiptStatus {
        topic,
        partition,
        offset,
        state,
        records: (state == State::Settled).then(|| judge::records(source, &trace, offset, asker)),
    };
    let mut answer = HttpResponse::Ok();
    Ok(answer.insert_header((header::CACHE_CONTROL, "no-store")).json(status))
}

impl Producer {
    /// The first offset that Kafka still holds, where it tells.
    async fn start_of(&self, topic: &str, partition: i32) -> Option<i64> {
        let partition = (topic.to_owned(), partition);
        let extents = self.extents.extents(vec![partition.clone()]).await;
        extents.get(&partition).map(|extent| extent.start)
    }
}

/// A number of the path, in plain digits.
fn number<N: FromStr>(field: &str, text: &str, most: i64) -> Result<N, FieldError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| FieldError {
        field: field.to_owned(),
        problem: format!("must be a whole number from 0 to {most}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_is_plain_digits_within_its_bounds() {
        assert_eq!(number::<i32>("partition", "7", i32::MAX.into()), Ok(7));
        assert_eq!(number::<i64>("offset", "9223372036854775807", i64::MAX), Ok(i64::MAX));
        for wrong in ["", "-1", "+1", "1.0", "2147483648", "٣", " 1"] {
            let error = number::<i32>("partition", wrong, i32::MAX.into()).unwrap_err();
            assert_eq!(
                error.to_string(),
                "partition: must be a whole number from 0 to 2147483647"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_number_or_none(text in "\\PC{0,30}") {
            if let Ok(number) = number::<i64>("offset", &text, i64::MAX) {
                prop_assert!(number >= 0);
            }
        }
    }
}
