//! One pass over JSON where it lies, for records that are as they should be. Whatever is wrong or unusual ends it, and is
//! read again by those who can say what it is: nobody asks the pass why it ended.

use crate::{
    Record, Source,
    identity::ClientId,
    message::IDENTIFIER,
    record::{Field, Fields, MAX_TEXT},
    values,
};
use serde_json::Value;
use std::borrow::Cow;

/// In a text of no more bytes no number has more digits behind the point than PostgreSQL's 16,383.
const SAFE_LENGTH: usize = 16_000;
/// Magnitudes whose exponents PostgreSQL takes, too. A number below them may be read as zero.
const SAFE_NUMBERS: std::ops::RangeInclusive<f64> = 1e-300..=1e300;
/// Deepest nesting that is followed.
const MAX_DEPTH: u8 = 32;
/// Digits of a number that certainly fits.
const SHORT: usize = 18;

/// A place in a text.
pub(crate) struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// A number with a fraction or an exponent was passed.
    has_fractions: bool,
}

/// A number by its form.
enum Number {
    Integer(i64),
    Large(u64),
    Fraction,
}

impl<'a> Scan<'a> {
    /// The beginning of this text.
    pub(crate) fn new(text: &'a str) -> Scan<'a> {
        Scan {
            text,
            at: 0,
            has_fractions: false,
        }
    }

    /// Whether all of the text was passed.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Passes `text`, if that is what comes next.
    #[inline]
    pub(crate) fn literal(&mut self, text: &str) -> Option<()> {
        let is_next = self.text.as_bytes().get(self.at..)?.starts_with(text.as_bytes());
        is_next.then(|| self.at += text.len())
    }

    /// A record of `source` and what the client calls it.
    #[inline]
    pub(crate) fn record(&mut self, source: Source) -> Option<(Record<'a>, ClientId<'a>)> {
        let start = self.at;
        self.has_fractions = false;
        let fields = self.fields(source)?;
        let text = &self.text[start..self.at];
        if self.has_fractions && text.len() > SAFE_LENGTH {
            return None;
        }
        values::check(text).ok()?;
        let id = match fields.get("id") {
            None => ClientId::Content(serde_json::from_str::<Value>(text).ok()?.to_string()),
            Some(Field::Text(id)) => ClientId::Given(id.clone()),
            Some(Field::Integer(id)) => ClientId::Given(id.to_string().into()),
            Some(Field::Large(id)) => ClientId::Given(id.to_string().into()),
            Some(Field::Items(_) | Field::Other) => return None,
        };
        Some((Record::of_fields(fields).ok()?, id))
    }

    /// Where the pass is, bytes from the beginning of the text.
    pub(crate) fn place(&self) -> usize {
        self.at
    }

    /// A string with its quotes. U+0000 is unusual.
    #[inline]
    pub(crate) fn string(&mut self) -> Option<Cow<'a, str>> {
        self.literal("\"")?;
        let start = self.at;
        self.at += plain(&self.text.as_bytes()[start..]);
        let end = self.at;
        match self.pass()? {
            b'"' => Some(Cow::Borrowed(&self.text[start..end])),
            b'\\' => self.rest_of_escaped(start - 1),
            _ => None,
        }
    }

    /// A tenant, a user or a device.
    #[inline]
    pub(crate) fn identifier(&mut self) -> Option<Cow<'a, str>> {
        // That it has no U+0000 was seen.
        self.string().filter(|text| IDENTIFIER.contains(&text.len()))
    }

    /// The string that began at `start` with its quote, of which an escape's backslash was passed.
    #[cold]
    fn rest_of_escaped(&mut self, start: usize) -> Option<Cow<'a, str>> {
        loop {
            // What is escaped; a character of several bytes is none of those that end the stretch.
            self.at += 1;
            self.at += plain(self.text.as_bytes().get(self.at..)?);
            match self.pass()? {
                b'"' => break,
                b'\\' => {}
                _ => return None,
            }
        }
        let text: String = serde_json::from_str(&self.text[start..self.at]).ok()?;
        // JSON has U+0000 only in this form.
        (!text.contains('\0')).then_some(Cow::Owned(text))
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn pass(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    /// Passes what JSON has between its parts.
    #[inline]
    pub(crate) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes `byte` and the space before it, if that is what comes next.
    #[inline]
    fn mark(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// The fields that the rules of the source ask for; the others are checked.
    #[inline]
    fn fields(&mut self, source: Source) -> Option<Fields<'a>> {
        let mut fields = Fields::new(source);
        self.object(|scan, key| {
            match fields.place(&key) {
                Some(place) => fields.set(place, scan.kept()?),
                None => scan.checked(MAX_DEPTH)?,
            }
            Some(())
        })?;
        Some(fields)
    }

    /// Passes an object; `value` passes the value of each key.
    pub(crate) fn object(&mut self, mut value: impl FnMut(&mut Self, Cow<'a, str>) -> Option<()>) -> Option<()> {
        self.mark(b'{')?;
        if self.mark(b'}').is_some() {
            return Some(());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.mark(b':')?;
            self.space();
            value(self, key)?;
            if self.mark(b',').is_none() {
                return self.mark(b'}');
            }
        }
    }

    /// Passes an array; `item` passes each item.
    pub(crate) fn array(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.mark(b'[')?;
        if self.mark(b']').is_some() {
            return Some(());
        }
        loop {
            self.space();
            item(self)?;
            if self.mark(b',').is_none() {
                return self.mark(b']');
            }
        }
    }

    /// A string that a store takes.
    #[inline]
    fn stored(&mut self) -> Option<Cow<'a, str>> {
        self.string().filter(|text| text.len() <= MAX_TEXT)
    }

    /// A value that a rule asks for. What no rule takes is unusual.
    #[inline]
    fn kept(&mut self) -> Option<Field<'a>> {
        match self.peek()? {
            b'"' => self.stored().map(Field::Text),
            b'[' => {
                let mut items = Vec::new();
                self.array(|scan| {
                    items.push(Some(scan.stored()?));
                    Some(())
                })?;
                Some(Field::Items(items))
            }
            _ => match self.number()? {
                Number::Integer(number) => Some(Field::Integer(number)),
                Number::Large(number) => Some(Field::Large(number)),
                Number::Fraction => None,
            },
        }
    }

    /// Passes a value that no rule asks for, with so many levels below it.
    fn checked(&mut self, depth: u8) -> Option<()> {
        match self.peek()? {
            b'"' => self.stored().map(drop),
            b'{' => {
                let depth = depth.checked_sub(1)?;
                self.object(|scan, _| scan.checked(depth))
            }
            b'[' => {
                let depth = depth.checked_sub(1)?;
                self.array(|scan| scan.checked(depth))
            }
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => self.number().map(drop),
        }
    }

    fn number(&mut self) -> Option<Number> {
        let start = self.at;
        let negative = self.literal("-").is_some();
        let (digits, amount) = self.digits()?;
        if digits > 1 && self.text.as_bytes()[self.at - digits] == b'0' {
            return None;
        }
        let is_whole = !matches!(self.peek(), Some(b'.' | b'e' | b'E'));
        // Minus zero is no integer.
        if is_whole && digits <= SHORT && !(negative && amount == 0) {
            let amount = amount.cast_signed();
            return Some(Number::Integer(if negative { -amount } else { amount }));
        }
        if self.literal(".").is_some() {
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if is_whole
            && let Ok(number) = text.parse::<i64>()
            && number != 0
        {
            return Some(Number::Integer(number));
        }
        if is_whole && let Ok(number) = text.parse::<u64>() {
            return Some(Number::Large(number));
        }
        let number: f64 = text.parse().ok()?;
        self.has_fractions = true;
        SAFE_NUMBERS.contains(&number.abs()).then_some(Number::Fraction)
    }

    /// Passes one digit or more: how many, and what they say as long as they are few.
    fn digits(&mut self) -> Option<(usize, u64)> {
        let start = self.at;
        let mut amount = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            amount = amount.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - start;
        (digits > 0).then_some((digits, amount))
    }
}

/// How many bytes at the beginning of a text neither end a string nor are unusual in one: up to a quote, a backslash or
/// a control character. Eight at a time.
#[inline]
fn plain(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The highest bit of each byte that is zero. Bytes above one of those may be marked too, never below it.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word;
    let (eights, _) = text.as_chunks::<8>();
    let mut passed = 0;
    for eight in eights {
        let word = u64::from_le_bytes(*eight);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let backslashes = zeros(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let ends = (quotes | backslashes | controls) & HIGH;
        if ends != 0 {
            return passed + (ends.trailing_zeros() / 8) as usize;
        }
        passed += 8;
    }
    let rest = text[passed..].iter();
    passed
        + rest
            .take_while(|byte| **byte >= 0x20 && !matches!(byte, b'"' | b'\\'))
            .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_passed(text: &str) -> bool {
        let mut scan = Scan::new(text);
        scan.checked(MAX_DEPTH).is_some() && scan.is_at_end()
    }

    #[test]
    fn what_json_does_not_have_ends_the_pass() {
        for text in [
            "",
            "tru",
            "01",
            "-",
            "1.",
            ".5",
            "+1",
            "1e",
            "1e+",
            "-0",
            "\"",
            "\"\\\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\",
            "\"a\nb\"",
            "\"\\u0000\"",
            "[1,]",
            "[",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "[1 2]",
            "\"\\é\"",
            "NaN",
            "0.0",
            "1e-400",
            "1e400",
        ] {
            assert!(!is_passed(text), "{text}");
        }
    }

    #[test]
    fn what_json_has_is_passed() {
        for text in [
            "true",
            "null",
            "0",
            "-1",
            "10",
            "1.5e-3",
            "1E+2",
            "18446744073709551616",
            "\"é\\u00e9\\ud83d\\ude00\\\\\"",
            "[ ]",
            "{ }",
            "[1 , \"a\\\"b\" ,{\"b\" : [ null ] } ]",
            "\"01234567\"",
            "\"0123456789012345\\n\"",
        ] {
            assert!(is_passed(text), "{text}");
        }
    }

    #[test]
    fn no_more_levels_are_followed_than_those() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_passed(&nested(usize::from(MAX_DEPTH))));
        assert!(!is_passed(&nested(usize::from(MAX_DEPTH) + 1)));
    }

    proptest! {
        #[test]
        fn a_stretch_ends_where_a_look_at_each_byte_ends_it(text in proptest::collection::vec(
            prop_oneof![8 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => 0..0x22_u8],
            0..40,
        )) {
            let wanted = text.iter().position(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\'));
            prop_assert_eq!(plain(&text), wanted.unwrap_or(text.len()));
        }

        /// Bytes that look like JSON: what is passed is JSON.
        #[test]
        fn nothing_is_passed_that_is_no_json(text in "[\\[\\]{}\":,0-9eE+.a\\\\u -]{0,24}") {
            if is_passed(&text) {
                prop_assert!(serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
            }
        }

        #[test]
        fn a_string_is_read_as_serde_reads_it(value in any::<String>(), escaped in "(\\\\[\"\\\\/bfnrtu]|[0-9a-f]|é){0,20}") {
            for text in [serde_json::to_string(&value).unwrap(), format!("\"{escaped}\"")] {
                let mut scan = Scan::new(&text);
                let read = scan.string().filter(|_| scan.is_at_end());
                let wanted = serde_json::from_str::<String>(&text).ok().filter(|text| !text.contains('\0'));
                prop_assert_eq!(read.as_deref(), wanted.as_deref());
            }
        }
    }
}
