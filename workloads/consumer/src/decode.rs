//! From a Kafka message to rows, and to rejections where it is not fit to be stored.

use crate::batch::{Delivery, Message, RejectClass, Rejection, Row};
use chrono::{DateTime, Datelike, Utc};
use contract::{
    Envelope, RawEnvelope, Reading, ScannedRecords, Sender,
    identity::Origin,
    message::EnvelopeError,
    reading::ReadingError,
    scanned::{ScannedRecord, Unusual},
};
use serde_json::error::Category;
use std::{borrow::Cow, cell::OnceCell};

/// Where it is kept who sent the records of one message, for as long as there are rows of it.
pub type SenderOnce<'a> = OnceCell<Sender<'a>>;

/// Reads a message and adds its good records to `rows`. Whatever cannot be stored comes back as a rejection; nothing is
/// left out.
pub fn decode<'a, 'd: 'a>(delivery: Delivery<'d>, sender: &'a SenderOnce<'d>, rows: &mut Vec<Row<'a>>) -> Message<'a> {
    let before = rows.len();
    let decoded = match delivery.value {
        Some(value) => in_one_pass(delivery, value, sender, rows).or_else(|Unusual| {
            rows.truncate(before);
            records(delivery, value, sender, rows)
        }),
        None => Err("not an envelope: the message has no value".to_owned()),
    };
    match decoded {
        Ok(content) => Message {
            taken_at: taken_at(Some(content.received_at), || delivery.time()),
            sender: sender.get(),
            delivery,
            good: rows.len() - before,
            rejections: content.rejections,
        },
        Err(error) => {
            rows.truncate(before);
            let rejection = Rejection {
                partition: delivery.partition.clone(),
                offset: delivery.offset,
                index: None,
                class: RejectClass::Decode,
                error,
            };
            Message {
                taken_at: taken_at(None, || delivery.time()),
                sender: sender.get(),
                delivery,
                good: 0,
                rejections: vec![rejection],
            }
        }
    }
}

/// The parser quotes what it found, and that may be personal: only the place is passed on.
fn describe(error: EnvelopeError) -> String {
    match error {
        EnvelopeError::Json(error) => format!(
            "not an envelope: {} at line {} column {}",
            match error.classify() {
                Category::Data => "a field is missing or of the wrong type",
                Category::Eof => "the JSON ends too early",
                Category::Syntax | Category::Io => "invalid JSON",
            },
            error.line(),
            error.column()
        ),
        EnvelopeError::Version(_) | EnvelopeError::Identifier(_) | EnvelopeError::Records | EnvelopeError::TooMany => {
            error.to_string()
        }
    }
}

/// What is in a message beside its good records.
struct Content {
    /// When it was taken, as it says itself.
    received_at: DateTime<Utc>,
    rejections: Vec<Rejection>,
}

/// Reads a message of which everything is as it should be.
fn in_one_pass<'a, 'd: 'a>(
    delivery: Delivery<'d>,
    value: &'d [u8],
    sender: &'a SenderOnce<'d>,
    rows: &mut Vec<Row<'a>>,
) -> Result<Content, Unusual> {
    let source = delivery.partition.topic.source;
    let (found, mut records) = ScannedRecords::begin(value)?;
    let sender = sender.get_or_init(|| found);
    let origin = Origin::new(&sender.tenant, source, &sender.user, &sender.device);
    let mut index = 0;
    while let Some(ScannedRecord { record, id, text }) = records.next_record(source)? {
        rows.push(Row {
            id: origin.record_id(&id),
            sender,
            partition: delivery.partition,
            offset: delivery.offset,
            index,
            event_time: record.event_time,
            columns: record.columns,
            raw: text.into(),
        });
        index += 1;
    }
    Ok(Content {
        received_at: sender.received_at,
        rejections: Vec::new(),
    })
}

/// Reads a message, whatever form it has. Where the one pass has found who sent it, that is who the general way finds.
fn records<'a, 'd: 'a>(
    delivery: Delivery<'d>,
    value: &'d [u8],
    sender: &'a SenderOnce<'d>,
    rows: &mut Vec<Row<'a>>,
) -> Result<Content, String> {
    let source = delivery.partition.topic.source;
    let envelope = RawEnvelope::decode(value).map_err(describe)?;
    let sender = sender.get_or_init(|| envelope.sender);
    let origin = Origin::new(&sender.tenant, source, &sender.user, &sender.device);
    let mut rejections = Vec::new();
    for (index, raw) in (0..).zip(envelope.records) {
        match Reading::of(source, raw) {
            Ok(Reading { record, id, text }) => rows.push(Row {
                id: origin.record_id(&id),
                sender,
                partition: delivery.partition,
                offset: delivery.offset,
                index,
                event_time: record.event_time,
                columns: record.columns,
                raw: match text {
                    Cow::Borrowed(text) => text.get().into(),
                    Cow::Owned(text) => Box::<str>::from(text).into_string().into(),
                },
            }),
            Err(ReadingError::Field(error)) => rejections.push(Rejection {
                partition: delivery.partition.clone(),
                offset: delivery.offset,
                index: Some(index),
                class: RejectClass::Validation,
                error: error.told(source),
            }),
            // Found no sooner, because until now it was only looked at for its end.
            Err(ReadingError::Json(error)) => {
                let whole = Envelope::decode(value).map(drop);
                return Err(describe(whole.err().unwrap_or(error.into())));
            }
        }
    }
    Ok(Content {
        received_at: sender.received_at,
        rejections,
    })
}

/// When a message was taken: as it says itself, else as Kafka says, else now. Anybody may write to a topic, and no clock
/// of ours was ever before this century or after the next.
fn taken_at(received_at: Option<DateTime<Utc>>, timestamp: impl FnOnce() -> Option<DateTime<Utc>>) -> DateTime<Utc> {
    let is_believed = |time: &DateTime<Utc>| (2_000..2_200).contains(&time.year());
    let received_at = received_at.filter(is_believed);
    received_at
        .or_else(|| timestamp().filter(is_believed))
        .unwrap_or_else(Utc::now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::{kept, partition};
    use chrono::TimeDelta;
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    fn delivery(value: Option<Vec<u8>>) -> Delivery<'static> {
        crate::batch::tests::delivery(2, 9, value.map(|value| kept(value).as_slice()))
    }

    fn decoded(value: Option<Vec<u8>>) -> (Message<'static>, Vec<Row<'static>>) {
        let mut rows = Vec::new();
        let message = decode(delivery(value), kept(SenderOnce::new()), &mut rows);
        assert_eq!(message.good, rows.len());
        (message, rows)
    }

    #[test]
    fn good_and_bad_records_of_one_message_part() {
        let envelope = Envelope {
            version: contract::message::ENVELOPE_VERSION,
            tenant: "default".into(),
            user: "u".into(),
            device: "d".into(),
            batch_id: Uuid::nil(),
            received_at: DateTime::UNIX_EPOCH,
            records: vec![
                json!({"timestamp": 1, "name": "a"}),
                json!({"timestamp": 1}),
                json!({"timestamp": 2, "name": "b"}),
            ],
        };
        let (message, rows) = decoded(Some(envelope.encode(contract::Source::Events)));
        assert_eq!(rows.iter().map(|row| row.index).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(
            message.rejections,
            [Rejection {
                partition: partition(2),
                offset: 9,
                index: Some(1),
                class: RejectClass::Validation,
                error: "name: is missing".to_owned(),
            }]
        );
    }

    #[test]
    fn a_message_that_is_no_envelope_is_one_rejection_of_the_whole() {
        for value in [None, Some(b"{".to_vec()), Some(b"\xff".to_vec())] {
            let (message, rows) = decoded(value);
            assert!(rows.is_empty());
            assert_eq!(message.rejections.len(), 1);
            assert_eq!(message.rejections[0].index, None);
            assert_eq!(message.rejections[0].class, RejectClass::Decode);
        }
    }

    #[test]
    fn a_time_that_no_clock_shows_is_not_believed() {
        let at = |year: i32| {
            Utc::now()
                .with_month(1)
                .and_then(|now| now.with_day(1)?.with_year(year))
        };
        let (good, other) = (at(2026), at(2025));
        assert_eq!(taken_at(good, || other), good.unwrap());
        for absurd in [at(-9_000), at(1970), at(9_999), None] {
            assert_eq!(taken_at(absurd, || other), other.unwrap());
            assert!(Utc::now() - taken_at(absurd, || absurd) < TimeDelta::hours(1));
        }
    }

    #[test]
    fn a_record_that_no_json_parser_takes_makes_the_message_no_envelope() {
        let mut message = Envelope {
            version: contract::message::ENVELOPE_VERSION,
            tenant: "default".into(),
            user: "u".into(),
            device: "d".into(),
            batch_id: Uuid::nil(),
            received_at: DateTime::UNIX_EPOCH,
            records: vec![
                json!({"timestamp": 1, "name": "a"}),
                json!({"timestamp": 1, "name": "?"}),
            ],
        }
        .encode(contract::Source::Sms);
        let place = message.iter().rposition(|byte| *byte == b'?').unwrap();
        message.splice(place..=place, *br"\ud800");
        let (message, rows) = decoded(Some(message));
        assert!(rows.is_empty());
        let errors: Vec<_> = message
            .rejections
            .iter()
            .map(|rejection| (rejection.index, rejection.class, rejection.error.as_str()))
            .collect();
        let error = "not an envelope: invalid JSON at line 1 column 189";
        assert_eq!(errors, [(None, RejectClass::Decode, error)]);
    }

    fn upload() -> Vec<u8> {
        Envelope {
            version: contract::message::ENVELOPE_VERSION,
            tenant: "default".into(),
            user: "u\"".into(),
            device: "d".into(),
            batch_id: Uuid::from_u128(7),
            received_at: DateTime::UNIX_EPOCH,
            records: vec![
                json!({"id": "1", "timestamp": 1, "name": "a\n", "more": [1.5, {"b": null}]}),
                json!({"timestamp": "2026-01-02T03:04:05.6Z", "name": "é"}),
            ],
        }
        .encode(contract::Source::Sms)
    }

    /// What one of the two ways makes of a message.
    type Read<E> = Result<(Content, Vec<Row<'static>>), E>;

    /// One of the two ways.
    type Way<E> = fn(
        Delivery<'static>,
        &'static [u8],
        &'static SenderOnce<'static>,
        &mut Vec<Row<'static>>,
    ) -> Result<Content, E>;

    fn read<E>(delivery: Delivery<'static>, way: Way<E>) -> Read<E> {
        let mut rows = Vec::new();
        let value = delivery.value.unwrap();
        let content = way(delivery, value, kept(SenderOnce::new()), &mut rows)?;
        Ok((content, rows))
    }

    #[test]
    fn a_usual_upload_is_read_in_one_pass() {
        let (_, rows) = read(delivery(Some(upload())), in_one_pass).ok().unwrap();
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn what_the_one_pass_began_is_no_part_of_what_the_general_way_reads() {
        let mut rows = decoded(Some(upload())).1;
        let before = rows.len();
        let message = String::from_utf8(upload()).unwrap().replace("\"é\"", "7");
        assert_ne!(message.as_bytes(), upload());
        let delivery = delivery(Some(message.into_bytes()));
        let message = decode(delivery, kept(SenderOnce::new()), &mut rows);
        assert_eq!((message.good, message.rejections.len()), (1, 1));
        assert_eq!(rows[before..].iter().map(|row| row.index).collect::<Vec<_>>(), [0]);
    }

    proptest! {
        #[test]
        fn one_pass_makes_the_same_rows_as_the_general_way(
            place in any::<proptest::sample::Index>(),
            byte in prop_oneof![any::<u8>(), proptest::sample::select(b"\"\\{}[],:0 1eZ.+-".to_vec())],
        ) {
            let mut message = upload();
            let place = place.index(message.len());
            message[place] = byte;
            let delivery = delivery(Some(message));
            if let Ok((quick, quick_rows)) = read(delivery, in_one_pass) {
                let (general, general_rows) = read(delivery, records).unwrap();
                prop_assert_eq!(format!("{:?}", quick_rows), format!("{:?}", general_rows));
                prop_assert_eq!(quick.received_at, general.received_at);
                prop_assert_eq!(general.rejections, []);
            }
        }
    }

    #[test]
    fn an_error_does_not_quote_the_message() {
        let (message, _) = decoded(Some(br#"{"v": "my secret"}"#.to_vec()));
        assert_eq!(
            message.rejections[0].error,
            "not an envelope: a field is missing or of the wrong type at line 1 column 17"
        );
    }
}
