//! Our own YAML, read and written in one place.

use serde::{Serialize, de::DeserializeOwned};

/// YAML that does not fit the type.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the YAML: {0}")]
pub struct InvalidYaml(#[from] serde_yaml::Error);

/// The deepest nesting in brackets: no object of Kubernetes comes near it, and reading takes time by its square.
const DEEPEST: usize = 200;

/// Reads one YAML document.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, InvalidYaml> {
    if nesting(text) > DEEPEST {
        let error = format!("it is nested more than {DEEPEST} deep");
        return Err(InvalidYaml(serde::de::Error::custom(error)));
    }
    Ok(serde_yaml::from_str(text)?)
}

/// How deep brackets are nested, at most.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Writes one YAML document.
pub fn render<T: Serialize>(value: &T) -> Result<String, InvalidYaml> {
    Ok(serde_yaml::to_string(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_too_deep_is_refused_at_once() {
        let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse::<serde_json::Value>(&deep(50)).is_ok());
        let error = parse::<serde_json::Value>(&deep(100_000)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the YAML: it is nested more than 200 deep"
        );
    }
}
