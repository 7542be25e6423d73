//! Rows in PostgreSQL's binary COPY format: a third of the work of the text format for the server, and nothing to
//! escape. <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4>

use super::table;
use crate::batch::Row;
use chrono::{DateTime, Utc};
use contract::{Source, record::Columns};
use std::borrow::Cow;
use uuid::Uuid;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Microseconds from 1970 to PostgreSQL's epoch, 2000-01-01.
const EPOCH: i64 = 946_684_800_000_000;
/// Object id of the type `text`.
const TEXT: i32 = 25;

/// A piece is sent once it has as many bytes: large enough for few writes, small enough for the server to work on one
/// while the next is made.
const PIECE: usize = 256 * 1024;

/// The rows, all of `source`, as the body of a COPY, in pieces.
pub fn encode<'a>(source: Source, rows: impl Iterator<Item = &'a Row<'a>>) -> impl Iterator<Item = Vec<u8>> {
    let width = table::width(source);
    let mut rows = rows.fuse();
    let mut next = Some(Body::header());
    std::iter::from_fn(move || {
        let mut body = next.take()?;
        for row in rows.by_ref() {
            body.bytes.extend_from_slice(&width.to_be_bytes());
            body.row(row);
            if body.bytes.len() >= PIECE {
                next = Some(Body::with_room());
                return Some(body.bytes);
            }
        }
        body.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        Some(body.bytes)
    })
}

struct Body {
    bytes: Vec<u8>,
}

impl Body {
    fn with_room() -> Body {
        Body {
            bytes: Vec::with_capacity(PIECE + PIECE / 8),
        }
    }

    fn header() -> Body {
        let mut body = Body::with_room();
        body.bytes.extend_from_slice(SIGNATURE);
        body.int4(0); // flags
        body.int4(0); // no header extension
        body
    }

    /// The order is that of [`table`].
    fn row(&mut self, row: &Row) {
        self.uuid(row.id);
        self.time(row.event_time);
        self.text(&row.sender.tenant);
        self.text(&row.sender.user);
        self.text(&row.sender.device);
        self.uuid(row.sender.batch_id);
        self.time(row.sender.received_at);
        self.uuid(row.partition.topic.id);
        self.integer(row.partition.number);
        self.bigint(row.offset);
        self.integer(row.index);
        self.jsonb(&row.raw);
        match &row.columns {
            Columns::Sms { sender, body } => {
                self.text(sender);
                self.text(body);
            }
            Columns::Event { name } => self.text(name),
            Columns::AppOrDevice { kind, name, version } => {
                self.text(kind);
                self.text(name);
                match version {
                    Some(version) => self.text(version),
                    None => self.int4(-1),
                }
            }
            Columns::Contact { name, phones } => {
                self.text(name);
                self.texts(phones);
            }
            Columns::Call {
                number,
                direction,
                duration_seconds,
            } => {
                self.text(number);
                self.text(direction);
                self.bigint(*duration_seconds);
            }
        }
    }

    fn int4(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// A field: its length, then what `write` appends.
    fn field(&mut self, write: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.int4(0);
        write(self);
        // Kafka messages are far below 2 GiB.
        let length = (self.bytes.len() - start - 4) as i32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn uuid(&mut self, value: Uuid) {
        self.field(|body| body.bytes.extend_from_slice(value.as_bytes()));
    }

    fn text(&mut self, value: &str) {
        self.field(|body| body.bytes.extend_from_slice(value.as_bytes()));
    }

    fn integer(&mut self, value: i32) {
        self.field(|body| body.int4(value));
    }

    fn bigint(&mut self, value: i64) {
        self.field(|body| body.bytes.extend_from_slice(&value.to_be_bytes()));
    }

    fn time(&mut self, value: DateTime<Utc>) {
        self.bigint(value.timestamp_micros().saturating_sub(EPOCH));
    }

    fn jsonb(&mut self, value: &str) {
        self.field(|body| {
            body.bytes.push(1); // version of the format
            body.bytes.extend_from_slice(value.as_bytes());
        });
    }

    /// `text[]`, one dimension, or none when it is empty.
    fn texts(&mut self, values: &[Cow<'_, str>]) {
        self.field(|body| {
            body.int4(i32::from(!values.is_empty())); // dimensions
            body.int4(0); // no nulls
            body.int4(TEXT);
            if !values.is_empty() {
                body.int4(values.len() as i32);
                body.int4(1); // lower bound
                for value in values {
                    body.text(value);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::row;

    #[test]
    fn the_framing_is_that_of_the_manual() {
        let rows = [row(5, 946_684_800_000_001)];
        let body: Vec<u8> = encode(Source::Events, rows.iter()).flatten().collect();
        assert_eq!(&body[..19], b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        assert_eq!(&body[19..21], 13_i16.to_be_bytes(), "columns of events");
        assert_eq!(&body[21..25], 16_i32.to_be_bytes(), "length of a uuid");
        assert_eq!(&body[25..41], Uuid::from_u128(5).as_bytes());
        assert_eq!(&body[41..45], 8_i32.to_be_bytes(), "length of a timestamptz");
        assert_eq!(&body[45..53], 1_i64.to_be_bytes(), "a microsecond after the epoch");
        assert_eq!(&body[body.len() - 2..], [0xff, 0xff], "trailer");
    }

    #[test]
    fn pieces_together_are_what_one_would_be() {
        let rows: Vec<Row> = (0..5_000).map(|id| row(id, 0)).collect();
        let pieces: Vec<Vec<u8>> = encode(Source::Events, rows.iter()).collect();
        assert!(pieces.len() > 2, "{}", pieces.len());
        let one: Vec<u8> = encode(Source::Events, rows[..1].iter()).flatten().collect();
        let of_a_row = one.len() - SIGNATURE.len() - 8 - 2;
        let all: usize = pieces.iter().map(Vec::len).sum();
        assert_eq!(all, SIGNATURE.len() + 8 + 5_000 * of_a_row + 2);
    }

    #[test]
    fn an_array_has_its_dimension_only_when_not_empty() {
        let mut body = Body { bytes: vec![] };
        body.texts(&[]);
        assert_eq!(body.bytes, [0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25]);
        let mut body = Body { bytes: vec![] };
        body.texts(&["a".into()]);
        assert_eq!(
            body.bytes,
            [
                0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, b'a'
            ]
        );
    }
}
