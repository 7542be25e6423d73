//! Envelopes whose records are all as they should be, in the form in which our producer writes them: read in one pass,
//! where they lie.
//!
//! What is not so is for [`RawEnvelope`](crate::RawEnvelope) and [`Reading`](crate::Reading), which take all forms and
//! say what is wrong.

use crate::{
    Record, Sender, Source,
    identity::ClientId,
    message::{ENVELOPE_VERSION, MAX_RECORDS},
    rfc3339,
    scan::Scan,
};
use uuid::Uuid;

/// The records of an envelope of this release's version, still to be read.
pub struct ScannedRecords<'a> {
    text: &'a str,
    scan: Scan<'a>,
    next: Next,
    read: usize,
}

/// What comes next in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The one record.
    Only,
    /// The first of several, or their end.
    First,
    /// A comma and another one, or the end of several.
    Another,
    /// The end of the envelope.
    End,
}

/// A record that is fit to be stored.
#[derive(Debug, Clone)]
pub struct ScannedRecord<'a> {
    /// Its typed columns.
    pub record: Record<'a>,
    /// What the client calls it.
    pub id: ClientId<'a>,
    /// Its text, the client's own.
    pub text: &'a str,
}

/// A record, or something else, is not as it should be: the whole envelope is to be read in the general way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusual;

impl<'a> ScannedRecords<'a> {
    /// Reads a message value up to its records: who sent them.
    pub fn begin(value: &'a [u8]) -> Result<(Sender<'a>, ScannedRecords<'a>), Unusual> {
        let text = simdutf8::basic::from_utf8(value).map_err(|_| Unusual)?;
        Self::after_sender(text).ok_or(Unusual)
    }

    fn after_sender(text: &'a str) -> Option<(Sender<'a>, ScannedRecords<'a>)> {
        const { assert!(ENVELOPE_VERSION == 1) };
        let mut scan = Scan::new(text);
        scan.literal("{\"v\":1,\"tenant\":")?;
        let tenant = scan.identifier()?;
        scan.literal(",\"user\":")?;
        let user = scan.identifier()?;
        scan.literal(",\"device\":")?;
        let device = scan.identifier()?;
        scan.literal(",\"batchId\":")?;
        let batch_id = Uuid::try_parse(&scan.string()?).ok()?;
        scan.literal(",\"receivedAt\":")?;
        let received_at = rfc3339::usual(scan.string()?.as_bytes())?;
        let next = match scan.literal(",\"records\":[") {
            Some(()) => Next::First,
            None => {
                scan.literal(",\"record\":")?;
                Next::Only
            }
        };
        let sender = Sender {
            tenant,
            user,
            device,
            batch_id,
            received_at,
        };
        Some((
            sender,
            ScannedRecords {
                text,
                scan,
                next,
                read: 0,
            },
        ))
    }

    /// The next record, as one of `source`; `None` after the last one, where the envelope ends as it should.
    #[inline]
    pub fn next_record(&mut self, source: Source) -> Result<Option<ScannedRecord<'a>>, Unusual> {
        match self.next {
            Next::Only => self.next = Next::End,
            Next::First if self.scan.literal("]").is_none() => self.next = Next::Another,
            Next::Another if self.scan.literal(",").is_some() => {}
            Next::Another if self.scan.literal("]").is_none() => return Err(Unusual),
            Next::First | Next::Another | Next::End => {
                self.next = Next::End;
                let ends = self.scan.literal("}").is_some() && self.scan.is_at_end();
                return if ends { Ok(None) } else { Err(Unusual) };
            }
        }
        self.read += 1;
        if self.read > MAX_RECORDS {
            return Err(Unusual);
        }
        let start = self.scan.place();
        let (record, id) = self.scan.record(source).ok_or(Unusual)?;
        let text = &self.text[start..self.scan.place()];
        Ok(Some(ScannedRecord { record, id, text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Envelope, RawEnvelope, Reading};
    use chrono::DateTime;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// All records, if the one pass takes the message.
    fn scanned(source: Source, value: &[u8]) -> Result<(Sender<'_>, Vec<ScannedRecord<'_>>), Unusual> {
        let (sender, mut rest) = ScannedRecords::begin(value)?;
        let mut records = Vec::new();
        while let Some(record) = rest.next_record(source)? {
            records.push(record);
        }
        Ok((sender, records))
    }

    fn envelope(user: &str, records: Vec<Value>) -> Envelope {
        Envelope {
            version: ENVELOPE_VERSION,
            tenant: "default".into(),
            user: user.into(),
            device: "d".into(),
            batch_id: Uuid::from_u128(1),
            received_at: DateTime::from_timestamp(1_700_000_000, 5_000_000).unwrap(),
            records,
        }
    }

    fn sms(body: &str) -> Value {
        json!({"id": "1", "timestamp": 1, "sender": "s", "body": body, "x": [1, -2.5, {"y": null}]})
    }

    /// What the one pass takes, the general way takes too, and reads the same.
    fn same_as_the_general_way(source: Source, value: &[u8]) {
        let Ok((sender, records)) = scanned(source, value) else {
            return;
        };
        let general = RawEnvelope::decode(value).unwrap();
        assert_eq!(sender, general.sender);
        assert_eq!(records.len(), general.records.len());
        for (quick, raw) in records.iter().zip(general.records) {
            let reading = Reading::of(source, raw).unwrap();
            assert_eq!(quick.record, reading.record);
            assert_eq!(quick.id, reading.id);
            assert_eq!(quick.text, reading.text.get());
        }
    }

    #[test]
    fn what_our_producer_writes_is_taken() {
        for bodies in [&["a", "é \"quoted\"\n", "c"][..], &["a"], &[]] {
            let message = envelope("u\"1\"", bodies.iter().map(|body| sms(body)).collect()).encode(Source::Sms);
            let (sender, records) = scanned(Source::Sms, &message).unwrap();
            assert_eq!(sender.user, "u\"1\"");
            assert_eq!(records.len(), bodies.len());
            same_as_the_general_way(Source::Sms, &message);
        }
        let event = json!({"id": 7, "timestamp": "2026-01-02T03:04:05Z", "name": "open"});
        let message = envelope("u", vec![event]).encode(Source::Events);
        assert_eq!(scanned(Source::Events, &message).unwrap().1.len(), 1);
        same_as_the_general_way(Source::Events, &message);
    }

    #[test]
    fn what_is_anything_else_is_left_to_the_general_way() {
        let good = String::from_utf8(envelope("u", vec![sms("a"), sms("b")]).encode(Source::Sms)).unwrap();
        let mut cases: Vec<String> = [
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1,", "\"v\": 1,"),
            ("\"d\"", "7"),
            ("},{", "}{"),
            ("},{", "},,{"),
            ("\"body\":\"b\"", "\"body\":\"\\u0000\""),
            ("\"body\":\"b\"", "\"body\":\"\\ud800\""),
            ("\"body\":\"b\"", "\"body\":7"),
            ("]}]", "]}],\"record\":{}"),
        ]
        .iter()
        .map(|(old, new)| good.replacen(old, new, 1))
        .collect();
        cases.push(good[..good.len() - 1].to_owned());
        cases.push(good[..good.len() - 2].to_owned());
        cases.extend([" ", "}"].map(|more| good.clone() + more));
        let records = |count| envelope("u", vec![sms("a"); count]).encode(Source::Sms);
        assert!(scanned(Source::Sms, &records(MAX_RECORDS)).is_ok());
        cases.push(String::from_utf8(records(MAX_RECORDS + 1)).unwrap());
        for case in cases {
            assert!(scanned(Source::Sms, case.as_bytes()).is_err(), "{case}");
        }
    }

    proptest! {
        #[test]
        fn a_message_with_a_byte_changed_is_read_as_in_the_general_way(
            place in any::<proptest::sample::Index>(),
            byte in prop_oneof![any::<u8>(), proptest::sample::select(b"\"\\{}[],:0 1eZ.+-".to_vec())],
        ) {
            let mut message = envelope("u", vec![sms("a\n"), sms("b")]).encode(Source::Sms);
            let place = place.index(message.len());
            message[place] = byte;
            same_as_the_general_way(Source::Sms, &message);
        }
    }
}
