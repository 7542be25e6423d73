//! From what is known of each record to the answer of its upload.

use crate::{
    idempotency::Kept,
    kafka::{Outcome, WriteError},
    refusal::Refusal,
    upload::Placed,
};
use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use contract::{FieldError, Receipt, RecordResult, Source, SyncResponse};
use uuid::Uuid;

/// The answer to an upload that was not refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// A result for each record.
    pub body: SyncResponse,
    /// Seconds after which a retry is worth while, where a record wants one.
    pub retry_after: Option<u32>,
}

impl Answer {
    /// Brings together what the checks of the records found and what became of the messages, one outcome for each.
    pub fn new(
        source: Source,
        topic: &str,
        batch_id: Uuid,
        records: Vec<Result<Placed, FieldError>>,
        outcomes: &[Outcome],
    ) -> Result<Answer, Refusal> {
        // One message for all: no record is to blame, and fewer of them fit.
        if source.batched() && outcomes.contains(&Err(WriteError::TooLarge)) {
            return Err(Refusal::MessageTooLarge);
        }
        let retry_after = outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref().err()?.retry_after());
        let results = records.into_iter().enumerate().map(|(number, record)| match record {
            Ok(placed) => result(topic, number, placed, &outcomes[placed.message]),
            Err(error) => error.into(),
        });
        Ok(Answer {
            retry_after: retry_after.max(),
            body: SyncResponse {
                batch_id,
                results: results.collect(),
            },
        })
    }

    /// 200 where every record is stored, 400 where every one is invalid, 503 where none is stored and one may be by a
    /// retry, else 207.
    pub fn status(&self) -> StatusCode {
        let count =
            |wanted: fn(&RecordResult) -> bool| self.body.results.iter().filter(|result| wanted(result)).count();
        let all = self.body.results.len();
        let stored = count(|result| matches!(result, RecordResult::Stored { .. }));
        let invalid = count(|result| matches!(result, RecordResult::Invalid { .. }));
        match (stored, invalid) {
            (stored, _) if stored == all => StatusCode::OK,
            (_, invalid) if invalid == all => StatusCode::BAD_REQUEST,
            (0, _) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::MULTI_STATUS,
        }
    }

    /// As it is kept for repeats.
    pub fn kept(&self) -> Option<Kept> {
        Some(Kept {
            status: self.status().as_u16(),
            body: serde_json::to_vec(&self.body).ok()?.into(),
        })
    }

    /// As HTTP.
    pub fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status());
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        response.json(&self.body)
    }
}

fn result(topic: &str, number: usize, placed: Placed, outcome: &Outcome) -> RecordResult {
    match outcome {
        Ok(position) => RecordResult::Stored {
            receipt: Receipt {
                cluster: position.cluster.to_string(),
                topic: topic.to_owned(),
                partition: position.partition,
                offset: position.offset,
                index: placed.index,
                record_id: placed.record_id,
            },
        },
        Err(WriteError::TooLarge) => RecordResult::Invalid {
            field: format!("records[{number}]"),
            problem: "is too large for Kafka".to_owned(),
        },
        Err(error @ (WriteError::QueueFull | WriteError::Unavailable(_))) => RecordResult::Retry {
            reason: error.reason().to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Position;

    fn answer(source: Source, records: &[Option<usize>], outcomes: &[Outcome]) -> Result<Answer, Refusal> {
        let records = records
            .iter()
            .map(|message| match message {
                Some(message) => Ok(Placed {
                    record_id: Uuid::nil(),
                    message: *message,
                    index: 0,
                }),
                None => Err(FieldError {
                    field: "records[0].body".to_owned(),
                    problem: "is missing".to_owned(),
                }),
            })
            .collect();
        Answer::new(source, "t", Uuid::nil(), records, outcomes)
    }

    fn stored(offset: i64) -> Outcome {
        Ok(Position {
            cluster: "c".into(),
            partition: 1,
            offset,
        })
    }

    #[test]
    fn the_status_follows_from_the_results() {
        let away = || Err(WriteError::Unavailable("x".to_owned()));
        let full = || Err(WriteError::QueueFull);
        let large = || Err(WriteError::TooLarge);
        let cases = [
            (&[Some(0), Some(1)][..], vec![stored(0), stored(1)], 200, None),
            (&[None, None], vec![], 400, None),
            (&[None, Some(0)], vec![stored(0)], 207, None),
            (&[Some(0), Some(1)], vec![stored(0), full()], 207, Some(1)),
            (&[Some(0), Some(1)], vec![away(), full()], 503, Some(5)),
            (&[None, Some(0)], vec![full()], 503, Some(1)),
            (&[Some(0), Some(1)], vec![large(), stored(0)], 207, None),
            (&[Some(0)], vec![large()], 400, None),
        ];
        for (records, outcomes, status, retry_after) in cases {
            let answer = answer(Source::Events, records, &outcomes).unwrap();
            assert_eq!(
                (answer.status().as_u16(), answer.retry_after),
                (status, retry_after),
                "{:?}",
                answer.body
            );
            assert_eq!(answer.body.has_retry(), retry_after.is_some());
        }
        assert_eq!(
            answer(Source::Sms, &[None, Some(0)], &[large()]),
            Err(Refusal::MessageTooLarge)
        );
    }

    #[test]
    fn a_receipt_is_that_of_the_records_own_message() {
        let answer = answer(Source::Events, &[Some(0), None, Some(1)], &[stored(7), stored(9)]).unwrap();
        let offsets: Vec<i64> = answer.body.receipts().map(|receipt| receipt.offset).collect();
        assert_eq!(offsets, [7, 9]);
        assert!(matches!(answer.body.results[1], RecordResult::Invalid { .. }));
    }
}
