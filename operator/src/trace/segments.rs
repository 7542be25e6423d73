//! Lines of a trace → pieces that fit a ConfigMap together. Pure.
//!
//! Lines are compressed minute by minute, each minute a gzip member of its own: members one after the other are one gzip
//! file, so that a piece grows without being compressed again.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::time::Duration;

use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::line::{Line, Rules};

/// How long a piece goes on.
const PIECE: Duration = Duration::from_secs(600);
/// Lines that may wait to be cut.
const PENDING: usize = 4096;
/// Bytes of all pieces together: a ConfigMap holds a mebibyte.
const ROOM: usize = 900 * 1024;

/// A piece, by its name in the ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    name: String,
    begun: DateTime<Utc>,
    size: usize,
}

/// What is to be changed in the ConfigMap: contents of pieces that have grown, and nothing for those that go.
pub type Changes = BTreeMap<String, Option<Vec<u8>>>;

/// The pieces of one trace.
#[derive(Debug, Default)]
pub struct Segments {
    pieces: VecDeque<Piece>,
    /// Content of the newest piece, as long as it grows.
    content: Vec<u8>,
    pending: Vec<Line>,
    rules: Option<Rules>,
    /// What was not confirmed to be written.
    unwritten: Changes,
}

impl Segments {
    /// Takes in which pieces there are, with their sizes in bytes: others may have written some.
    pub fn there_are(&mut self, known: impl IntoIterator<Item = (String, usize)>) {
        let of_others = known
            .into_iter()
            .filter(|(name, _)| !self.pieces.iter().any(|piece| piece.name == *name));
        let of_others = of_others.map(|(name, size)| Piece {
            name,
            size,
            // They grow no more.
            begun: DateTime::<Utc>::MIN_UTC,
        });
        let of_others: Vec<Piece> = of_others.collect();
        self.pieces.extend(of_others);
        // Names are times.
        self.pieces
            .make_contiguous()
            .sort_by(|one, other| one.name.cmp(&other.name));
    }

    /// Takes a line in; a look for which there is no room is left out.
    pub fn push(&mut self, line: Line) {
        match &line {
            Line::Policy(rules) => self.rules = Some(*rules.clone()),
            Line::Look(_) if self.pending.len() >= PENDING => return,
            Line::Look(_) => {}
        }
        self.pending.push(line);
    }

    /// Whether the next cut begins a piece.
    pub fn begins(&self, now: DateTime<Utc>) -> bool {
        let grows = |piece: &Piece| (now - piece.begun).to_std().is_ok_and(|age| age < PIECE);
        !self.pieces.back().is_some_and(grows)
    }

    /// What the lines so far change, together with what was not written yet.
    ///
    /// # Errors
    /// Where a line cannot be written as JSON.
    pub fn cut(&mut self, now: DateTime<Utc>) -> std::io::Result<&Changes> {
        if self.pending.is_empty() {
            return Ok(&self.unwritten);
        }
        let begins = self.begins(now);
        let mut lines = std::mem::take(&mut self.pending);
        if begins {
            // Each piece can be read without those before it, which go first.
            if let Some(rules) = self.rules.clone().filter(|_| !matches!(lines[0], Line::Policy(_))) {
                lines.insert(0, Line::Policy(Box::new(rules)));
            }
            self.content.clear();
            self.pieces.push_back(Piece {
                name: format!("{}.jsonl.gz", now.format("%Y-%m-%dT%H-%M-%SZ")),
                begun: now,
                size: 0,
            });
        }
        self.content.extend(compress(&lines)?);
        if let Some(piece) = self.pieces.back_mut() {
            piece.size = self.content.len();
            self.unwritten.insert(piece.name.clone(), Some(self.content.clone()));
        }
        while self.pieces.len() > 1 && self.pieces.iter().map(|piece| piece.size).sum::<usize>() > ROOM {
            let oldest = self.pieces.pop_front().map(|piece| (piece.name, None));
            self.unwritten.extend(oldest);
        }
        Ok(&self.unwritten)
    }

    /// All changes are in the ConfigMap.
    pub fn written(&mut self) {
        self.unwritten.clear();
    }
}

fn compress(lines: &[Line]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for line in lines {
        serde_json::to_writer(&mut encoder, line)?;
        encoder.write_all(b"\n")?;
    }
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::file;
    use crate::trace::replay::tests::{look, rules};

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn cut(segments: &mut Segments, now: &str) -> Changes {
        let changes = segments.cut(time(now)).unwrap().clone();
        segments.written();
        changes
    }

    #[test]
    fn a_piece_grows_for_ten_minutes_and_each_begins_with_the_policy() {
        let mut segments = Segments::default();
        assert_eq!(cut(&mut segments, "2026-11-20T08:00:00Z"), Changes::new());
        segments.push(rules());
        segments.push(look(0, 5));
        let first = cut(&mut segments, "2026-11-20T08:00:00Z");
        let names = |changes: &Changes| changes.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&first), ["2026-11-20T08-00-00Z.jsonl.gz"]);
        segments.push(look(60, 6));
        let second = cut(&mut segments, "2026-11-20T08:09:59Z");
        assert_eq!(names(&second), names(&first));
        let lines = |changes: &Changes| file::lines(changes.values().next().unwrap().as_ref().unwrap()).unwrap();
        assert_eq!(lines(&second), [rules(), look(0, 5), look(60, 6)]);
        segments.push(look(120, 7));
        let third = cut(&mut segments, "2026-11-20T08:10:00Z");
        assert_eq!(names(&third), ["2026-11-20T08-10-00Z.jsonl.gz"]);
        assert_eq!(lines(&third), [rules(), look(120, 7)]);
    }

    #[test]
    fn the_oldest_pieces_make_room_also_those_of_the_operator_before() {
        let old = [
            ("2026-11-20T07-50-00Z.jsonl.gz", 500 * 1024),
            ("2026-11-20T07-40-00Z.jsonl.gz", 400 * 1024),
        ];
        let mut segments = Segments::default();
        segments.there_are(old.map(|(name, size)| (name.to_owned(), size)));
        segments.push(rules());
        let changes = cut(&mut segments, "2026-11-20T08:00:00Z");
        assert_eq!(changes["2026-11-20T07-40-00Z.jsonl.gz"], None);
        assert_eq!(changes.len(), 2);
    }

    #[test]
    fn what_was_not_written_is_written_with_what_comes_next() {
        let mut segments = Segments::default();
        segments.push(rules());
        assert_eq!(segments.cut(time("2026-11-20T08:00:00Z")).unwrap().len(), 1);
        segments.push(look(0, 5));
        assert_eq!(segments.cut(time("2026-11-20T08:10:00Z")).unwrap().len(), 2);
        segments.written();
        assert_eq!(segments.cut(time("2026-11-20T08:10:30Z")).unwrap().len(), 0);
    }
}
