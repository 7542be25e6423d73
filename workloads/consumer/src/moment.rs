//! Moments, as people give them to commands.

use chrono::{DateTime, Utc};

/// A text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be a date, a time and a time zone, such as 2026-11-20T00:00:00Z or 2026-11-20T05:30:00+05:30")]
pub struct NoMoment;

/// A moment in RFC 3339.
pub fn parse(text: &str) -> Result<DateTime<Utc>, NoMoment> {
    let moment = DateTime::parse_from_rfc3339(text.trim()).map_err(|_| NoMoment)?;
    Ok(moment.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_a_time_and_a_zone() {
        assert_eq!(
            parse("2026-11-20T05:30:00+05:30").unwrap(),
            parse("2026-11-20T00:00:00Z").unwrap()
        );
        for text in ["2026-11-20", "2026-11-20T00:00:00", "yesterday", ""] {
            assert_eq!(parse(text), Err(NoMoment), "{text}");
        }
    }
}
