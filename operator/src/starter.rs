//! Replicas that neither the scaler nor an autoscaler would set. Pure.
//!
//! A component that is switched off is held at nothing, whoever scales it otherwise. One that is switched on again
//! starts with its least: an autoscaler never leaves nothing, and a component of fixed size has nobody else.

use k8s_openapi::api::apps::v1::Deployment;

use crate::apply::{FIELD_MANAGER, STARTER};
use crate::deployments::sets_replicas;
use crate::plan::Start;
use crate::scale::follow::FIELD_MANAGER as SCALER;

/// The replicas to be set now; absent where they are somebody else's to set. `start` is what the plan wants a new
/// Deployment to start with.
pub fn replicas_to_set(start: Start, autoscaled: bool, live: &Deployment) -> Option<i32> {
    let present = live.spec.replicas.unwrap_or(1);
    match start {
        Start::Off => (present != 0).then_some(0),
        // Its scaler brings the first one, and takes the last one away.
        Start::With(0) => None,
        // What somebody else has scaled to nothing, and nobody scales, is theirs.
        Start::With(least) => (present == 0 && (autoscaled || is_set_by_operator(live))).then_some(least),
    }
}

/// Whether the operator has set the replicas, and nobody else since.
fn is_set_by_operator(live: &Deployment) -> bool {
    let ours = [STARTER, SCALER, FIELD_MANAGER];
    let entries = live.metadata.managed_fields.iter().flatten();
    let mut setters = entries.filter(|entry| sets_replicas(entry)).peekable();
    setters.peek().is_some() && setters.all(|entry| entry.manager.as_deref().is_some_and(|name| ours.contains(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn live(replicas: i32, setter: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"managedFields": [{"manager": setter, "fieldsV1": {"f:spec": {"f:replicas": {}}}}]},
            "spec": {"replicas": replicas, "selector": {}, "template": {}},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_switched_off_is_held_at_nothing() {
        assert_eq!(replicas_to_set(Start::Off, false, &live(3, SCALER)), Some(0));
        assert_eq!(replicas_to_set(Start::Off, false, &live(2, "kubectl")), Some(0));
        assert_eq!(replicas_to_set(Start::Off, false, &live(0, STARTER)), None);
    }

    #[test]
    fn what_may_be_nothing_is_its_scalers_to_set() {
        for replicas in [0, 1, 3] {
            assert_eq!(replicas_to_set(Start::With(0), false, &live(replicas, SCALER)), None);
        }
    }

    #[test]
    fn what_was_switched_off_starts_again() {
        assert_eq!(replicas_to_set(Start::With(2), false, &live(0, STARTER)), Some(2));
        assert_eq!(replicas_to_set(Start::With(2), false, &live(0, SCALER)), Some(2));
        assert_eq!(
            replicas_to_set(Start::With(2), true, &live(0, "kubectl")),
            Some(2),
            "no autoscaler leaves nothing"
        );
    }

    #[test]
    fn replicas_that_somebody_else_has_set_are_theirs() {
        assert_eq!(replicas_to_set(Start::With(2), false, &live(0, "kubectl")), None);
        assert_eq!(replicas_to_set(Start::With(2), false, &live(5, STARTER)), None);
        assert_eq!(
            replicas_to_set(Start::With(2), true, &live(7, "kube-controller-manager")),
            None
        );
    }
}
