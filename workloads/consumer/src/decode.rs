//! From a Kafka message to rows, and to rejections where it is not fit to be stored.

use crate::batch::{Delivery, Message, RejectClass, Rejection, Row, Sender};
use contract::{Envelope, Record, identity, message::EnvelopeError};
use serde_json::error::Category;
use std::sync::Arc;

/// Reads a message. Whatever cannot be stored comes back as a rejection; nothing is left out.
pub fn decode(delivery: Delivery) -> Message {
    let envelope = match &delivery.value {
        Some(value) => Envelope::decode(value).map_err(describe),
        None => Err("not an envelope: the message has no value".to_owned()),
    };
    match envelope {
        Ok(envelope) => records(delivery, envelope),
        Err(error) => {
            let rejection = Rejection {
                partition: delivery.partition.clone(),
                offset: delivery.offset,
                index: None,
                class: RejectClass::Decode,
                error,
            };
            Message {
                delivery,
                rows: Vec::new(),
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
        EnvelopeError::Version(_) | EnvelopeError::Records => error.to_string(),
    }
}

fn records(delivery: Delivery, envelope: Envelope) -> Message {
    let source = delivery.partition.topic.source;
    let Envelope {
        tenant,
        user,
        device,
        batch_id,
        received_at,
        records,
        ..
    } = envelope;
    let sender = Arc::new(Sender {
        tenant,
        user,
        device,
        batch_id,
        received_at,
    });
    let mut rows = Vec::with_capacity(records.len());
    let mut rejections = Vec::new();
    for (index, raw) in (0..).zip(records) {
        match Record::parse(source, &raw) {
            Ok(Record { event_time, columns }) => rows.push(Row {
                id: identity::record_id(&sender.tenant, source, &sender.user, &sender.device, &raw),
                sender: sender.clone(),
                partition: delivery.partition.clone(),
                offset: delivery.offset,
                index,
                event_time,
                columns,
                raw,
            }),
            Err(error) => rejections.push(Rejection {
                partition: delivery.partition.clone(),
                offset: delivery.offset,
                index: Some(index),
                class: RejectClass::Validation,
                error: error.to_string(),
            }),
        }
    }
    Message {
        delivery,
        rows,
        rejections,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::partition;
    use chrono::DateTime;
    use serde_json::json;
    use uuid::Uuid;

    fn delivery(value: Option<Vec<u8>>) -> Delivery {
        Delivery {
            partition: partition(2),
            offset: 9,
            timestamp: None,
            key: None,
            value,
            headers: vec![],
        }
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
        let message = decode(delivery(Some(envelope.encode(contract::Source::Events))));
        assert_eq!(message.rows.iter().map(|row| row.index).collect::<Vec<_>>(), [0, 2]);
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
            let message = decode(delivery(value));
            assert!(message.rows.is_empty());
            assert_eq!(message.rejections.len(), 1);
            assert_eq!(message.rejections[0].index, None);
            assert_eq!(message.rejections[0].class, RejectClass::Decode);
        }
    }

    #[test]
    fn an_error_does_not_quote_the_message() {
        let message = decode(delivery(Some(br#"{"v": "my secret"}"#.to_vec())));
        assert_eq!(
            message.rejections[0].error,
            "not an envelope: a field is missing or of the wrong type at line 1 column 17"
        );
    }
}
