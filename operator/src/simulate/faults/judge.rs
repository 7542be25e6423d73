//! Which actions are wrong, as seen by somebody who knows how it really is.

use std::time::Duration;

use super::{BY_HAND, Fault, Scene};
use crate::ladder::Bounds;
use crate::scale::decide::{Decision, Observation, Reason, Rule};
use crate::scale::rates::capacity;

/// How long pods may be awaited before no more of them are asked for.
const PENDING: Duration = Duration::from_secs(130);
/// How many times as many pods as are needed are too many when all is over.
const TOO_MANY: f64 = 2.0;

/// An action that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// Pods were given up while the lag was not wholly known.
    InOnUnknown(Act),
    /// Pods were given up that were needed.
    InWhileNeeded(Act),
    /// Pods were asked for that nothing asked for.
    OutWithoutNeed(Act),
    /// Replicas that somebody set by hand were not left alone.
    AgainstHand(Act),
    /// More pods than may be, or fewer.
    OutOfBounds(Act),
    /// More pods were asked for again and again although those asked for did not come.
    Piled(Act),
    /// Records waited still, or there were far too many pods, long after it was over.
    NotOver {
        /// Records that waited.
        waiting: i64,
        /// Replicas at the end.
        replicas: i32,
    },
}

/// One action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// When.
    pub at: Duration,
    /// Replicas before.
    pub from: i32,
    /// Replicas after.
    pub to: i32,
    /// What was said about it.
    pub message: String,
}

/// What became of one fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// All actions.
    pub acts: usize,
    /// Those that must not be.
    pub wrong: Vec<Wrong>,
}

impl Scene {
    /// What was decided, against how it really is.
    pub(super) fn judge(&mut self, seen: &Observation, decision: &Decision) {
        let act = Act {
            at: self.group.now(),
            from: seen.replicas,
            to: decision.wanted,
            message: format!("{}: {}", decision.reason, decision.message),
        };
        self.verdict.acts += 1;
        let Bounds { min, max } = self.policy.bounds;
        let wrong = if act.to < min || act.to > max {
            Some(Wrong::OutOfBounds(act))
        } else if seen.manual.as_ref().is_some_and(|(_, since)| *since < BY_HAND) && act.from <= max {
            Some(Wrong::AgainstHand(act))
        } else if act.to < act.from {
            self.wrong_way_in(seen, decision, act)
        } else {
            self.wrong_way_out(act)
        };
        self.verdict.wrong.extend(wrong);
    }

    fn wrong_way_in(&self, seen: &Observation, decision: &Decision, act: Act) -> Option<Wrong> {
        let is_known = seen.lags.iter().all(|(_, lag)| lag.exact().is_some());
        if !is_known {
            return Some(Wrong::InOnUnknown(act));
        }
        // What has not helped goes, whatever waits.
        if decision.reason == Reason::NoHelp {
            return (!self.fault.limits_writing()).then_some(Wrong::InWhileNeeded(act));
        }
        let waiting = self.group.lag();
        let flow = self.group.flow();
        // What is read between two commits cannot be told from what waits, and of one partition only one pod can read.
        let unseen = self.arriving() * (1.0 + self.policy.commit_interval.as_secs_f64());
        let is_behind = waiting > unseen + 2.0 * self.pod_rate && flow.hottest < 0.5;
        // Whether a step less is too few nobody can know before it was tried, where nothing ever showed what a pod writes.
        if self.scaler.pod_rate().is_none() {
            let writes = |count| capacity(flow.partitions, count);
            let is_step =
                (act.to..act.from).all(|count| writes(count) <= writes(act.to) || writes(count) >= writes(act.from));
            let is_step = is_step || matches!(self.policy.rule, Rule::Climb(_));
            return (is_behind || !is_step && !self.is_hidden()).then_some(Wrong::InWhileNeeded(act));
        }
        let could = |count| capacity(flow.partitions, count) * self.pod_rate;
        let is_too_few = self.arriving_lately() > could(act.to) && could(act.to) < could(act.from);
        (is_behind || is_too_few && !self.is_hidden()).then_some(Wrong::InWhileNeeded(act))
    }

    fn wrong_way_out(&self, act: Act) -> Option<Wrong> {
        if act.from < self.policy.bounds.min {
            return None;
        }
        let waiting = self.group.lag();
        let flow = self.group.flow();
        let could = capacity(flow.partitions, act.from.min(flow.readers)) * self.pod_rate;
        let is_needed = waiting > self.arriving().max(1.0) || self.arriving() > 0.85 * could;
        if !is_needed {
            return Some(Wrong::OutWithoutNeed(act));
        }
        let is_pending = self.fault == Fault::PodsPending && self.phase().0;
        let are_late = self.short.is_some_and(|since| act.at > since + PENDING);
        (is_pending && are_late).then_some(Wrong::Piled(act))
    }

    /// When it has long been over, nothing waits and there are about as many pods as are needed.
    pub(super) fn judge_end(&mut self) {
        let arriving = self.loads[0];
        let waiting = self.group.lag();
        let flow = self.group.flow();
        let need =
            (1..=flow.partitions).find(|count| capacity(flow.partitions, *count) * self.pod_rate * 0.8 >= arriving);
        let need = need.unwrap_or(flow.partitions).max(self.policy.bounds.min);
        let replicas = self.group.wanted();
        let is_drain = matches!(self.policy.rule, Rule::Drain(_));
        // Who never saw what a pod writes goes down a step in each cooldown.
        let is_known = self.scaler.pod_rate().is_some();
        let are_too_many = is_drain && is_known && f64::from(replicas) > TOO_MANY * f64::from(need) + 1.0;
        // What waits in a few partitions is for a few pods to read, beside their others, however long that takes.
        let is_of_one = matches!(self.fault, Fault::HotPartition | Fault::PoisonedPartition);
        let is_of_few = is_of_one || flow.spread < 0.5 * f64::from(flow.partitions);
        let may_wait = match &self.policy.rule {
            Rule::Climb(climb) => climb.thresholds[0] as f64,
            _ => 0.0,
        };
        let may_wait = may_wait.max(3.0 * arriving + f64::from(flow.partitions));
        let is_late = waiting > may_wait && !is_of_few && replicas < self.policy.bounds.max;
        if is_late || are_too_many {
            let waiting = waiting as i64;
            self.verdict.wrong.push(Wrong::NotOver { waiting, replicas });
        }
    }
}
