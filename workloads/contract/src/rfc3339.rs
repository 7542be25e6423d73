//! Times as text. Most are written as our producer and most clients write them, and read without a general parser.

use chrono::{DateTime, NaiveDate, Utc};

/// Digits of a second that a time holds.
const MOST_DIGITS: usize = 9;

/// The time that an RFC 3339 text names.
pub(crate) fn parse(text: &str) -> Option<DateTime<Utc>> {
    usual(text.as_bytes()).or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc()))
}

/// `2026-01-02T03:04:05.678Z`, with up to nine digits of a second or none, also with `+00:00` at the end. `None` for what
/// is written otherwise, or is no time.
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
            number(digits)? * 10_u32.pow((MOST_DIGITS - digits.len()) as u32)
        }
        _ => return None,
    };
    let part = |from: usize, to: usize| number(&second[from..to]);
    let date = NaiveDate::from_ymd_opt(part(0, 4)?.cast_signed(), part(5, 7)?, part(8, 10)?)?;
    // A leap second is left to the general parser.
    let time = date.and_hms_nano_opt(part(11, 13)?, part(14, 16)?, part(17, 19)?, nanoseconds)?;
    Some(time.and_utc())
}

/// Of at most nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
    })
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
