//! Durations as Go strings (`90s`, `168h`, `1h30m`), as everywhere in Kubernetes.

use kube::core::Duration as GoDuration;
use std::time::Duration;

/// The longest that is taken, ten years: sums and multiples of several of them still fit everywhere.
const LONGEST: Duration = Duration::from_secs(87_600 * 3_600);

/// A text that is no duration, a negative one, or one of more than ten years.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write a Go string such as 15s, 5m or 168h, from 0 to 87600h")]
pub struct InvalidDuration(pub String);

/// Reads a Go duration string.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.to_owned());
    // The library panics where a number is beyond what its durations hold.
    if seconds(text).is_none_or(|seconds| seconds > LONGEST.as_secs_f64()) {
        return Err(invalid());
    }
    match text.parse::<GoDuration>() {
        Ok(parsed) if !parsed.is_negative() => Ok(parsed.into()),
        _ => Err(invalid()),
    }
}

/// About how many seconds a text means; `None` where it is no sequence of numbers with units.
fn seconds(text: &str) -> Option<f64> {
    let mut rest = text.trim_start_matches(['+', '-']);
    let mut sum = 0.0;
    while !rest.is_empty() && rest != "0" {
        let unit = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let number: f64 = rest[..unit].parse().ok()?;
        rest = &rest[unit..];
        let next = rest.find(|character: char| character.is_ascii_digit() || character == '.');
        let (unit, after) = rest.split_at(next.unwrap_or(rest.len()));
        sum += number
            * match unit {
                "h" => 3_600.0,
                "m" => 60.0,
                "s" => 1.0,
                // Milliseconds and shorter, or nothing that the library knows.
                _ => 1e-3,
            };
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_strings_are_read() {
        assert_eq!(parse("1h30m").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse("200ms").unwrap(), Duration::from_millis(200));
        assert_eq!(parse("604800s").unwrap(), Duration::from_secs(604_800));
        assert_eq!(parse("1.5h").unwrap(), Duration::from_secs(5400));
        assert_eq!(parse("0").unwrap(), Duration::ZERO);
    }

    #[test]
    fn a_bare_number_and_a_negative_one_are_refused() {
        for text in ["15", "-1s", "soon", ""] {
            assert_eq!(parse(text), Err(InvalidDuration(text.to_owned())));
        }
    }

    #[test]
    fn more_than_ten_years_are_refused_and_no_number_is_too_large() {
        assert_eq!(parse("87600h").unwrap(), LONGEST);
        for text in [
            "87601h",
            "87600h1s",
            "99999999999999999999999h",
            "5124095576030431h",
            "9e400h",
            "9999999999999999999999999999999999s",
        ] {
            assert_eq!(parse(text), Err(InvalidDuration(text.to_owned())));
        }
    }
}
