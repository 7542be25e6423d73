//! Whose the fields of an object are that the operator created, before it is applied for the first time. Pure.
//!
//! An object is created with one request, which fails where somebody else has the name. The API server enters the
//! creator as one who has once written all these fields, and not as one who applies them: a field that is later taken
//! out of the plan would stay. So they are handed over to the one who applies, all but the replicas that a Deployment
//! starts with: those stay the starter's, so that an apply, which has none, does not take them away.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::{Map, Value, json};

use crate::apply::{FIELD_MANAGER, STARTER};

const APPLY: &str = "Apply";
const UPDATE: &str = "Update";
const SPEC: &str = "f:spec";
const REPLICAS: &str = "f:replicas";

/// The entries after the fields were handed over; absent where nothing is to be handed over.
pub fn handed_over(entries: &[ManagedFieldsEntry]) -> Option<Vec<ManagedFieldsEntry>> {
    let (created, mut rest): (Vec<_>, Vec<_>) = entries.iter().cloned().partition(is_of_creation);
    let first = created.first()?.clone();
    let mut fields = Value::Object(Map::new());
    for entry in created {
        let mut own = fields_of(&entry);
        let replicas = own
            .get_mut(SPEC)
            .and_then(|spec| spec.as_object_mut()?.remove(REPLICAS));
        merge(&mut fields, own);
        if replicas.is_some() {
            let replicas = FieldsV1(json!({SPEC: {REPLICAS: {}}}));
            rest.push(ManagedFieldsEntry {
                fields_v1: Some(replicas),
                ..entry
            });
        }
    }
    match rest.iter_mut().find(|entry| is(entry, FIELD_MANAGER, APPLY)) {
        Some(applied) => {
            let mut all = fields_of(applied);
            merge(&mut all, fields);
            applied.fields_v1 = Some(FieldsV1(all));
        }
        None => rest.push(ManagedFieldsEntry {
            manager: Some(FIELD_MANAGER.to_owned()),
            operation: Some(APPLY.to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..first
        }),
    }
    Some(rest)
}

/// Whether the operator has written more than replicas here without applying it.
fn is_of_creation(entry: &ManagedFieldsEntry) -> bool {
    let ours = is(entry, FIELD_MANAGER, UPDATE) || is(entry, STARTER, UPDATE);
    ours && fields_of(entry) != json!({SPEC: {REPLICAS: {}}})
}

fn is(entry: &ManagedFieldsEntry, manager: &str, operation: &str) -> bool {
    entry.manager.as_deref() == Some(manager)
        && entry.operation.as_deref() == Some(operation)
        && entry.subresource.as_deref().unwrap_or_default().is_empty()
}

fn fields_of(entry: &ManagedFieldsEntry) -> Value {
    let fields = entry.fields_v1.as_ref().map(|fields| fields.0.clone());
    fields.unwrap_or_else(|| Value::Object(Map::new()))
}

/// All fields of both.
fn merge(into: &mut Value, from: Value) {
    let (Value::Object(into), Value::Object(from)) = (into, from) else {
        return;
    };
    for (key, value) in from {
        merge(into.entry(key).or_insert_with(|| Value::Object(Map::new())), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(entries: Value) -> Vec<ManagedFieldsEntry> {
        serde_json::from_value(entries).unwrap()
    }

    #[test]
    fn a_created_deployment_is_handed_over_without_its_replicas() {
        let created = entries(json!([
            {"manager": STARTER, "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:replicas": {}, "f:template": {}}}},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
                "fieldsV1": {"f:status": {}}},
        ]));
        let after = handed_over(&created).unwrap();
        let expected = entries(json!([
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status",
                "fieldsV1": {"f:status": {}}},
            {"manager": STARTER, "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:template": {}}}},
        ]));
        assert_eq!(after, expected);
        assert_eq!(handed_over(&after), None, "only once");
    }

    #[test]
    fn what_was_applied_already_gets_the_fields_of_the_creation() {
        let both = entries(json!([
            {"manager": FIELD_MANAGER, "operation": "Update", "fieldsV1": {"f:spec": {"f:old": {}, "f:same": {}}}},
            {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:same": {}, "f:new": {}}}},
        ]));
        let expected = entries(json!([
            {"manager": FIELD_MANAGER, "operation": "Apply",
                "fieldsV1": {"f:spec": {"f:old": {}, "f:same": {}, "f:new": {}}}},
        ]));
        assert_eq!(handed_over(&both), Some(expected));
    }

    #[test]
    fn what_others_wrote_and_scaled_replicas_stay() {
        let others = entries(json!([
            {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {"f:template": {}}}},
            {"manager": STARTER, "operation": "Update", "subresource": "scale",
                "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ]));
        assert_eq!(handed_over(&others), None);
    }
}
