//! Pods that were asked for: whether they have come, what that cost, and whether they were any help.

use std::time::Duration;

use super::super::decide::{Ask, Observation, Reason};
use super::super::rates::{Flow, Rates, capacity};
use super::moment::Moment;
use crate::ladder::Bounds;

/// Part of the expected gain that more pods must have brought.
const EFFECTIVE: f64 = 0.1;
/// Part of the partitions over which what waits must be spread to say so.
const CLEAR: f64 = 0.75;
/// The longest start and the longest rebalance that are reckoned with: pods that waited for a node say nothing about those
/// that come next.
const LONGEST_START: Duration = Duration::from_secs(120);
const LONGEST_REBALANCE: Duration = Duration::from_secs(60);
/// From when new pods are ready until it shows what they write.
const SETTLED: Duration = Duration::from_secs(10);
/// How many cooldowns a number of pods that was no help is not asked for again.
const LATCHED: u32 = 5;
/// How many times as much as then must be written for that to be over before: the limit is another one now.
const FREED: f64 = 1.25;

/// What new pods cost, as measured so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cost {
    /// From the patch until a new pod is ready.
    pub(super) start: Duration,
    /// How long nobody reads when a pod joins or leaves.
    pub(super) rebalance: Duration,
}

impl Default for Cost {
    /// What is assumed until it was measured.
    fn default() -> Cost {
        Cost {
            start: Duration::from_secs(5),
            rebalance: Duration::from_secs(1),
        }
    }
}

/// More pods that were asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Attempt {
    at: Duration,
    from: i32,
    to: i32,
    /// Written a second before; absent where not all of that time was by as many pods.
    before: Option<f64>,
    /// When all of them were ready.
    ready: Option<Duration>,
}

/// More pods that were no help.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ceiling {
    /// As many as write all that can be written.
    most: i32,
    until: Duration,
    /// Written a second by all of them.
    written: f64,
}

/// What became of the pods that were asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Attempts {
    /// What new pods cost.
    cost: Cost,
    /// The last time more pods were asked for.
    last: Option<Attempt>,
    /// Replicas above which more were no help.
    ceiling: Option<Ceiling>,
    /// Since when the group rebalances, at the last look.
    rebalancing: Option<Duration>,
}

impl Attempts {
    /// What new pods cost.
    pub(super) fn cost(&self) -> Cost {
        self.cost
    }

    /// Forgets the last one: it is over, or was not seen.
    pub(super) fn interrupt(&mut self) {
        self.last = None;
    }

    /// As many more are asked for.
    pub(super) fn begin(&mut self, seen: &Observation, wanted: i32, rates: &Rates) {
        self.last = Some(Attempt {
            at: seen.now,
            from: seen.replicas,
            to: wanted,
            before: rates.written_by(seen.replicas),
            ready: None,
        });
    }

    /// Measures what new pods cost.
    pub(super) fn observe(&mut self, seen: &Observation, flow: &Flow) {
        if let (None, Some(lasted)) = (seen.rebalancing, self.rebalancing) {
            self.cost.rebalance = between(self.cost.rebalance, lasted.min(LONGEST_REBALANCE));
        }
        self.rebalancing = seen.rebalancing;
        let Some(attempt) = &mut self.last else { return };
        if seen.replicas != attempt.to {
            self.last = None;
            return;
        }
        if attempt.ready.is_none() && flow.readers >= attempt.to {
            let took = seen.now.saturating_sub(attempt.at).min(LONGEST_START);
            self.cost.start = between(self.cost.start, took);
            attempt.ready = Some(seen.now);
        }
        // While nobody reads, or not all of them, it does not show what they bring.
        let are_all = seen.rebalancing.is_none() && flow.readers >= attempt.to;
        if attempt.ready.is_some() && !are_all {
            attempt.ready = Some(seen.now);
        }
    }

    /// Whether what kept pods from writing more is over, or has to be tried again: from now on there is no ceiling.
    pub(super) fn lift_ceiling(&mut self, now: Duration, rates: &Rates) -> bool {
        let written = rates.written_lately().unwrap_or(0.0);
        let is_over = |ceiling: Ceiling| now >= ceiling.until || written >= FREED * ceiling.written;
        let is_over = self.ceiling.is_some_and(is_over);
        if is_over {
            self.ceiling = None;
        }
        is_over
    }

    pub(super) fn within_ceiling(&self, bounds: Bounds) -> Bounds {
        match self.ceiling {
            Some(ceiling) => Bounds {
                min: bounds.min,
                max: bounds.max.min(ceiling.most.max(bounds.min)),
            },
            None => bounds,
        }
    }

    /// How long pods that are not ready yet still take.
    pub(super) fn coming(&self, seen: &Observation, flow: &Flow) -> Duration {
        match &self.last {
            _ if flow.readers >= seen.replicas => Duration::ZERO,
            Some(attempt) => (attempt.at + self.cost.start).saturating_sub(seen.now),
            None => self.cost.start,
        }
    }

    /// Whether it is not seen yet what the pods bring that were asked for last. Another load needs no such patience, and
    /// pods that do not come at all get no more of it.
    pub(super) fn is_trying(&self, now: Duration, rates: &Rates) -> bool {
        self.last.is_some_and(|attempt| {
            let patience = match attempt.ready {
                None => LONGEST_START,
                Some(ready) => ready.saturating_sub(attempt.at) + self.cost.rebalance + SETTLED * 2,
            };
            now < attempt.at + patience && !rates.has_changed_since(attempt.at)
        })
    }

    /// Back to where it was, when more pods have written hardly more although everything waited.
    pub(super) fn no_help(
        &mut self,
        moment: &Moment<'_>,
        rates: &Rates,
        cooldown: Duration,
        numbers: &str,
    ) -> Option<Ask> {
        let seen = moment.seen;
        let attempt = self.last.filter(|attempt| {
            // What is averaged must have been written by all of them.
            let settled = |ready| seen.now >= ready + moment.cost.rebalance + SETTLED;
            attempt.ready.is_some_and(settled)
        })?;
        let written = rates.written()?;
        self.last = None;
        let before = attempt.before?;
        let flow = moment.flow;
        // Where it waits in some partitions only, not all pods could be busy; where it is one, that says it.
        let spread = rates.least_spread(SETTLED)?;
        let is_clear = spread >= CLEAR * f64::from(flow.partitions) || flow.hottest > 0.5;
        let was_busy = is_clear && moment.waiting > 5.0 * moment.rate * f64::from(attempt.to);
        let wrote = capacity(flow.partitions, attempt.from).max(1.0);
        let expected = before * (capacity(flow.partitions, attempt.to) / wrote - 1.0);
        let gained = written - before;
        if !was_busy || expected <= 0.0 || gained >= EFFECTIVE * expected {
            return None;
        }
        let back = attempt.from.max(moment.bounds.min);
        self.ceiling = Some(Ceiling {
            most: back,
            until: seen.now + cooldown * LATCHED,
            written: written.max(before),
        });
        let message = format!(
            "{numbers}: {} replicas write no more than {} did, so what they write to is the limit",
            attempt.to, attempt.from
        );
        Some(Ask::new(back, Reason::NoHelp, message))
    }
}

/// The middle of two times.
fn between(one: Duration, other: Duration) -> Duration {
    (one + other) / 2
}
