//! Our own YAML, read and written in one place.

use serde::{Serialize, de::DeserializeOwned};

/// YAML that does not fit the type.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the YAML: {0}")]
pub struct InvalidYaml(#[from] serde_yaml::Error);

/// Reads one YAML document.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, InvalidYaml> {
    Ok(serde_yaml::from_str(text)?)
}

/// Writes one YAML document.
pub fn render<T: Serialize>(value: &T) -> Result<String, InvalidYaml> {
    Ok(serde_yaml::to_string(value)?)
}
