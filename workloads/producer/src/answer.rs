//! From what is known of each record to the answer of its upload.

use crate::{
    idempotency::Kept,
    kafka::{Outcome, Position, WriteError},
    outbox::Outbox,
    refusal::Refusal,
    upload::{self, Placed},
};
use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, ContentType},
    },
};
use contract::{FieldError, RecordResult, Source};
use uuid::{Uuid, fmt::Hyphenated};

/// Room for the text of a result, bytes: that of most receipts.
const RESULT: usize = 256;
/// Bytes that a byte of a client's own words becomes in JSON, at most: those of an escape.
const ESCAPE: usize = 6;

/// Bytes that are in memory for an answer about these records, from the check of them to the text that is sent.
pub fn bytes(records: &[Result<Placed, FieldError>]) -> usize {
    let errors = records.iter().filter_map(|record| record.as_ref().err());
    let words: usize = errors
        .map(|error| ESCAPE * error.field.len() + error.problem.len())
        .sum();
    RESULT * (records.len() + 1) + words
}

/// The answer to an upload that was not refused as a whole. As JSON it is a [`contract::SyncResponse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    batch_id: Uuid,
    topic: String,
    /// A result for each record.
    results: Vec<Told>,
    /// Of each message, where it is stored.
    positions: Vec<Option<Position>>,
    /// Seconds after which a retry is worth while, where a record wants one.
    pub retry_after: Option<u32>,
}

/// What was asked for.
#[derive(Debug)]
pub struct Asked {
    /// What the checks of the records found.
    pub records: Vec<Result<Placed, FieldError>>,
    /// Whether it is one record by itself, and no array.
    pub alone: bool,
}

/// What became of one record: a [`RecordResult`] in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Its message is stored.
    Stored(Placed),
    /// It can never be stored as it is.
    Invalid(FieldError),
    /// It may or may not be stored, for this reason.
    Retry(&'static str),
}

impl Answer {
    /// Brings together what was asked for and what became of the messages, one outcome for each.
    pub fn new(
        source: Source,
        topic: String,
        batch_id: Uuid,
        asked: Asked,
        outcomes: Vec<Outcome>,
    ) -> Result<Answer, Refusal> {
        let Asked { records, alone } = asked;
        // One message for all: where there are several records, none is to blame, and fewer of them fit.
        if source.batched() && outcomes.contains(&Err(WriteError::TooLarge)) {
            let records = records.iter().flatten().count();
            return Err(Refusal::MessageTooLarge { records });
        }
        let retry_after = outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref().err()?.retry_after());
        let results = records.into_iter().enumerate().map(|(number, record)| match record {
            Ok(placed) => told(alone, number, placed, &outcomes[placed.message]),
            Err(error) => Told::Invalid(error),
        });
        Ok(Answer {
            batch_id,
            topic,
            results: results.collect(),
            retry_after: retry_after.max(),
            positions: outcomes.into_iter().map(Result::ok).collect(),
        })
    }

    /// Where its messages were written.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// What became of each record, in the order of the request.
    pub fn results(&self) -> &[Told] {
        &self.results
    }

    /// How many records are stored.
    pub fn stored(&self) -> usize {
        let stored = |result: &&Told| matches!(result, Told::Stored(_));
        self.results.iter().filter(stored).count()
    }

    /// Whether a repeat should be answered with it: nothing of it may change, and what it tells cannot be found out
    /// again. Where no record is stored it can, from the same upload.
    pub fn is_to_be_kept(&self) -> bool {
        self.stored() > 0 && !self.has_retry()
    }

    /// Whether a record has to be sent again.
    pub fn has_retry(&self) -> bool {
        self.results.iter().any(|result| matches!(result, Told::Retry(_)))
    }

    /// 200 where every record is stored, 400 where every one is invalid, 503 where none is stored and one may be by a
    /// retry, else 207.
    pub fn status(&self) -> StatusCode {
        let count = |wanted: fn(&Told) -> bool| self.results.iter().filter(|result| wanted(result)).count();
        let all = self.results.len();
        let stored = self.stored();
        let invalid = count(|result| matches!(result, Told::Invalid(_)));
        match (stored, invalid) {
            (stored, _) if stored == all => StatusCode::OK,
            (_, invalid) if invalid == all => StatusCode::BAD_REQUEST,
            (0, _) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::MULTI_STATUS,
        }
    }

    /// As it is kept for repeats.
    pub fn kept(&self) -> Kept {
        Kept {
            status: self.status().as_u16(),
            body: self.json().into(),
        }
    }

    /// As HTTP, to be sent from `outbox`.
    pub fn response(&self, outbox: &Outbox) -> HttpResponse {
        let mut response = HttpResponse::build(self.status());
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        response.insert_header(ContentType::json());
        outbox.send(response, self.json().into())
    }

    /// The body. A receipt is long and says much the same as the one before it: written from its parts it costs a
    /// fraction of what serialising a hundred of them does.
    fn json(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(RESULT * (self.results.len() + 1));
        text.extend_from_slice(b"{\"batchId\":\"");
        add_uuid(&mut text, self.batch_id);
        text.extend_from_slice(b"\",\"results\":[");
        let mut receipts = Receipts::of(self);
        for (number, result) in self.results.iter().enumerate() {
            if number > 0 {
                text.push(b',');
            }
            match result {
                Told::Stored(placed) => receipts.add(&mut text, placed),
                Told::Invalid(error) => add_json(&mut text, &RecordResult::from(error.clone())),
                Told::Retry(reason) => {
                    let reason = (*reason).to_owned();
                    add_json(&mut text, &RecordResult::Retry { reason });
                }
            }
        }
        text.extend_from_slice(b"]}");
        text
    }
}

fn told(alone: bool, number: usize, placed: Placed, outcome: &Outcome) -> Told {
    match outcome {
        Ok(_) => Told::Stored(placed),
        Err(WriteError::TooLarge) => Told::Invalid(FieldError {
            field: upload::path(alone, number),
            problem: "is too large for Kafka".to_owned(),
        }),
        Err(error @ (WriteError::QueueFull | WriteError::Unavailable(_))) => Told::Retry(error.reason()),
    }
}

/// Writes the results of stored records.
struct Receipts<'a> {
    answer: &'a Answer,
    /// What all results of one message begin with, and its number.
    beginning: Vec<u8>,
    message: Option<usize>,
}

impl Receipts<'_> {
    fn of(answer: &Answer) -> Receipts<'_> {
        Receipts {
            answer,
            beginning: Vec::with_capacity(RESULT),
            message: None,
        }
    }

    fn add(&mut self, text: &mut Vec<u8>, placed: &Placed) {
        if self.message.replace(placed.message) != Some(placed.message) {
            self.begin(placed.message);
        }
        text.extend_from_slice(&self.beginning);
        add_json(text, &placed.index);
        text.extend_from_slice(b",\"recordId\":\"");
        add_uuid(text, placed.record_id);
        text.extend_from_slice(b"\"}}");
    }

    fn begin(&mut self, message: usize) {
        let text = &mut self.beginning;
        text.clear();
        text.extend_from_slice(b"{\"status\":\"stored\",\"receipt\":{");
        if let Some(position) = &self.answer.positions[message] {
            text.extend_from_slice(b"\"cluster\":");
            add_json(text, position.cluster.as_ref());
            text.extend_from_slice(b",\"topic\":");
            add_json(text, &self.answer.topic);
            text.extend_from_slice(b",\"partition\":");
            add_json(text, &position.partition);
            text.extend_from_slice(b",\"offset\":");
            add_json(text, &position.offset);
        }
        text.extend_from_slice(b",\"index\":");
    }
}

fn add_json(text: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    // Serialising strings and numbers into memory cannot fail.
    let _ = serde_json::to_writer(text, value);
}

fn add_uuid(text: &mut Vec<u8>, id: Uuid) {
    let mut letters = [0; Hyphenated::LENGTH];
    text.extend_from_slice(id.hyphenated().encode_lower(&mut letters).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::{Receipt, SyncResponse};

    fn answer(source: Source, records: &[Option<usize>], outcomes: &[Outcome]) -> Result<Answer, Refusal> {
        let records = records
            .iter()
            .enumerate()
            .map(|(number, message)| match message {
                Some(message) => Ok(Placed {
                    record_id: Uuid::from_u128(number as u128),
                    message: *message,
                    index: number as i32,
                }),
                None => Err(FieldError {
                    field: "records[0].body".to_owned(),
                    problem: "is missing".to_owned(),
                }),
            })
            .collect();
        let asked = Asked { records, alone: false };
        Answer::new(
            source,
            "t\"1\"".to_owned(),
            Uuid::from_u128(7),
            asked,
            outcomes.to_vec(),
        )
    }

    /// The body, which has the form of the contract to the letter.
    fn body(answer: &Answer) -> SyncResponse {
        let body: SyncResponse = serde_json::from_slice(&answer.json()).unwrap();
        assert_eq!(
            String::from_utf8(answer.json()).unwrap(),
            serde_json::to_string(&body).unwrap()
        );
        body
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
                answer.results
            );
            assert_eq!(answer.has_retry(), retry_after.is_some());
            assert_eq!(body(&answer).has_retry(), answer.has_retry());
            assert_eq!(body(&answer).results.len(), records.len());
        }
        assert_eq!(
            answer(Source::Sms, &[None, Some(0)], &[large()]),
            Err(Refusal::MessageTooLarge { records: 1 })
        );
    }

    #[test]
    fn the_room_of_an_answer_is_no_less_than_its_text() {
        let error = FieldError {
            field: "\u{1}".repeat(256),
            problem: "must not contain U+0000".to_owned(),
        };
        for records in [vec![Err(error); 100], vec![Ok(placed(u128::MAX)); 100]] {
            let room = bytes(&records);
            let topic = "apps_and_device_batched".to_owned();
            let outcomes = vec![stored(i64::MAX)];
            let asked = Asked { records, alone: false };
            let answer = Answer::new(Source::AppsAndDevice, topic, Uuid::nil(), asked, outcomes).unwrap();
            assert!(answer.json().len() <= room, "{} in {room}", answer.json().len());
        }
    }

    fn placed(id: u128) -> Placed {
        Placed {
            record_id: Uuid::from_u128(id),
            message: 0,
            index: 999,
        }
    }

    #[test]
    fn a_receipt_is_that_of_the_records_own_message() {
        let records = [Some(0), None, Some(1), Some(1), Some(0)];
        let answer = answer(Source::Events, &records, &[stored(7), stored(9)]).unwrap();
        let body = body(&answer);
        assert_eq!(body.batch_id, Uuid::from_u128(7));
        assert!(matches!(body.results[1], RecordResult::Invalid { .. }));
        let offsets: Vec<i64> = body.receipts().map(|receipt| receipt.offset).collect();
        assert_eq!(offsets, [7, 9, 9, 7]);
        let wanted = Receipt {
            cluster: "c".to_owned(),
            topic: "t\"1\"".to_owned(),
            partition: 1,
            offset: 9,
            index: 2,
            record_id: Uuid::from_u128(2),
        };
        assert_eq!(body.receipts().nth(1), Some(&wanted));
    }
}
