//! Phases of a run: `burst:15s@400x50` is fifteen seconds of 400 uploads a second with 50 records each.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// Most records that the producer takes in one upload.
const MAX_RECORDS: u32 = 1000;

/// A stretch of traffic at one rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Shown in progress, for example `burst`.
    pub name: String,
    /// How long; zero lasts until every upload so far has its answer.
    pub duration: Duration,
    /// Uploads a second over all sources.
    pub rate: f64,
    /// Records in each upload; what is usual for the source where none.
    pub records: Option<u32>,
}

/// A phase that cannot be read.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("phase {phase:?}: {problem}; write NAME:DURATION@UPLOADS_PER_SECOND[xRECORDS], for example burst:15s@400x50")]
pub struct PhaseError {
    phase: String,
    problem: &'static str,
}

impl FromStr for Phase {
    type Err = PhaseError;

    fn from_str(text: &str) -> Result<Phase, PhaseError> {
        let wrong = |problem| PhaseError {
            phase: text.to_owned(),
            problem,
        };
        let (name, rest) = text.split_once(':').ok_or_else(|| wrong("has no ':'"))?;
        let (length, pace) = rest.split_once('@').ok_or_else(|| wrong("has no '@'"))?;
        let (rate, records) = match pace.split_once('x') {
            Some((rate, records)) => (rate, Some(records)),
            None => (pace, None),
        };
        if name.is_empty() {
            return Err(wrong("has no name"));
        }
        let duration = duration(length).ok_or_else(|| wrong("needs a duration in ms, s or m"))?;
        let rate = rate.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate >= 0.0);
        let rate = rate.ok_or_else(|| wrong("needs a rate of 0 or more"))?;
        let records = match records.map(str::parse::<u32>) {
            None => None,
            Some(Ok(records)) if (1..=MAX_RECORDS).contains(&records) => Some(records),
            Some(_) => return Err(wrong("takes 1 to 1000 records an upload")),
        };
        Ok(Phase {
            name: name.to_owned(),
            duration,
            rate,
            records,
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}ms@{}", self.name, self.duration.as_millis(), self.rate)?;
        match self.records {
            Some(records) => write!(f, "x{records}"),
            None => Ok(()),
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (number, milliseconds) = match text {
        _ if text.ends_with("ms") => (text.strip_suffix("ms")?, 1),
        _ if text.ends_with('s') => (text.strip_suffix('s')?, 1_000),
        _ => (text.strip_suffix('m')?, 60_000),
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_phase_is_read() {
        let phase = |name: &str, seconds, rate, records| Phase {
            name: name.into(),
            duration: Duration::from_secs(seconds),
            rate,
            records,
        };
        let cases = [
            ("calm:20s@40", phase("calm", 20, 40.0, None)),
            ("burst:2m@3000x50", phase("burst", 120, 3000.0, Some(50))),
            ("drain:0s@0", phase("drain", 0, 0.0, None)),
            ("slow:1000ms@0.5", phase("slow", 1, 0.5, None)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Phase>(), Ok(expected.clone()));
            assert_eq!(expected.to_string().parse(), Ok(expected), "written and read again");
        }
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        let cases = [
            ("calm", "has no ':'"),
            ("calm:20s", "has no '@'"),
            (":20s@1", "has no name"),
            ("calm:20@1", "needs a duration in ms, s or m"),
            ("calm:20s@-1", "needs a rate of 0 or more"),
            ("calm:20s@1x0", "takes 1 to 1000 records an upload"),
            ("calm:20s@1x1001", "takes 1 to 1000 records an upload"),
        ];
        for (text, problem) in cases {
            assert_eq!(text.parse::<Phase>().unwrap_err().problem, problem, "{text}");
        }
    }
}
