//! Who the pods are.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Who the pods are to a cloud provider. Left out, each component has a ServiceAccount of its own.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.name) || !has(self.annotations) || size(self.annotations) == 0")
    .message("spec.serviceAccount.annotations: not with name; annotate the ServiceAccount that is named"))]
pub struct ServiceAccountSettings {
    /// An existing ServiceAccount of the same namespace that all pods use; the operator makes none then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Annotations of every ServiceAccount that the operator makes, such as `eks.amazonaws.com/role-arn`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub annotations: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn refusals(settings: &Value) -> Vec<String> {
        let outcome = kube::core::cel::validate_cel_schema::<ServiceAccountSettings>(settings, None);
        let errors = outcome.err().map(|errors| errors.into_vec()).unwrap_or_default();
        errors.into_iter().map(|error| error.message).collect()
    }

    #[test]
    fn a_named_account_is_not_annotated() {
        let both = "spec.serviceAccount.annotations: not with name; annotate the ServiceAccount that is named";
        for (settings, expected) in [
            (json!({}), vec![]),
            (json!({"name": "a"}), vec![]),
            (json!({"annotations": {"b": "c"}}), vec![]),
            (json!({"name": "a", "annotations": {}}), vec![]),
            (json!({"name": "a", "annotations": {"b": "c"}}), vec![both]),
        ] {
            assert_eq!(refusals(&settings), expected, "{settings}");
        }
    }
}
