//! Whether somebody else has set a Deployment's replicas. Pure.
//!
//! The API server keeps who set which field, and when, in `metadata.managedFields`: so a `kubectl scale` is known
//! for what it is, also by an operator that was started after it.

use chrono::{DateTime, Utc};
use k8s_openapi::api::apps::v1::Deployment;

use super::follow::FIELD_MANAGER;
use crate::apply;
use crate::deployments::sets_replicas;

/// The last one who set the replicas and is not the operator, and when. The API server keeps no time of a change by
/// way of the scale subresource, as `kubectl scale` makes it.
pub fn last_setter(deployment: &Deployment) -> Option<(String, Option<DateTime<Utc>>)> {
    let ours = [FIELD_MANAGER, apply::FIELD_MANAGER, apply::STARTER];
    let entries = deployment.metadata.managed_fields.iter().flatten();
    let setters = entries.filter(|entry| sets_replicas(entry));
    let mut foreign: Option<(String, Option<DateTime<Utc>>)> = None;
    for entry in setters {
        let manager = entry.manager.as_deref().unwrap_or("somebody");
        if ours.contains(&manager) {
            // Both set the same number: it is the scaler's as well, and nothing is to be undone.
            if manager == FIELD_MANAGER {
                return None;
            }
            continue;
        }
        let time = entry.time.as_ref().map(|time| time.0.as_second());
        let at = time.and_then(|second| DateTime::from_timestamp(second, 0));
        // What has no time is as good as new.
        let is_later = |latest: &Option<DateTime<Utc>>| at.is_none() || latest.is_some_and(|latest| at > Some(latest));
        if foreign.as_ref().is_none_or(|(_, latest)| is_later(latest)) {
            foreign = Some((manager.to_owned(), at));
        }
    }
    foreign
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment(entries: &[(&str, bool, i64)]) -> Deployment {
        let entries: Vec<_> = entries
            .iter()
            .map(|(manager, replicas, second)| {
                let fields = if *replicas {
                    json!({"f:spec": {"f:replicas": {}}})
                } else {
                    json!({"f:spec": {"f:template": {}}})
                };
                let time = DateTime::from_timestamp(*second, 0).unwrap().to_rfc3339();
                json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"managedFields": entries},
            "spec": {"selector": {}, "template": {}},
        }))
        .unwrap()
    }

    #[test]
    fn only_replicas_set_by_somebody_else_count() {
        assert_eq!(last_setter(&deployment(&[(apply::STARTER, true, 5)])), None);
        assert_eq!(
            last_setter(&deployment(&[("kubectl", false, 5), (FIELD_MANAGER, true, 6)])),
            None
        );
        let (who, at) = last_setter(&deployment(&[(FIELD_MANAGER, false, 5), ("kubectl", true, 6)])).unwrap();
        assert_eq!((who.as_str(), at.unwrap().timestamp()), ("kubectl", 6));
    }

    #[test]
    fn a_change_of_the_scale_has_no_time_and_counts() {
        let mut scaled = deployment(&[(apply::STARTER, false, 5), ("kubectl", true, 6)]);
        let entries = scaled.metadata.managed_fields.as_mut().unwrap();
        entries[1].time = None;
        assert_eq!(last_setter(&scaled), Some(("kubectl".to_owned(), None)));
    }

    #[test]
    fn the_latest_of_several_counts() {
        let (who, _) = last_setter(&deployment(&[("argocd", true, 9), ("kubectl", true, 6)])).unwrap();
        assert_eq!(who, "argocd");
    }

    #[test]
    fn a_number_that_the_scaler_set_too_is_its_own() {
        assert_eq!(
            last_setter(&deployment(&[("kubectl", true, 9), (FIELD_MANAGER, true, 6)])),
            None
        );
    }
}
