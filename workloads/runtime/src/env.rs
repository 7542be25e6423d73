//! Configuration from environment variables. Every error names its variable and says what is wanted.

use std::{collections::HashMap, fmt, fmt::Display, str::FromStr};

/// A variable that is missing or wrong. The value is never part of the text, because it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The variable is not set, or empty.
    #[error("environment variable {name} is not set; it is required")]
    Missing {
        /// Name of the variable.
        name: String,
    },
    /// The variable holds something else than what is wanted.
    #[error("environment variable {name} is wrong: {problem}")]
    Wrong {
        /// Name of the variable.
        name: String,
        /// What is wrong, or what is wanted.
        problem: String,
    },
}

/// The environment of the process, or a made-up one in tests. An empty value counts as not set.
#[derive(Clone, Default)]
pub struct Env {
    values: HashMap<String, String>,
}

impl Env {
    /// Reads the environment of this process once. Values that are not UTF-8 count as not set.
    pub fn from_process() -> Env {
        Env::from_pairs(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// An environment of the given pairs.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Env {
        let values = pairs
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .filter(|(_, value)| !value.trim().is_empty())
            .collect();
        Env { values }
    }

    /// The same with these variables changed; an empty value takes one out.
    pub fn with<N: Into<String>, V: Into<String>>(&self, pairs: impl IntoIterator<Item = (N, V)>) -> Env {
        let changes = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        Env::from_pairs(
            self.values
                .clone()
                .into_iter()
                .chain(changes.collect::<Vec<_>>())
                .collect::<HashMap<_, _>>(),
        )
    }

    /// The variable's value, where it is set.
    pub fn optional(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }

    /// The variable's value, or an error that names it.
    pub fn required(&self, name: &str) -> Result<String, EnvError> {
        self.optional(name)
            .ok_or_else(|| EnvError::Missing { name: name.to_owned() })
    }

    /// The variable as a number, flag, …; `default` where it is not set.
    pub fn parsed_or<T>(&self, name: &str, default: T) -> Result<T, EnvError>
    where
        T: FromStr,
        T::Err: Display,
    {
        match self.values.get(name) {
            None => Ok(default),
            Some(value) => value.trim().parse().map_err(|problem: T::Err| EnvError::Wrong {
                name: name.to_owned(),
                problem: problem.to_string(),
            }),
        }
    }

    /// The variable as a list separated by commas; empty where it is not set.
    pub fn list(&self, name: &str) -> Vec<String> {
        let value = self.values.get(name).map(String::as_str).unwrap_or_default();
        value
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The variable as a list with at least one item, or an error that names it.
    pub fn required_list(&self, name: &str) -> Result<Vec<String>, EnvError> {
        let items = self.list(name);
        if items.is_empty() {
            return Err(EnvError::Missing { name: name.to_owned() });
        }
        Ok(items)
    }
}

/// Names only: values may be secrets.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_variable_and_never_shows_its_value() {
        let env = Env::from_pairs([("PORT", "hunter2"), ("EMPTY", " ")]);
        assert_eq!(
            env.required("EMPTY").unwrap_err().to_string(),
            "environment variable EMPTY is not set; it is required"
        );
        assert_eq!(
            env.parsed_or("PORT", 1_u16).unwrap_err().to_string(),
            "environment variable PORT is wrong: invalid digit found in string"
        );
        assert_eq!(format!("{env:?}"), r#"{"PORT"}"#);
    }

    #[test]
    fn a_change_replaces_and_an_empty_one_takes_out() {
        let env = Env::from_pairs([("A", "1"), ("B", "2")]).with([("A", ""), ("B", "3"), ("C", "4")]);
        let all: Vec<_> = ["A", "B", "C"].iter().map(|name| env.optional(name)).collect();
        assert_eq!(all, [None, Some("3".to_owned()), Some("4".to_owned())]);
    }

    #[test]
    fn a_list_forgives_blanks_and_stray_commas() {
        let env = Env::from_pairs([("TOPICS", " a, b ,,c,")]);
        assert_eq!(env.list("TOPICS"), ["a", "b", "c"]);
        assert!(env.list("OTHER").is_empty());
        assert!(env.required_list("OTHER").is_err());
    }
}
