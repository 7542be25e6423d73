//! Which metrics and labels a PromQL query names. No evaluator: just enough of the syntax to know names from words.

use anyhow::{Context, Result, bail, ensure};

/// What a query names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Series, each with the labels that it is selected by.
    pub(crate) selectors: Vec<Selector>,
    /// Labels that series are grouped or matched by, each with the series that must have them.
    pub(crate) groupings: Vec<Grouping>,
}

/// A series and the labels in its braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) series: String,
    pub(crate) labels: Vec<String>,
}

/// Labels of `by (…)`, `on (…)` and the like, and the series that they speak of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Grouping {
    pub(crate) labels: Vec<String>,
    pub(crate) series: Vec<String>,
}

/// Operators written as words, and modifiers without labels.
const WORDS: [&str; 7] = ["and", "or", "unless", "bool", "offset", "inf", "nan"];
/// Words before labels of an aggregation, whose operand follows.
const OF_AGGREGATION: [&str; 2] = ["by", "without"];
/// Words before labels by which two sides are matched.
const OF_MATCHING: [&str; 4] = ["on", "ignoring", "group_left", "group_right"];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    Text,
    Symbol(char),
}

/// Reads a query. Aggregations must be written as `sum by (label) (operand)`.
pub(crate) fn names(query: &str) -> Result<Names> {
    let tokens = tokens(query).with_context(|| format!("read {query}"))?;
    let mut names = Names::default();
    let mut at = 0;
    while at < tokens.len() {
        at = match &tokens[at] {
            Token::Name(word) if OF_AGGREGATION.contains(&word.as_str()) => {
                let (labels, operand) = list(&tokens, at + 1)?;
                let end = closing(&tokens, operand)?;
                let series = series(&tokens[operand..end]);
                names.groupings.push(Grouping { labels, series });
                operand
            }
            Token::Name(word) if OF_MATCHING.contains(&word.as_str()) => {
                let (labels, next) = list(&tokens, at + 1)?;
                let series = series(&tokens);
                names.groupings.push(Grouping { labels, series });
                next
            }
            Token::Name(word) if is_series(&tokens, at) => {
                let (labels, next) = match tokens.get(at + 1) {
                    Some(Token::Symbol('{')) => list(&tokens, at + 1)?,
                    _ => (vec![], at + 1),
                };
                let series = word.clone();
                names.selectors.push(Selector { series, labels });
                next
            }
            _ => at + 1,
        };
    }
    ensure!(!names.selectors.is_empty(), "{query} names no metric");
    Ok(names)
}

/// A name that is neither a word of the language nor a function.
fn is_series(tokens: &[Token], at: usize) -> bool {
    let Token::Name(word) = &tokens[at] else { return false };
    let called = tokens.get(at + 1) == Some(&Token::Symbol('('));
    // `sum by (…) (…)` is a call, too.
    let aggregates = matches!(tokens.get(at + 1), Some(Token::Name(next)) if OF_AGGREGATION.contains(&next.as_str()));
    !called && !aggregates && !WORDS.contains(&word.to_lowercase().as_str())
}

/// All series in a part of a query.
fn series(tokens: &[Token]) -> Vec<String> {
    let mut depth = 0;
    let mut found = vec![];
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            Token::Symbol('{') => depth += 1,
            Token::Symbol('}') => depth -= 1,
            Token::Name(word) if OF_AGGREGATION.contains(&word.as_str()) || OF_MATCHING.contains(&word.as_str()) => {
                // Labels are no series.
                at = closing(tokens, at + 1).unwrap_or(at);
            }
            Token::Name(word) if depth == 0 && is_series(tokens, at) => found.push(word.clone()),
            _ => {}
        }
        at += 1;
    }
    found
}

/// The names in the parentheses or braces at `open`, and what follows these.
fn list(tokens: &[Token], open: usize) -> Result<(Vec<String>, usize)> {
    let close = closing(tokens, open)?;
    let names = tokens[open..close].iter().filter_map(|token| match token {
        Token::Name(name) => Some(name.clone()),
        _ => None,
    });
    Ok((names.collect(), close + 1))
}

/// Where the parenthesis or brace at `open` is closed.
fn closing(tokens: &[Token], open: usize) -> Result<usize> {
    let (opens, closes) = match tokens.get(open) {
        Some(Token::Symbol('(')) => ('(', ')'),
        Some(Token::Symbol('{')) => ('{', '}'),
        other => bail!("a list or an operand in parentheses is expected, and not {other:?}"),
    };
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Symbol(symbol) if *symbol == opens => depth += 1,
            Token::Symbol(symbol) if *symbol == closes => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(at);
        }
    }
    bail!("{opens} is not closed")
}

/// Names, texts and symbols; durations and numbers are left out.
fn tokens(query: &str) -> Result<Vec<Token>> {
    let mut found = vec![];
    let mut rest = query.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '"' => {
                let mut escaped = false;
                let end = rest.find(|character| {
                    let ends = *character == '"' && !escaped;
                    escaped = *character == '\\' && !escaped;
                    ends
                });
                end.context("a text is not closed")?;
                found.push(Token::Text);
            }
            '[' => {
                rest.find(|character| *character == ']')
                    .context("a range is not closed")?;
            }
            _ if next.is_ascii_digit() => while rest.next_if(|next| is_of_name(*next) || *next == '.').is_some() {},
            _ if is_of_name(next) => {
                let mut name = String::from(next);
                while let Some(next) = rest.next_if(|next| is_of_name(*next)) {
                    name.push(next);
                }
                found.push(Token::Name(name));
            }
            _ if next.is_whitespace() => {}
            symbol => found.push(Token::Symbol(symbol)),
        }
    }
    Ok(found)
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == ':'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn selector(series: &str, labels: &[&str]) -> Selector {
        Selector {
            series: series.to_owned(),
            labels: owned(labels),
        }
    }

    #[test]
    fn series_are_known_from_functions_words_and_labels() {
        let names = names(
            r#"histogram_quantile(0.99, sum by (le, a) (rate(x_bucket{b="{y}", c=~"z\"w"}[5m]))) > 1e3
               unless on (d) (max(v[1h:1m] offset 1d) == bool 0)"#,
        )
        .unwrap();
        assert_eq!(names.selectors, [selector("x_bucket", &["b", "c"]), selector("v", &[])]);
        let grouping = |labels: &[&str], series: &[&str]| Grouping {
            labels: owned(labels),
            series: owned(series),
        };
        assert_eq!(
            names.groupings,
            [
                grouping(&["le", "a"], &["x_bucket"]),
                grouping(&["d"], &["x_bucket", "v"])
            ]
        );
    }

    #[test]
    fn a_query_that_cannot_be_read_is_no_query_without_names() {
        for broken in [
            r#"x{a="b}"#,
            "rate(x[5m)",
            "sum(x) by (a)",
            "sum by (a (x)",
            "vector(0)",
        ] {
            assert!(names(broken).is_err(), "{broken}");
        }
    }
}
