//! Durations as Go strings (`90s`, `168h`, `1h30m`), as everywhere in Kubernetes.

use kube::core::Duration as GoDuration;
use std::time::Duration;

/// A text that is no duration, or a negative one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write a Go string such as 15s, 5m or 168h, 0 or more")]
pub struct InvalidDuration(pub String);

/// Reads a Go duration string.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    match text.parse::<GoDuration>() {
        Ok(parsed) if !text.is_empty() && !parsed.is_negative() => Ok(parsed.into()),
        _ => Err(InvalidDuration(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_strings_are_read() {
        assert_eq!(parse("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse("200ms").unwrap(), Duration::from_millis(200));
    }

    #[test]
    fn a_bare_number_and_a_negative_one_are_refused() {
        for text in ["15", "-1s", "soon", ""] {
            assert_eq!(parse(text), Err(InvalidDuration(text.to_owned())));
        }
    }
}
