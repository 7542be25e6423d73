//! What the API server checks of a SyncPipeline, for those who have none at hand: unknown fields, and the rules of the
//! definition.

use kube::core::cel::{ErrorKind, Validator};
use serde_json::Value;

use super::definition;

/// A SyncPipeline that the API server would refuse.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// Fields that there are not, by their paths.
    #[error("{}: no such field; docs/api.md names those that there are", .0.join(", "))]
    UnknownFields(Vec<String>),
    /// Values beyond their bounds.
    #[error("{}", .0.join("; "))]
    OutOfBounds(Vec<String>),
    /// Rules that do not hold.
    #[error("{}", .0.join("; "))]
    Broken(Vec<String>),
    /// The definition cannot be read.
    #[error("the definition of SyncPipeline: {0}")]
    Definition(#[from] serde_json::Error),
}

/// Checks an object: as it was `written`, for its fields, and as it was `read`, with all defaults, for the rules.
pub fn check(written: &Value, read: &Value) -> Result<(), RuleError> {
    let definition = serde_json::to_value(definition()?)?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut unknown = Vec::new();
    unknown_fields(schema, written, "", &mut unknown);
    if !unknown.is_empty() {
        return Err(RuleError::UnknownFields(unknown));
    }
    let mut beyond = Vec::new();
    out_of_bounds(schema, written, "", &mut beyond);
    if !beyond.is_empty() {
        return Err(RuleError::OutOfBounds(beyond));
    }
    let outcome = Validator::new().validate(schema, read, None);
    let errors = outcome.err().map(|errors| errors.into_vec()).unwrap_or_default();
    // A rule that cannot be evaluated here says nothing of the object.
    let broken: Vec<String> = errors
        .into_iter()
        .filter(|error| error.kind == ErrorKind::ValidationFailure)
        .map(|error| error.message)
        .collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(RuleError::Broken(broken))
    }
}

/// Collects the paths of fields that the schema does not know.
fn unknown_fields(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let Some(properties) = schema["properties"].as_object() else {
                let any = &schema["additionalProperties"];
                fields
                    .iter()
                    .for_each(|(name, field)| unknown_fields(any, field, &format!("{path}.{name}"), found));
                return;
            };
            for (name, field) in fields {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                match properties.get(name) {
                    Some(schema) => unknown_fields(schema, field, &below, found),
                    // Every object has these, and definitions leave them out.
                    None if path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) => {}
                    None if schema["x-kubernetes-preserve-unknown-fields"] == true => {}
                    None => found.push(below),
                }
            }
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, item)| unknown_fields(&schema["items"], item, &format!("{path}[{index}]"), found)),
        _ => {}
    }
}

/// Collects what is wrong with numbers and with the lengths of lists.
fn out_of_bounds(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let mut judge = |number: f64, least: &str, most: &str, what: &str| {
        let bound = |name: &str| schema[name].as_f64();
        if let Some(least) = bound(least).filter(|least| number < *least) {
            found.push(format!("{path}: {what} must be at least {least}"));
        } else if let Some(most) = bound(most).filter(|most| number > *most) {
            found.push(format!("{path}: {what} must be at most {most}"));
        }
    };
    match value {
        Value::Number(number) => judge(number.as_f64().unwrap_or(f64::MAX), "minimum", "maximum", "it"),
        Value::Array(items) => {
            judge(items.len() as f64, "minItems", "maxItems", "the number of its items");
            for (index, item) in items.iter().enumerate() {
                out_of_bounds(&schema["items"], item, &format!("{path}[{index}]"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                out_of_bounds(&schema["properties"][name], field, &below, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SyncPipeline;
    use serde_json::json;

    fn refusal(change: impl FnOnce(&mut Value)) -> Option<String> {
        let mut written = json!({
            "apiVersion": "syncpipeline.dev/v1alpha1",
            "kind": "SyncPipeline",
            "metadata": {"name": "p", "labels": {"a": "b"}},
            "spec": {
                "profile": "Custom",
                "dailyActiveUsers": 1000,
                "kafka": {"bootstrapServers": ["kafka:9092"]},
                "topics": [{"name": "clicks", "partitions": 4}],
                "consumers": [{
                    "name": "reader", "image": "i", "topics": ["clicks"], "group": "g", "replicas": {"min": 1, "max": 4},
                    "env": [{"name": "A", "value": "b"}],
                    "pod": {"nodeSelector": {"disk": "fast"}},
                }],
            },
        });
        change(&mut written);
        let object: SyncPipeline = serde_json::from_value(written.clone()).unwrap();
        let read = serde_json::to_value(&object).unwrap();
        check(&written, &read).err().map(|error| error.to_string())
    }

    #[test]
    fn what_the_api_server_takes_is_taken_here() {
        assert_eq!(refusal(|_| ()), None);
    }

    #[test]
    fn a_field_that_there_is_not_is_named_by_its_path() {
        assert_eq!(
            refusal(|object| {
                object["spec"]["consumers"][0]["scalling"] = json!({});
                object["spec"]["consumers"][0]["scaling"] = json!({"lagThresholds": [1]});
            }),
            Some(
                "spec.consumers[0].scaling.lagThresholds, spec.consumers[0].scalling: no such field; docs/api.md names \
                 those that there are"
                    .to_owned()
            )
        );
    }

    #[test]
    fn a_number_beyond_its_bounds_is_named_with_them() {
        assert_eq!(
            refusal(|object| object["spec"]["topics"][0]["partitions"] = json!(0)),
            Some("spec.topics[0].partitions: it must be at least 1".to_owned())
        );
    }

    #[test]
    fn a_rule_that_does_not_hold_says_its_message() {
        let broken = |scaling: Value| refusal(|object| object["spec"]["consumers"][0]["scaling"] = scaling).unwrap();
        for (scaling, part) in [
            (json!({"ladder": {"lagThresholds": [500, 100]}}), "ascending"),
            (json!({"type": "Drain", "ladder": {}}), "Ladder"),
            (json!({"drain": {}}), "Drain"),
        ] {
            let message = broken(scaling);
            assert!(message.contains(part), "{message}");
        }
        let message = refusal(|object| object["spec"]["consumers"][0]["replicas"] = json!({"min": 9, "max": 4}));
        assert!(message.is_some_and(|message| message.contains("min")));
    }
}
