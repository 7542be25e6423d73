//! Replicas that work off what waits within a target time. Pure: the same history always gives the same decisions.
//!
//! The arrivals and what the pods really write are measured, and the replicas follow from both in one step, as in DS2
//! (Kalavri et al., OSDI '18) and Flink's autoscaler: enough for the arrivals with some room, and where something
//! waits, enough to write it and what arrives meanwhile by a deadline, counting the time in which new pods start and
//! the group rebalances. The deadline stays while a backlog does, and pods that were asked for count as coming: what is
//! under way is not asked for twice.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::climb::Worst;
use super::decide::{self, Ask, Observation, Policy, Reason};
use super::rates::{Flow, Rates, busy, capacity};
use crate::ladder::Bounds;

/// More arrivals than this part of what the pods write ask for more pods.
const FULL: f64 = 0.97;
/// More pods are as many as take the arrivals with this part of what they write, once those are known well; and with
/// so much less as long as they are not, so that the first answer to another load need not be mended.
const ROOMY: f64 = 0.92;
const UNSURE: f64 = 0.15;
/// Fewer pods must take the arrivals with this part of what they write. The gap between this and [`FULL`] is the dead
/// band: arrivals that vary by less never lead up and down again.
const SPARE: f64 = 0.85;
/// A deadline that would be missed by less than this part of the target is kept.
const LATE: f64 = 0.25;
/// Part of the target in which a backlog that will be late is to be gone: a deadline that is nearly over is no reason for
/// as many pods as there can be.
const HURRY: f64 = 0.5;
/// More pods must bring the end of a backlog nearer by this part.
const PAYS: f64 = 0.15;
/// Part of the expected gain that more pods must have brought.
const EFFECTIVE: f64 = 0.1;
/// Part of the partitions over which what waits must be spread to say so.
const CLEAR: f64 = 0.75;
/// How long a backlog may show what a pod writes before more are asked for without knowing it.
const PATIENCE: Duration = Duration::from_secs(10);
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
/// Part of the time between two commits: pods that keep up leave no more waiting than what arrives within it.
const KEPT_UP: f64 = 0.5;

/// How a reader is scaled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Within which what waits is to be written.
    pub target: Duration,
}

/// What new pods cost, as measured so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// From the patch until a new pod is ready.
    pub start: Duration,
    /// How long nobody reads when a pod joins or leaves.
    pub rebalance: Duration,
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

/// What is remembered between two decisions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// What new pods cost.
    pub cost: Cost,
    /// What the arrivals have asked for within the cooldown, and when.
    asked: VecDeque<(Duration, i32)>,
    /// Since when there is a backlog.
    backlog_since: Option<Duration>,
    /// By when it is to be gone.
    deadline: Option<Duration>,
    /// The last time more pods were asked for.
    attempt: Option<Attempt>,
    /// Replicas above which more were no help.
    ceiling: Option<Ceiling>,
    /// Since when the group rebalances, at the last look.
    rebalancing: Option<Duration>,
}

impl Memory {
    /// Forgets what the last moments asked for: they are over, or were not seen.
    pub fn interrupt(&mut self) {
        self.asked.clear();
        self.deadline = None;
        self.attempt = None;
    }

    /// Measures what new pods cost.
    pub fn observe(&mut self, seen: &Observation, flow: &Flow) {
        if let (None, Some(lasted)) = (seen.rebalancing, self.rebalancing) {
            self.cost.rebalance = between(self.cost.rebalance, lasted.min(LONGEST_REBALANCE));
        }
        self.rebalancing = seen.rebalancing;
        let Some(attempt) = &mut self.attempt else { return };
        if seen.replicas != attempt.to {
            self.attempt = None;
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
}

/// The middle of two times.
fn between(one: Duration, other: Duration) -> Duration {
    (one + other) / 2
}

/// The situation of one moment.
struct Moment<'a> {
    bounds: Bounds,
    seen: &'a Observation,
    flow: &'a Flow,
    rate: f64,
    arriving: f64,
    waiting: f64,
    cost: Cost,
    /// When pods that were asked for and are not ready yet are expected.
    coming: Duration,
}

/// How many replicas are asked for, and why.
pub(super) fn ask(
    drain: &Drain,
    policy: &Policy,
    seen: &Observation,
    worst: &Worst,
    memory: &mut decide::Memory,
) -> Ask {
    if memory.drain.is_ceiling_over(seen.now, &memory.rates) {
        memory.rates.forget_pod_rate();
    }
    let (rates, memory) = (&memory.rates, &mut memory.drain);
    let (lag, cooldown) = (seen.lag().unwrap_or(worst.lag), policy.cooldown);
    let stay = |reason, message| Ask::new(seen.replicas, reason, message);
    let bounds = memory.within_ceiling(policy.bounds);
    let Some(flow) = &seen.flow else {
        return by_lag_alone(drain, bounds, seen, lag, rates);
    };
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
        cost: memory.cost,
        coming: memory.coming(seen, flow),
    };
    let numbers = format!("{arriving:.0}/s arrive, {lag} wait, a pod writes {rate:.0}/s");
    if worst.exact
        && let Some(ask) = memory.no_help(&moment, rates, cooldown, &numbers)
    {
        return ask;
    }
    if memory.is_trying(seen.now, rates) {
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
        memory.attempt = Some(Attempt {
            at: seen.now,
            from: seen.replicas,
            to: wanted,
            before: rates.written_by(seen.replicas),
            ready: None,
        });
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

/// Where what arrives is not known: as many as write what waits within the target, if those are more.
fn by_lag_alone(drain: &Drain, bounds: Bounds, seen: &Observation, lag: i64, rates: &Rates) -> Ask {
    let enough = rates
        .pod_rate()
        .map(|rate| lag as f64 / (rate * drain.target.as_secs_f64()));
    let wanted = enough.map_or(0, |enough| enough.ceil() as i32).min(bounds.max);
    let message = format!("{lag} wait or more, and what arrives is not known");
    if wanted > seen.replicas {
        return Ask::new(wanted, Reason::Backlog, message);
    }
    Ask::new(seen.replicas, Reason::LagUnknown, message)
}

impl Memory {
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

    /// Whether what kept pods from writing more is over, or has to be tried again: from now on there is no ceiling, and what
    /// a pod seemed to write below it says nothing.
    fn is_ceiling_over(&mut self, now: Duration, rates: &Rates) -> bool {
        let written = rates.written_lately().unwrap_or(0.0);
        let is_over = |ceiling: Ceiling| now >= ceiling.until || written >= FREED * ceiling.written;
        let is_over = self.ceiling.is_some_and(is_over);
        if is_over {
            self.ceiling = None;
            self.backlog_since = None;
        }
        is_over
    }

    fn within_ceiling(&self, bounds: Bounds) -> Bounds {
        match self.ceiling {
            Some(ceiling) => Bounds {
                min: bounds.min,
                max: bounds.max.min(ceiling.most.max(bounds.min)),
            },
            None => bounds,
        }
    }

    /// How long pods that are not ready yet still take.
    fn coming(&self, seen: &Observation, flow: &Flow) -> Duration {
        match &self.attempt {
            _ if flow.readers >= seen.replicas => Duration::ZERO,
            Some(attempt) => (attempt.at + self.cost.start).saturating_sub(seen.now),
            None => self.cost.start,
        }
    }

    /// Whether it is not seen yet what the pods bring that were asked for last. Another load needs no such patience, and
    /// pods that do not come at all get no more of it.
    fn is_trying(&self, now: Duration, rates: &Rates) -> bool {
        self.attempt.is_some_and(|attempt| {
            let patience = match attempt.ready {
                None => LONGEST_START,
                Some(ready) => ready.saturating_sub(attempt.at) + self.cost.rebalance + SETTLED * 2,
            };
            now < attempt.at + patience && !rates.has_changed_since(attempt.at)
        })
    }

    /// Back to where it was, when more pods have written hardly more although everything waited.
    fn no_help(&mut self, moment: &Moment<'_>, rates: &Rates, cooldown: Duration, numbers: &str) -> Option<Ask> {
        let seen = moment.seen;
        let attempt = self.attempt.filter(|attempt| {
            // What is averaged must have been written by all of them.
            let settled = |ready| seen.now >= ready + moment.cost.rebalance + SETTLED;
            attempt.ready.is_some_and(settled)
        })?;
        let written = rates.written()?;
        self.attempt = None;
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
        self.asked.clear();
        let message = format!(
            "{numbers}: {} replicas write no more than {} did, so what they write to is the limit",
            attempt.to, attempt.from
        );
        Some(Ask::new(back, Reason::NoHelp, message))
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

impl Moment<'_> {
    /// Records a second that a number of replicas can write.
    fn writes(&self, replicas: i32) -> f64 {
        capacity(self.flow.partitions, replicas) * self.rate
    }

    /// The same while there is a backlog, which may wait in a few partitions.
    fn drains(&self, replicas: i32) -> f64 {
        busy(self.flow.partitions, replicas, self.flow.hottest) * self.rate
    }

    /// Whether what waits keeps more than one pod busy.
    fn is_spread(&self) -> bool {
        busy(self.flow.partitions, self.seen.replicas, self.flow.hottest) > 1.5 || self.seen.replicas <= 1
    }

    /// The least count that takes the arrivals with `part` of what it can write; where none does, the least of those
    /// that write most.
    fn for_arrivals(&self, part: f64) -> i32 {
        let Bounds { min, max } = self.bounds;
        let enough = self.arriving.min(part * self.writes(max));
        let found = (min..=max).find(|count| part * self.writes(*count) >= enough);
        found.unwrap_or(max)
    }

    /// The least count with which the backlog is gone by the deadline, else the one with which it is gone soonest; the
    /// present one where that is soon enough, or where more would not pay.
    fn to_meet(&self, target: Duration, deadline: &mut Option<Duration>) -> i32 {
        let now = self.seen.now;
        // A deadline that is over was wrong: what remains gets a new one.
        let by = deadline.filter(|by| *by > now).unwrap_or(now + target);
        *deadline = Some(by);
        let left = (by - now).as_secs_f64();
        let present = self.seen.replicas;
        let takes = |count| self.takes(count).unwrap_or(f64::INFINITY);
        if takes(present) <= left + LATE * target.as_secs_f64() {
            return present;
        }
        let more = present.max(self.bounds.min)..=self.bounds.max;
        let soonest = more.clone().map(takes).fold(f64::INFINITY, f64::min);
        let enough = left.max(HURRY * target.as_secs_f64()).max(soonest);
        let found = more.clone().find(|count| takes(*count) <= enough).unwrap_or(present);
        // Where even all of them cannot keep up, as many as write most.
        let found = if soonest.is_infinite() {
            self.for_arrivals(FULL)
        } else {
            found
        };
        if takes(found) > (1.0 - PAYS) * takes(present) {
            return present;
        }
        found
    }

    /// Seconds until a number of replicas has written what waits and what arrives meanwhile.
    fn takes(&self, replicas: i32) -> Option<f64> {
        let ready = self.drains(self.flow.readers.min(self.seen.replicas));
        let pause = self.cost.rebalance.as_secs_f64();
        let (start, pause) = match replicas.cmp(&self.seen.replicas) {
            std::cmp::Ordering::Greater => (self.cost.start.as_secs_f64(), pause),
            _ if self.flow.readers < self.seen.replicas => (self.coming.as_secs_f64(), pause),
            _ => (0.0, 0.0),
        };
        let drained = ready - self.arriving;
        if drained > 0.0 && self.waiting / drained <= start {
            return Some(self.waiting / drained);
        }
        let left = self.waiting - drained * start + self.arriving * pause;
        let then = self.drains(replicas) - self.arriving;
        (then > 0.0).then(|| start + pause + left / then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::decide::{Decision, Memory, Rule, decide};
    use crate::scale::lag::Lag;
    use crate::scale::target::with_rule;
    use proptest::prelude::*;

    const MAX: i32 = 24;

    fn policy(min: i32) -> Policy {
        let rule = Rule::Drain(Drain {
            target: Duration::from_secs(60),
        });
        let bounds = Bounds { min, max: MAX };
        with_rule(rule, bounds, Duration::from_secs(60), Duration::from_millis(500))
    }

    /// A reader whose pods write 100 a second, with what it has been through.
    struct Reader {
        policy: Policy,
        memory: Memory,
        millis: u64,
        replicas: i32,
        produced: f64,
        committed: f64,
    }

    impl Reader {
        fn new(replicas: i32, pod_rate: Option<f64>) -> Reader {
            Reader {
                policy: policy(0),
                memory: Memory::with_pod_rate(pod_rate),
                millis: 0,
                replicas,
                produced: 0.0,
                committed: 0.0,
            }
        }

        /// A quarter of a second in which `arriving` a second arrive and `written` a second are written.
        fn look(&mut self, arriving: f64, written: f64, ready: i32) -> Decision {
            self.millis += 250;
            self.produced += arriving / 4.0;
            self.committed = (self.committed + written / 4.0).min(self.produced);
            let lag = (self.produced - self.committed) as i64;
            let seen = Observation {
                now: Duration::from_millis(self.millis),
                replicas: self.replicas,
                lags: vec![("topic".to_owned(), Lag::Known(lag))],
                flow: Some(Flow {
                    produced: self.produced as i64,
                    committed: self.committed as i64,
                    expired: 0,
                    partitions: MAX,
                    waiting: if lag > 0 { MAX } else { 0 },
                    hottest: 1.0 / f64::from(MAX),
                    spread: f64::from(MAX),
                    readers: ready,
                }),
                ready,
                rebalancing: None,
                manual: None,
                floors: vec![],
            };
            let decision = decide(&self.policy, &seen, &mut self.memory);
            self.replicas = decision.wanted;
            decision
        }

        /// The counts that it went to within some seconds.
        fn changes(&mut self, seconds: u64, arriving: f64, written: f64, ready: i32) -> Vec<(i32, Reason)> {
            let mut before = self.replicas;
            let looks = (0..seconds * 4).map(|_| {
                let decision = self.look(arriving, written, ready);
                (decision.wanted, decision.reason)
            });
            let looks: Vec<_> = looks.collect();
            let changed = looks.into_iter().filter(|(wanted, _)| {
                let changed = *wanted != before;
                before = *wanted;
                changed
            });
            changed.collect()
        }
    }

    #[test]
    fn a_step_is_answered_by_one_patch_and_pods_that_start_are_not_asked_for_again() {
        let mut reader = Reader::new(1, Some(100.0));
        assert_eq!(reader.changes(30, 50.0, 50.0, 1), []);
        // Eight pods would write the 800/s and never what waits.
        assert_eq!(reader.changes(8, 800.0, 100.0, 1), [(12, Reason::Backlog)]);
        assert_eq!(reader.changes(30, 800.0, 1200.0, 12), []);
    }

    #[test]
    fn fewer_come_when_fewer_were_enough_for_the_whole_cooldown() {
        let mut reader = Reader::new(12, Some(100.0));
        assert_eq!(reader.changes(30, 1000.0, 1200.0, 12), []);
        assert_eq!(reader.changes(55, 150.0, 1200.0, 12), []);
        assert_eq!(reader.changes(20, 150.0, 1200.0, 12), [(2, Reason::LagLow)]);
    }

    #[test]
    fn counts_between_those_that_help_are_passed_over() {
        let mut reader = Reader::new(8, Some(100.0));
        reader.changes(30, 700.0, 800.0, 8);
        // Nine to eleven pods write as much as eight: one of them has three of the 24 partitions.
        assert_eq!(reader.changes(40, 850.0, 800.0, 8), [(12, Reason::Backlog)]);
    }

    #[test]
    fn what_a_pod_writes_is_learned_before_more_are_asked_for() {
        let mut reader = Reader::new(1, None);
        assert_eq!(reader.changes(30, 50.0, 50.0, 1), []);
        assert_eq!(reader.changes(10, 380.0, 100.0, 1), [(5, Reason::Backlog)]);
        let learned = reader.memory.pod_rate().unwrap();
        assert!((learned - 100.0).abs() < 10.0, "{learned}");
    }

    #[test]
    fn a_reader_goes_when_nothing_arrives_and_comes_with_the_first_record() {
        let mut reader = Reader::new(1, None);
        reader.changes(30, 1.0, 100.0, 1);
        assert_eq!(reader.changes(90, 0.0, 100.0, 1), [(0, Reason::Idle)]);
        assert_eq!(reader.changes(1, 8.0, 0.0, 0), [(1, Reason::Arrivals)]);
    }

    #[test]
    fn the_marker_of_a_transaction_brings_no_reader_back() {
        let mut reader = Reader::new(1, None);
        reader.produced = 1.0;
        assert_eq!(reader.changes(90, 0.0, 0.0, 1), [(0, Reason::Idle)]);
        assert_eq!(reader.changes(90, 0.0, 0.0, 0), []);
        assert_eq!(reader.changes(1, 8.0, 0.0, 0), [(1, Reason::Arrivals)]);
    }

    #[test]
    fn pods_that_were_no_help_are_given_back_and_not_asked_for_again() {
        let mut reader = Reader::new(4, Some(100.0));
        reader.changes(30, 300.0, 300.0, 4);
        let up = reader.changes(8, 800.0, 400.0, 4);
        assert_eq!(up, [(12, Reason::Backlog)]);
        // All of them are ready, and what they write to takes no more than from four.
        assert_eq!(reader.changes(30, 800.0, 400.0, 12), [(4, Reason::NoHelp)]);
        assert_eq!(reader.changes(120, 800.0, 400.0, 4), []);
    }

    #[test]
    fn pods_are_no_help_until_more_is_written() {
        let mut reader = Reader::new(4, Some(100.0));
        reader.changes(30, 300.0, 300.0, 4);
        reader.changes(8, 800.0, 200.0, 4);
        assert_eq!(reader.changes(30, 800.0, 200.0, 12), [(4, Reason::NoHelp)]);
        assert_eq!(reader.changes(30, 800.0, 200.0, 4), []);
        // The store is itself again: four pods write what four pods can.
        let (up, reason) = reader.changes(30, 800.0, 400.0, 4)[0];
        assert!(up > 4 && reason == Reason::Backlog, "{up} {reason}");
    }

    #[test]
    fn where_nothing_waits_no_more_are_asked_for_whatever_a_pod_was_thought_to_write() {
        let mut reader = Reader::new(4, Some(40.0));
        assert_eq!(reader.changes(30, 300.0, 300.0, 4), []);
    }

    #[test]
    fn a_limit_of_the_store_holds_while_offsets_are_not_wholly_known() {
        let mut reader = Reader::new(4, Some(100.0));
        reader.changes(30, 300.0, 300.0, 4);
        reader.changes(8, 800.0, 400.0, 4);
        assert_eq!(reader.changes(30, 800.0, 400.0, 12), [(4, Reason::NoHelp)]);
        reader.millis += 250;
        let seen = Observation {
            now: Duration::from_millis(reader.millis),
            replicas: 4,
            lags: vec![("topic".to_owned(), Lag::AtLeast(200_000))],
            flow: None,
            ready: 4,
            rebalancing: None,
            manual: None,
            floors: vec![],
        };
        assert_eq!(decide(&reader.policy, &seen, &mut reader.memory).wanted, 4);
    }

    #[test]
    fn one_step_down_is_the_least_count_that_writes_as_much() {
        let steps = std::iter::successors(Some(24), |count| {
            Some(one_step_down(24, *count)).filter(|to| to < count)
        });
        assert_eq!(steps.collect::<Vec<_>>(), [24, 12, 8, 6, 5, 4, 3, 2, 1]);
        assert_eq!(one_step_down(24, 23), 8, "23 write as much as 12");
        assert_eq!(one_step_down(24, 1), 1);
    }

    #[test]
    fn a_time_that_was_not_seen_counts_towards_no_cooldown() {
        let mut reader = Reader::new(12, Some(100.0));
        reader.changes(30, 150.0, 1200.0, 12);
        reader.millis += 600_000;
        assert_eq!(reader.changes(50, 150.0, 1200.0, 12), []);
        assert_eq!(reader.changes(20, 150.0, 1200.0, 12), [(2, Reason::LagLow)]);
    }

    proptest! {
        #[test]
        fn never_outside_the_bounds_and_never_fewer_for_more_lag(
            replicas in 0..=MAX, waiting in 0..100_000i64, more in 0..100_000i64, arriving in 0..3000u32,
        ) {
            let wanted = |waiting: i64| {
                let mut reader = Reader::new(replicas, Some(100.0));
                reader.produced = waiting as f64;
                let arriving = f64::from(arriving);
                (0..12).map(|_| reader.look(arriving, arriving, replicas).wanted).last().unwrap_or(0)
            };
            let (less, more) = (wanted(waiting), wanted(waiting + more));
            prop_assert!((0..=MAX).contains(&less) && less <= more, "{less} and {more}");
        }

        #[test]
        fn where_the_pods_are_right_nothing_changes(replicas in 1..=MAX, used in 0.87f64..0.95) {
            let mut reader = Reader::new(replicas, Some(100.0));
            let arriving = used * 100.0 * capacity(MAX, replicas);
            // Counts that write no more than a smaller one are not right.
            let right = (1..=MAX).find(|count| capacity(MAX, *count) >= capacity(MAX, replicas)).unwrap_or(MAX);
            reader.replicas = right;
            prop_assert_eq!(reader.changes(200, arriving, f64::from(right) * 100.0, right), []);
        }

        #[test]
        fn the_same_history_gives_the_same_decisions(rates in prop::collection::vec((0..500u32, 0..500u32), 1..60)) {
            let play = || {
                let mut reader = Reader::new(2, None);
                let look = |(arriving, written): &(u32, u32)| {
                    reader.look(f64::from(*arriving), f64::from(*written), 2)
                };
                rates.iter().map(look).collect::<Vec<_>>()
            };
            prop_assert_eq!(play(), play());
        }
    }
}
