//! Times as text. Most are written as our producer and most clients write them, and read without a general parser.

use chrono::{DateTime, NaiveDate, Utc};

/// Digits of a second that a time holds.
const MOST_DIGITS: usize = 9;
/// Of ten.
const POWERS: [u32; MOST_DIGITS] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The time that an RFC 3339 text names.
pub(crate) fn parse(text: &str) -> Option<DateTime<Utc>> {
    usual(text.as_bytes()).or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()))
}

/// `2026-01-02T03:04:05.678Z`, with up to nine digits of a second or none, also with `+00:00` at the end. `None` for what
/// is written otherwise, or is no time.
#[inline]
pub(crate) fn usual(text: &[u8]) -> Option<DateTime<Utc>> {
    let (second, rest) = text.split_first_chunk::<19>()?;
    let rest = rest.strip_suffix(b"Z").or_else(|| rest.strip_suffix(b"+00:00"))?;
    let marks = [second[4], second[7], second[10], second[13], second[16]];
    if marks != *b"--T::" {
        return None;
    }
    let nanoseconds = match rest {
        [] => 0,
        [b'.', digits @ ..] if (1..=MOST_DIGITS).contains(&digits.len()) => {
            number(digits)? * POWERS[MOST_DIGITS - digits.len()]
        }
        _ => return None,
    };
    let two = |at: usize| number(&[second[at], second[at + 1]]);
    let date = NaiveDate::from_ymd_opt((two(0)? * 100 + two(2)?).cast_signed(), two(5)?, two(8)?)?;
    // A leap second is left to the general parser.
    let time = date.and_hms_nano_opt(two(11)?, two(14)?, two(17)?, nanoseconds)?;
    Some(time.and_utc())
}

/// Of at most nine digits.
#[inline]
fn number(digits: &[u8]) -> Option<u32> {
    let mut number = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u32::from(digit);
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::SecondsFormat;
    use proptest::prelude::*;

    fn slowly(text: &str) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
    }

    #[test]
    fn what_is_unusual_is_left_to_the_general_parser() {
        for text in [
            "2016-12-31T23:59:60Z",
            "2026-01-02T03:04:05+05:30",
            "2026-01-02 03:04:05Z",
            "2026-01-02t03:04:05z",
            "2026-01-02T03:04:05.1234567890Z",
        ] {
            assert_eq!(usual(text.as_bytes()), None, "{text}");
            assert_eq!(parse(text), slowly(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_chrono_writes_is_read_back(seconds in -62_135_596_800_i64..253_402_300_800, nanoseconds in 0..1_000_000_000_u32) {
            let time = DateTime::from_timestamp(seconds, nanoseconds).unwrap();
            for form in [SecondsFormat::Secs, SecondsFormat::Millis, SecondsFormat::Nanos, SecondsFormat::AutoSi] {
                for z in [true, false] {
                    let text = time.to_rfc3339_opts(form, z);
                    let read = usual(text.as_bytes());
                    prop_assert!(read.is_some(), "{}", text);
                    prop_assert_eq!(read, slowly(&text));
                }
            }
        }

        #[test]
        fn nothing_is_read_otherwise_than_by_chrono(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?(Z|\\+00:00|-00:00|z|)",
        ) {
            if let Some(read) = usual(text.as_bytes()) {
                prop_assert_eq!(Some(read), slowly(&text));
            }
            prop_assert_eq!(parse(&text), slowly(&text));
        }
    }
}
