//! Replicas that work off what waits within a target time. Pure: the same history always gives the same decisions.
//!
//! The arrivals and what the pods really write are measured, and the replicas follow from both in one step, as in DS2
//! (Kalavri et al., OSDI '18) and Flink's autoscaler: enough for the arrivals with some room, and where something
//! waits, enough to write it and what arrives meanwhile by a deadline, counting the time in which new pods start and
//! the group rebalances. The deadline stays while a backlog does, and pods that were asked for count as coming: what is
//! under way is not asked for twice.
//!
//! - `attempts`: whether those have come, and whether they were any help
//! - `moment`: how long a number of pods would take

mod attempts;
mod moment;

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::attempts::Attempts;
use self::moment::{FULL, Moment};
use super::climb::Worst;
use super::decide::{self, Ask, Observation, Policy, Reason};
use super::rates::{Flow, Rates, busy, capacity};
use crate::ladder::Bounds;

/// More pods are as many as take the arrivals with this part of what they write, once those are known well; and with
/// so much less as long as they are not, so that the first answer to another load need not be mended.
const ROOMY: f64 = 0.92;
const UNSURE: f64 = 0.15;
/// Fewer pods must take the arrivals with this part of what they write. The gap between this and [`FULL`] is the dead
/// band: arrivals that vary by less never lead up and down again.
const SPARE: f64 = 0.85;
/// How long a backlog may show what a pod writes before more are asked for without knowing it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Part of the time between two commits: pods that keep up leave no more waiting than what arrives within it.
const KEPT_UP: f64 = 0.5;

/// How a reader is scaled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Within which what waits is to be written.
    pub target: Duration,
}

/// What is remembered between two decisions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    attempts: Attempts,
    /// What the arrivals have asked for within the cooldown, and when.
    asked: VecDeque<(Duration, i32)>,
    /// Since when there is a backlog.
    backlog_since: Option<Duration>,
    /// By when it is to be gone.
    deadline: Option<Duration>,
    /// Since when not all is known, and what waited then, or more.
    partly: Option<(Duration, i64)>,
}

impl Memory {
    /// Measures what new pods cost.
    pub fn observe(&mut self, seen: &Observation, flow: &Flow) {
        self.attempts.observe(seen, flow);
    }

    /// Forgets what the last moments asked for: they are over, or were not seen.
    pub fn interrupt(&mut self) {
        self.asked.clear();
        self.deadline = None;
        self.attempts.interrupt();
    }
}

/// How many replicas are asked for, and why.
pub(super) fn ask(
    drain: &Drain,
    policy: &Policy,
    seen: &Observation,
    worst: &Worst,
    memory: &mut decide::Memory,
) -> Ask {
    if memory.drain.attempts.lift_ceiling(seen.now, &memory.rates) {
        // What a pod seemed to write below it says nothing.
        memory.drain.backlog_since = None;
        memory.rates.forget_pod_rate();
    }
    let (rates, memory) = (&memory.rates, &mut memory.drain);
    let (lag, cooldown) = (seen.lag().unwrap_or(worst.lag), policy.cooldown);
    let stay = |reason, message| Ask::new(seen.replicas, reason, message);
    let bounds = memory.attempts.within_ceiling(policy.bounds);
    let Some(flow) = &seen.flow else {
        return memory.by_lag_alone(drain, bounds, seen, lag, rates);
    };
    memory.partly = None;
    let Some(arriving) = rates.arriving() else {
        return stay(Reason::Steady, format!("{lag} wait; the arrivals are not measured yet"));
    };
    // What one commit leaves behind, and a marker of a transaction in each partition, is none.
    let unavoidable = (arriving * (policy.commit_interval.as_secs_f64() + 1.0)).max(f64::from(flow.partitions));
    let is_backlog = lag as f64 > unavoidable;
    if !is_backlog {
        memory.backlog_since = None;
    }
    let backlog_for = is_backlog.then(|| seen.now - *memory.backlog_since.get_or_insert(seen.now));
    let Some(rate) = rates.pod_rate() else {
        if backlog_for.is_some() || !worst.exact {
            memory.asked.clear();
            return memory.unlearned(bounds, seen, flow, lag, backlog_for);
        }
        // Fewer show what a pod writes, or are enough: one step at a time, since nobody knows.
        if memory.asked.front().is_some_and(|(at, _)| rates.has_changed_since(*at)) {
            // What was enough for another load says nothing of this one.
            memory.asked.clear();
        }
        let fewer = if arriving > 0.0 {
            one_step_down(flow.partitions, seen.replicas)
        } else {
            0
        };
        memory.asked.push_back((seen.now, fewer.max(bounds.min)));
        let ask = memory.fewer(seen, cooldown, 0, &format!("{arriving:.0}/s arrive, nothing waits"));
        return match ask.reason {
            Reason::LagLow if ask.replicas > 0 => Ask {
                reason: Reason::Probe,
                message: format!("{}, or show what a pod writes", ask.message),
                ..ask
            },
            _ => ask,
        };
    };
    if rates.is_moving() {
        return stay(Reason::Steady, format!("{lag} wait; the arrivals are changing"));
    }
    let moment = Moment {
        bounds,
        seen,
        flow,
        rate,
        arriving,
        waiting: lag as f64,
        cost: memory.attempts.cost(),
        coming: memory.attempts.coming(seen, flow),
    };
    let numbers = format!("{arriving:.0}/s arrive, {lag} wait, a pod writes {rate:.0}/s");
    if worst.exact
        && let Some(ask) = memory.attempts.no_help(&moment, rates, cooldown, &numbers)
    {
        memory.asked.clear();
        return ask;
    }
    if memory.attempts.is_trying(seen.now, rates) {
        memory.asked.clear();
        return stay(
            Reason::Steady,
            format!("{numbers}; what more replicas bring is not seen yet"),
        );
    }
    let mut wanted = seen.replicas;
    // What a pod writes may be known too low: where nothing waits, those that there are are enough.
    let keep_up = lag as f64 <= KEPT_UP * arriving * policy.commit_interval.as_secs_f64();
    if arriving > FULL * moment.writes(seen.replicas) && !keep_up {
        let room = ROOMY - UNSURE * (1.0 - rates.certainty());
        wanted = wanted.max(moment.for_arrivals(room));
    }
    if is_backlog {
        wanted = wanted.max(moment.to_meet(drain.target, &mut memory.deadline));
    } else {
        memory.deadline = None;
    }
    if wanted > seen.replicas {
        memory.asked.clear();
        memory.attempts.begin(seen, wanted, rates);
        let message = format!(
            "{numbers}: {wanted} replicas to write it within {} s",
            drain.target.as_secs()
        );
        return Ask::new(wanted, Reason::Backlog, message);
    }
    if is_backlog && moment.is_spread() || !worst.exact {
        memory.asked.clear();
        return stay(Reason::Steady, numbers);
    }
    memory.asked.push_back((seen.now, moment.for_arrivals(SPARE)));
    // Bursts that are over before they are measured count with their part of the cooldown.
    let lately = Moment {
        arriving: rates.arrived(cooldown).unwrap_or(0.0),
        ..moment
    };
    memory.fewer(seen, cooldown, lately.for_arrivals(SPARE), &numbers)
}

/// The next smaller count that can write less: the least of those that write as much as it.
fn one_step_down(partitions: i32, replicas: i32) -> i32 {
    let writes = |count: i32| capacity(partitions, count);
    let next = (1..replicas).map(writes).filter(|less| *less < writes(replicas));
    let next = next.fold(0.0, f64::max);
    (1..replicas).find(|count| writes(*count) >= next).unwrap_or(replicas)
}

impl Memory {
    /// Where what arrives is not known: as many as write what waits within the target, if those are more; where it is not
    /// known either what a pod writes, twice as many each time that more waits than a while before.
    fn by_lag_alone(&mut self, drain: &Drain, bounds: Bounds, seen: &Observation, lag: i64, rates: &Rates) -> Ask {
        let (since, waited) = *self.partly.get_or_insert((seen.now, lag));
        let wanted = match rates.pod_rate() {
            Some(rate) => (lag as f64 / (rate * drain.target.as_secs_f64())).ceil() as i32,
            None if seen.now < since + PATIENCE => 0,
            None => {
                self.partly = Some((seen.now, lag));
                if lag > waited {
                    seen.replicas.saturating_mul(2).max(1)
                } else {
                    0
                }
            }
        };
        let wanted = wanted.min(bounds.max);
        let message = format!("{lag} wait or more, and what arrives is not known");
        if wanted > seen.replicas {
            return Ask::new(wanted, Reason::Backlog, message);
        }
        Ask::new(seen.replicas, Reason::LagUnknown, message)
    }

    /// Before it is known what a pod writes: twice as many, where it does not show soon although records wait, once those
    /// that were asked for are ready, and where as many could be busy.
    fn unlearned(
        &mut self,
        bounds: Bounds,
        seen: &Observation,
        flow: &Flow,
        lag: i64,
        backlog_for: Option<Duration>,
    ) -> Ask {
        let twice = (seen.replicas * 2).max(1).min(bounds.max);
        let busy = |replicas| busy(flow.partitions, replicas, flow.hottest);
        let is_due = backlog_for.is_some_and(|time| seen.replicas == 0 || time >= PATIENCE);
        if is_due && flow.readers >= seen.replicas && busy(twice) > busy(seen.replicas) {
            self.backlog_since = Some(seen.now);
            let message = format!("{lag} wait, and it is not known yet what a pod writes: twice as many");
            return Ask::new(twice, Reason::Backlog, message);
        }
        let message = format!("{lag} wait; what a pod writes is not known yet");
        Ask::new(seen.replicas, Reason::Steady, message)
    }

    /// Down to the most that was asked for within the cooldown, and no further than to `least`, when there was no backlog
    /// for all of it.
    fn fewer(&mut self, seen: &Observation, cooldown: Duration, least: i32, numbers: &str) -> Ask {
        // One at the beginning of the cooldown stays: with it the cooldown is covered.
        while self.asked.get(1).is_some_and(|(at, _)| *at + cooldown <= seen.now) {
            self.asked.pop_front();
        }
        let most = self
            .asked
            .iter()
            .map(|(_, count)| *count)
            .max()
            .map_or(seen.replicas, |most| most.max(least));
        let first = self.asked.front().map_or(seen.now, |(at, _)| *at);
        if most >= seen.replicas {
            return Ask::new(seen.replicas, Reason::Steady, numbers.to_owned());
        }
        let seconds = cooldown.as_secs();
        if seen.now < first + cooldown {
            let message = format!("{numbers}: {most} replicas are enough; down to them after {seconds} s of it");
            return Ask::new(seen.replicas, Reason::Cooldown, message);
        }
        // Whether the last one may go is asked again at once.
        if most > 0 {
            self.asked.clear();
        }
        let message = format!("{numbers}: {most} replicas were enough for {seconds} s");
        Ask::new(most, Reason::LagLow, message)
    }
}

#[cfg(test)]
mod tests;
