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
        return of_text(&unpacked(content, LARGEST)?);
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

/// What a gzip file holds, of `largest` bytes at most.
fn unpacked(content: &[u8], largest: u64) -> Result<String, TraceError> {
    let mut text = String::new();
    let mut decoder = MultiGzDecoder::new(content).take(largest + 1);
    decoder.read_to_string(&mut text).map_err(TraceError::Unreadable)?;
    if text.len() as u64 > largest {
        return Err(TraceError::TooLarge);
    }
    Ok(text)
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
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use std::time::Duration;

    use crate::scale::climb::Climb;
    use crate::scale::decide::{Observation, Policy, Rule};
    use crate::scale::lag::Lag;
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

    #[test]
    fn a_piece_is_unpacked_up_to_a_bound() {
        let mut packed = GzEncoder::new(vec![], Compression::fast());
        packed.write_all(&[b' '; 4096]).unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(unpacked(&packed, 4096).unwrap().len(), 4096);
        let refused = unpacked(&packed, 4095).unwrap_err().to_string();
        assert_eq!(refused, "it is no trace: unpacked it has more than 256 MiB");
    }

    #[test]
    fn numbers_that_nobody_can_have_seen_are_refused_with_their_line() {
        let absurd = |change: &dyn Fn(&mut Line)| {
            let mut line = look(1, 5);
            change(&mut line);
            let text = [rules(), line]
                .map(|line| serde_json::to_string(&line).unwrap())
                .join("\n");
            lines(text.as_bytes()).unwrap_err().to_string()
        };
        let seen = |change: &dyn Fn(&mut Observation)| {
            absurd(&|line| {
                if let Line::Look(look) = line {
                    change(&mut look.seen);
                }
            })
        };
        let says = |problem: &str| format!("line 2 is no line of a trace: {problem}");
        assert_eq!(
            seen(&|seen| seen.replicas = i32::MAX),
            says("a number of pods or partitions")
        );
        assert_eq!(seen(&|seen| seen.ready = -1), says("a number of pods or partitions"));
        let hundred_years = says("a time of more than a hundred years");
        assert_eq!(seen(&|seen| seen.now = Duration::from_secs(1 << 40)), hundred_years);
        let records = |lag| vec![("topic".to_owned(), Lag::Known(lag))];
        assert_eq!(
            seen(&move |seen| seen.lags = records(i64::MAX)),
            says("a number of records")
        );

        let policy = |change: &dyn Fn(&mut Policy)| {
            absurd(&|line| {
                let Line::Policy(mut policy) = rules() else {
                    unreachable!()
                };
                change(&mut policy.policy);
                *line = Line::Policy(policy);
            })
        };
        assert_eq!(
            policy(&|policy| policy.bounds.max = -1),
            says("min and max of the replicas")
        );
        assert_eq!(
            policy(&|policy| policy.cooldown = Duration::from_secs(1 << 40)),
            hundred_years
        );
        let no_rungs = Rule::Climb(Climb {
            rungs: vec![],
            thresholds: vec![],
        });
        assert_eq!(
            policy(&move |policy| policy.rule = no_rungs.clone()),
            says("there must be a threshold, and one rung more than thresholds")
        );
    }
}
