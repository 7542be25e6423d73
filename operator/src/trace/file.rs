//! What somebody saved of a trace → its lines.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;

use super::line::Line;
use crate::manifest;

/// The first bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The largest piece, unpacked, in bytes.
const LARGEST: u64 = 256 << 20;

/// A file that is no trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Not even text.
    #[error("it is no trace: neither text nor gzip ({0})")]
    Unreadable(std::io::Error),
    /// No ConfigMap, and no lines of a trace.
    #[error(
        "it is no trace: neither a ConfigMap (`kubectl get configmap PIPELINE-COMPONENT-trace -o yaml`) nor lines of one \
         (line {line}: {problem})"
    )]
    NoTrace {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// More than any piece of a trace.
    #[error("it is no trace: unpacked it has more than {} MiB", LARGEST >> 20)]
    TooLarge,
    /// Numbers that nobody can have seen.
    #[error("line {line} is no line of a trace: {problem}")]
    Absurd {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A ConfigMap of something else.
    #[error("the ConfigMap holds no trace: it has no binaryData")]
    OtherConfigMap,
}

/// The lines of a trace: a ConfigMap as `kubectl get -o yaml` or `-o json` prints it, one of its pieces, or lines.
pub fn lines(content: &[u8]) -> Result<Vec<Line>, TraceError> {
    if content.starts_with(&GZIP) {
        let mut text = String::new();
        let mut decoder = MultiGzDecoder::new(content).take(LARGEST + 1);
        decoder.read_to_string(&mut text).map_err(TraceError::Unreadable)?;
        if text.len() as u64 > LARGEST {
            return Err(TraceError::TooLarge);
        }
        return of_text(&text);
    }
    let text = std::str::from_utf8(content)
        .map_err(|error| TraceError::Unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))?;
    let is_line = |line: &str| serde_json::from_str::<Line>(line).is_ok();
    if text.lines().next().is_some_and(is_line) {
        return of_text(text);
    }
    match manifest::parse::<ConfigMap>(text) {
        // Anything may be read as a ConfigMap without content.
        Ok(map) if map != ConfigMap::default() => of_pieces(map.binary_data.ok_or(TraceError::OtherConfigMap)?),
        _ => of_text(text),
    }
}

fn of_pieces(pieces: BTreeMap<String, ByteString>) -> Result<Vec<Line>, TraceError> {
    // Names are times, so that their order is that of the pieces.
    let pieces: Result<Vec<Vec<Line>>, TraceError> = pieces.values().map(|piece| lines(&piece.0)).collect();
    Ok(pieces?.into_iter().flatten().collect())
}

fn of_text(text: &str) -> Result<Vec<Line>, TraceError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let read: Line = serde_json::from_str(line).map_err(|error| TraceError::NoTrace {
                line: number + 1,
                problem: error.to_string(),
            })?;
            let line = number + 1;
            match read.problem() {
                Some(problem) => Err(TraceError::Absurd { line, problem }),
                None => Ok(read),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::replay::tests::{look, rules};
    use crate::trace::segments::Segments;

    #[test]
    fn a_config_map_is_read_piece_by_piece() {
        let mut segments = Segments::default();
        let mut pieces = BTreeMap::new();
        for (minute, line) in [(0, rules()), (9, look(1, 5)), (10, look(2, 6))] {
            segments.push(line);
            let now = format!("2026-11-20T08:{minute:02}:00Z").parse().unwrap();
            let changes = segments.cut(now).unwrap().clone();
            pieces.extend(
                changes
                    .into_iter()
                    .map(|(name, content)| (name, ByteString(content.unwrap()))),
            );
        }
        let map = ConfigMap {
            binary_data: Some(pieces),
            ..ConfigMap::default()
        };
        let yaml = manifest::render(&map).unwrap();
        let read = lines(yaml.as_bytes()).unwrap();
        assert_eq!(read, [rules(), look(1, 5), rules(), look(2, 6)]);
    }

    #[test]
    fn what_is_no_trace_is_told() {
        let problem = |content: &[u8]| lines(content).unwrap_err().to_string();
        assert!(problem(b"{\"policy\": 3}\n").starts_with("it is no trace: neither a ConfigMap"));
        assert!(problem(&[0xff, 0xfe]).starts_with("it is no trace: neither text nor gzip"));
        assert!(problem(b"apiVersion: v1\nkind: ConfigMap\ndata: {a: b}\n").contains("no binaryData"));
    }
}
