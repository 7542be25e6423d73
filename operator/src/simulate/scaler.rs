//! Scalers of the model, and this operator's policies as one.

use std::time::Duration;

use super::group::Group;
use crate::scale::decide::{Decision, Memory, Observation, Policy, decide};
use crate::scale::lag::Lag;
use crate::scale::target::READ_INTERVAL;
use crate::scale::window::Window;

/// Chooses the replicas of a group.
pub trait Scaler {
    /// Time between two looks.
    fn interval(&self) -> Duration;

    /// Looks at the group, as far as it can be seen from outside, and says how many replicas it is to have.
    fn look(&mut self, group: &Group) -> i32;
}

/// The operator's policy.
#[derive(Debug, Clone)]
pub struct Own {
    policy: Policy,
    window: Window,
    memory: Memory,
}

impl Own {
    /// One that follows `policy`, and has seen nothing yet.
    pub fn new(policy: Policy) -> Own {
        Own::that_knows(policy, None)
    }

    /// One that knows already how many records a second a pod writes.
    pub fn that_knows(policy: Policy, pod_rate: Option<f64>) -> Own {
        Own {
            window: Window::new(policy.commit_interval),
            policy,
            memory: Memory::with_pod_rate(pod_rate),
        }
    }

    /// What it sees of the group, where the lag is as told.
    pub(super) fn see(&mut self, group: &Group, lag: Lag) -> Observation {
        self.window.push(group.now(), lag);
        Observation {
            now: group.now(),
            replicas: group.wanted(),
            lags: vec![("topic".to_owned(), self.window.lowest())],
            flow: Some(group.flow()),
            ready: group.ready(),
            rebalancing: group.rebalancing(),
            manual: None,
            floors: vec![],
        }
    }
}

impl Own {
    /// Records a second that a pod writes, as far as it knows.
    pub(super) fn pod_rate(&self) -> Option<f64> {
        self.memory.pod_rate()
    }

    /// Decides on what was seen.
    pub(super) fn decide(&mut self, seen: &Observation) -> Decision {
        decide(&self.policy, seen, &mut self.memory)
    }
}

impl Scaler for Own {
    fn interval(&self) -> Duration {
        READ_INTERVAL
    }

    fn look(&mut self, group: &Group) -> i32 {
        let seen = self.see(group, Lag::Known(group.visible_lag()));
        self.decide(&seen).wanted
    }
}
