//! What arrives and what the pods write, from two numbers that only grow: the records produced and those committed.
//! Pure.
//!
//! What a pod can write shows only while it never waits for records. It is the *true rate* of DS2 (Kalavri et al.,
//! OSDI '18), taken here from outside: what all write while everything waits, divided by the pods that can be busy.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Arrivals are averaged over this, so that seconds that differ make no difference.
const AVERAGED: Duration = Duration::from_secs(15);
/// What is written is averaged over this at least.
const BUSY: Duration = Duration::from_secs(5);
/// What arrives within this shows whether the arrivals have changed for good.
const NEWEST: Duration = Duration::from_secs(2);
/// The newest arrivals that differ by more than this part from the average are another load: what was before is
/// forgotten.
const CHANGED: f64 = 0.3;
/// The first measurement of what a pod writes may rest on less.
const FIRST: Duration = Duration::from_secs(3);
/// Twice what is written between two commits must wait all the time for pods to count as busy, of commits rarer than
/// this what is written within it: the lag is the lowest between two of them, so nothing of it is read already.
const LONG_COMMIT: Duration = Duration::from_secs(1);
/// Commits that a measurement spans at least: they come in steps.
const COMMITS: u32 = 4;
/// Part of the partitions over which what waits must be spread for all pods to be busy.
const EVEN: f64 = 0.5;
/// Weight of a new measurement of what a pod writes, for each second that it spans anew, and the most of all: one slow
/// spell of a store must not undo what was learned.
const WEIGHT: f64 = 0.1;
const MOST_WEIGHT: f64 = 0.2;
/// Between two arrivals that are kept for longer, and for how long they are kept.
const COARSE: Duration = Duration::from_secs(1);
const KEPT: Duration = Duration::from_secs(3600);

/// What has gone through a reader's topics so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flow {
    /// Sum of the end offsets of all partitions.
    pub produced: i64,
    /// Sum of the committed offsets of all partitions; where retention has gone past one, of what is left.
    pub committed: i64,
    /// Records between a commit and what retention has left: nobody will read them.
    pub expired: i64,
    /// Partitions of all its topics.
    pub partitions: i32,
    /// Partitions in which something waits.
    pub waiting: i32,
    /// Part of the lag that waits in a single partition, 0 to 1.
    pub hottest: f64,
    /// Over how many partitions the lag is spread: as many as there would be if it were shared evenly and as unevenly
    /// (the inverse of Simpson's index).
    pub spread: f64,
    /// Pods that read: ready, and members of the group.
    pub readers: i32,
    /// Members of the group beyond the pods that are ready: they may read all the same, or be gone.
    #[serde(default)]
    pub unready: i32,
}

/// One look, as far as it matters later.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Look {
    at: Duration,
    flow: Flow,
    lag: i64,
    rebalancing: bool,
}

/// What was measured so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    recent: VecDeque<Look>,
    /// Records produced, every second, for longer.
    coarse: VecDeque<(Duration, i64)>,
    /// When the arrivals have changed last.
    changed: Option<Duration>,
    learned: Option<Duration>,
    /// On how much time what a pod writes rests.
    rests_on: Duration,
    pod_rate: Option<f64>,
}

impl Rates {
    /// Rates where what a pod writes is known from before.
    pub fn with_pod_rate(pod_rate: Option<f64>) -> Rates {
        let pod_rate = pod_rate.filter(|rate| rate.is_finite() && *rate > 0.0);
        Rates {
            rests_on: if pod_rate.is_some() { AVERAGED } else { Duration::ZERO },
            pod_rate,
            ..Rates::default()
        }
    }

    /// Records a second that a pod writes when they wait for it; absent until it was seen.
    pub fn pod_rate(&self) -> Option<f64> {
        self.pod_rate
    }

    /// Records a second that arrive; absent until a second of the present load was seen.
    pub fn arriving(&self) -> Option<f64> {
        self.growth(AVERAGED, |flow| flow.produced)
    }

    /// Records a second that arrived over the last `time`, or as much of it as was seen: bursts count with their part.
    pub fn arrived(&self, time: Duration) -> Option<f64> {
        let (now, produced) = *self.coarse.back()?;
        let older = self.coarse.iter().filter(|(at, _)| *at + time <= now).count();
        let (at, before) = *self.coarse.get(older.saturating_sub(1))?;
        let span = now.saturating_sub(at);
        (span >= COARSE).then(|| produced.saturating_sub(before).max(0) as f64 / span.as_secs_f64())
    }

    /// Records a second that are written.
    pub fn written(&self) -> Option<f64> {
        self.growth(BUSY, |flow| flow.committed)
    }

    /// The same, where `readers` have been reading all the time: absent where that is not long enough to tell.
    pub fn written_by(&self, readers: i32) -> Option<f64> {
        let mut looks = self.last(BUSY);
        let first = looks.clone().next()?.at;
        let is_covered = first + NEWEST <= self.recent.back()?.at;
        let is_same = looks.all(|look| look.flow.readers == readers && !look.rebalancing);
        (is_covered && is_same).then(|| self.written()).flatten()
    }

    /// Records a second that have been written for a longer time; absent until that is over.
    pub fn written_lately(&self) -> Option<f64> {
        let is_covered = self.last(AVERAGED).next()?.at + AVERAGED <= self.recent.back()?.at;
        is_covered
            .then(|| self.growth(AVERAGED, |flow| flow.committed))
            .flatten()
    }

    /// Over how few partitions the lag was spread within the last `time`; absent where there was another load then.
    pub fn least_spread(&self, time: Duration) -> Option<f64> {
        let is_covered = self.last(time).next()?.at + time <= self.recent.back()?.at;
        let spread = self.last(time).map(|look| look.flow.spread);
        is_covered.then(|| spread.fold(f64::INFINITY, f64::min))
    }

    /// Forgets what a pod writes: it was measured while something else was the limit.
    pub fn forget_pod_rate(&mut self) {
        self.pod_rate = None;
        self.learned = None;
        self.rests_on = Duration::ZERO;
    }

    /// Whether busy pods have shown what they write since a moment.
    pub fn has_learned_since(&self, moment: Duration) -> bool {
        self.learned.is_some_and(|learned| learned >= moment)
    }

    /// How sure the rates are, 0 to 1: the longer the present load and busy pods were seen, the surer.
    pub fn certainty(&self) -> f64 {
        let (Some(first), Some(last)) = (self.last(AVERAGED).next(), self.recent.back()) else {
            return 0.0;
        };
        let seen = last.at.saturating_sub(first.at).min(self.rests_on);
        (seen.as_secs_f64() / AVERAGED.as_secs_f64()).min(1.0)
    }

    /// Whether the arrivals have just changed, so that their average still moves.
    pub fn is_moving(&self) -> bool {
        let now = self.recent.back().map_or(Duration::ZERO, |last| last.at);
        self.changed.is_some_and(|changed| now < changed + NEWEST)
    }

    /// Whether the arrivals have changed for good since a moment.
    pub fn has_changed_since(&self, moment: Duration) -> bool {
        self.changed.is_some_and(|changed| changed > moment)
    }

    /// Forgets the looks, not what was learned: offsets were not known for a while, or began anew.
    pub fn interrupt(&mut self) {
        self.recent.clear();
        self.coarse.clear();
    }

    /// Takes a look at `at`, a time since any fixed moment that never goes back, with the lag seen at the same time.
    pub fn look(&mut self, at: Duration, flow: Flow, lag: i64, rebalancing: bool, commit_interval: Duration) {
        // A topic made anew, one more partition, records that expired: what was before does not compare.
        let compares = |last: &Look| {
            last.flow.produced <= flow.produced
                && last.flow.committed <= flow.committed
                && last.flow.expired == flow.expired
                && last.flow.partitions == flow.partitions
        };
        if !self.recent.back().is_none_or(compares) {
            self.interrupt();
        }
        if self.coarse.back().is_none_or(|(last, _)| *last + COARSE <= at) {
            self.coarse.push_back((at, flow.produced));
        }
        while self.coarse.front().is_some_and(|(first, _)| *first + KEPT < at) {
            self.coarse.pop_front();
        }
        self.recent.push_back(Look {
            at,
            flow,
            lag,
            rebalancing,
        });
        let kept = AVERAGED.max(commit_interval * COMMITS);
        while self.recent.get(1).is_some_and(|old| old.at + kept <= at) {
            self.recent.pop_front();
        }
        self.learn(commit_interval);
        self.notice_change();
    }

    /// The looks of the last `time`, and one before it where there is one: with it the time is covered.
    fn last(&self, time: Duration) -> impl Iterator<Item = &Look> + Clone {
        let now = self.recent.back().map_or(Duration::ZERO, |last| last.at);
        let older = self.recent.iter().filter(|look| look.at + time <= now).count();
        self.recent.iter().skip(older.saturating_sub(1))
    }

    fn growth(&self, time: Duration, value: impl Fn(&Flow) -> i64) -> Option<f64> {
        let (first, last) = (self.last(time).next()?, self.recent.back()?);
        let span = last.at.saturating_sub(first.at);
        if span < Duration::from_secs(1) {
            return None;
        }
        let grown = value(&last.flow).saturating_sub(value(&first.flow));
        Some(grown.max(0) as f64 / span.as_secs_f64())
    }

    /// Learns what a pod writes, where every look of the span shows the same pods and no rebalance: all of it where all of
    /// them were busy, and else that it is no less than what they have written.
    fn learn(&mut self, commit_interval: Duration) {
        let least = if self.pod_rate.is_some() { BUSY } else { FIRST };
        let least = least.max(commit_interval * COMMITS);
        let Some(last) = self.recent.back().copied() else {
            return;
        };
        let is_covered = self.last(least).next().is_some_and(|first| first.at + least <= last.at);
        let Some(written) = self.between_commits(least).filter(|_| is_covered) else {
            return;
        };
        let is_steady =
            |look: &Look| look.flow.readers == last.flow.readers && look.flow.unready == 0 && !look.rebalancing;
        let pods = f64::from(last.flow.readers.min(last.flow.partitions));
        if written <= 0.0 || pods <= 0.0 || !self.last(least).all(is_steady) {
            return;
        }
        let per_commit = written * commit_interval.min(LONG_COMMIT).as_secs_f64();
        let is_busy = |look: &Look| look.lag as f64 > 2.0 * per_commit;
        // A pod without a partition in which something waits is not busy, one with most of what waits is the only one, and
        // what waits in a few partitions may be what cannot be read.
        let is_even = |look: &Look| {
            let flow = &look.flow;
            f64::from(flow.waiting) >= pods && flow.spread >= (EVEN * f64::from(flow.partitions)).max(1.0)
        };
        let one = written / pods;
        if !self.last(least).all(|look| is_busy(look) && is_even(look)) {
            // They write no less than this.
            self.pod_rate = self.pod_rate.map(|known| known.max(one));
            return;
        }
        let anew = self
            .learned
            .map_or(least, |learned| last.at.saturating_sub(learned))
            .min(least);
        let weight = (WEIGHT * anew.as_secs_f64()).min(MOST_WEIGHT);
        self.learned = Some(last.at);
        self.rests_on += anew;
        self.pod_rate = Some(self.pod_rate.map_or(one, |known| known + weight * (one - known)));
    }

    /// Records a second that are written, from the first commit of the last `time` to the last one: commits come in steps,
    /// of which a given time may hold one more or less.
    fn between_commits(&self, time: Duration) -> Option<f64> {
        let looks = self.last(time);
        let pairs = looks.clone().zip(looks.skip(1));
        let mut steps = pairs
            .filter(|(one, next)| next.flow.committed > one.flow.committed)
            .map(|(_, next)| next);
        let first = steps.next()?;
        let last = steps.last()?;
        let span = last.at.saturating_sub(first.at);
        // Between two looks that happen to be near each other there is one commit, whatever its interval.
        (span * 2 >= time).then(|| (last.flow.committed - first.flow.committed) as f64 / span.as_secs_f64())
    }

    /// Forgets all looks where the newest show another load. What arrives by chance, a few records more or less, is none.
    fn notice_change(&mut self) {
        let value = |flow: &Flow| flow.produced;
        let (Some(average), Some(newest)) = (self.growth(AVERAGED, value), self.growth(NEWEST, value)) else {
            return;
        };
        let seconds = NEWEST.as_secs_f64();
        let by_chance = 3.0 * (average * seconds).sqrt() / seconds;
        if (newest - average).abs() > (CHANGED * average).max(by_chance) {
            // Also the newest seconds are in part from before.
            self.recent.drain(..self.recent.len() - 1);
            self.changed = self.recent.back().map(|last| last.at);
        }
    }
}

/// What a number of replicas can write, in pods' worth: with even partitions the pod with the most of them is the last,
/// so that of 24 partitions 13 pods write no more than 12 do.
pub fn capacity(partitions: i32, replicas: i32) -> f64 {
    if replicas <= 0 || partitions <= 0 {
        return 0.0;
    }
    let of_the_last = (partitions - 1) / replicas + 1;
    f64::from(partitions) / f64::from(of_the_last)
}

/// Over how many partitions `lags` are spread, see [`Flow::spread`]; 0 where nothing waits.
pub fn spread(lags: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, squares) = lags
        .into_iter()
        .fold((0.0, 0.0), |(sum, squares), lag| (sum + lag, squares + lag * lag));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// How many pods a backlog can keep busy, where `hottest` is the part of it in one partition, which one pod reads.
pub fn busy(partitions: i32, replicas: i32, hottest: f64) -> f64 {
    let even = capacity(partitions, replicas);
    if hottest > 0.0 {
        even.min((1.0 / hottest).max(1.0))
    } else {
        even
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_millis(500);

    fn flow(produced: i64, committed: i64, readers: i32) -> Flow {
        Flow {
            produced,
            committed,
            expired: 0,
            partitions: 24,
            waiting: 24,
            hottest: 1.0 / 24.0,
            spread: 24.0,
            readers,
            unready: 0,
        }
    }

    /// Looks every quarter of a second, while `arriving` and `written` records a second go through.
    fn looks(rates: &mut Rates, from: u64, quarters: u64, arriving: i64, written: i64, lag: i64, ready: i32) {
        for quarter in from..from + quarters {
            let at = Duration::from_millis(250 * quarter);
            let gone = |rate: i64| rate * quarter as i64 / 4;
            rates.look(at, flow(gone(arriving) + lag, gone(written), ready), lag, false, COMMIT);
        }
    }

    #[test]
    fn arrivals_are_averaged_and_unknown_at_first() {
        let mut rates = Rates::default();
        looks(&mut rates, 0, 4, 100, 0, 0, 1);
        assert_eq!(rates.arriving(), None);
        looks(&mut rates, 4, 30, 100, 0, 0, 1);
        assert_eq!(rates.arriving(), Some(100.0));
    }

    #[test]
    fn a_pod_shows_what_it_writes_only_while_records_wait() {
        let mut idle = Rates::default();
        looks(&mut idle, 0, 40, 100, 100, 10, 2);
        assert_eq!(idle.pod_rate(), None);
        let mut busy = Rates::default();
        looks(&mut busy, 0, 40, 500, 100, 5000, 2);
        assert_eq!(busy.pod_rate(), Some(50.0));
    }

    #[test]
    fn pods_that_commit_every_few_seconds_show_what_they_write_too() {
        const RARE: Duration = Duration::from_secs(5);
        let mut rates = Rates::default();
        for quarter in 0..4 * 40 {
            let written = 100 * (quarter / 20) * 5;
            let flow = flow(125 * quarter + 1000, written, 1);
            let at = Duration::from_millis(250 * quarter as u64);
            rates.look(at, flow, 1000 + 100 * quarter, false, RARE);
        }
        assert_eq!(rates.pod_rate(), Some(100.0));
    }

    #[test]
    fn pods_that_are_not_ready_and_read_on_teach_nothing() {
        let mut rates = Rates::with_pod_rate(Some(25.0));
        for quarter in 0..4 * 20 {
            let flow = Flow {
                unready: 15,
                ..flow(75 * quarter, 75 * quarter, 1)
            };
            rates.look(Duration::from_millis(250 * quarter as u64), flow, 0, false, COMMIT);
        }
        assert_eq!(rates.pod_rate(), Some(25.0));
    }

    #[test]
    fn a_slow_spell_undoes_little_and_what_was_written_is_the_least() {
        let mut rates = Rates::with_pod_rate(Some(100.0));
        looks(&mut rates, 0, 4 * 60, 250, 250, 0, 3);
        let (mut produced, mut committed) = (15_000, 15_000);
        let mut at = Duration::from_secs(60);
        let mut spell = |seconds: u64, arriving: i64, written: i64, rates: &mut Rates| {
            for _ in 0..seconds * 4 {
                at += Duration::from_millis(250);
                produced += arriving / 4;
                committed = (committed + written / 4).min(produced);
                rates.look(at, flow(produced, committed, 3), produced - committed, false, COMMIT);
            }
            rates.pod_rate().unwrap()
        };
        let slow = spell(8, 248, 32, &mut rates);
        assert!(slow > 60.0, "{slow}");
        spell(30, 248, 400, &mut rates);
        let again = spell(30, 248, 400, &mut rates);
        assert!(again >= 82.0, "three pods write 248/s without being late: {again}");
    }

    #[test]
    fn bursts_count_with_their_part() {
        let mut rates = Rates::default();
        let mut produced = 0;
        for second in 0..120 {
            produced += if second % 10 == 0 { 1000 } else { 0 };
            rates.look(
                Duration::from_secs(second),
                flow(produced, produced, 1),
                0,
                false,
                COMMIT,
            );
        }
        let arrived = rates.arrived(Duration::from_secs(60)).unwrap();
        assert!((arrived - 100.0).abs() < 20.0, "{arrived}");
    }

    #[test]
    fn a_rebalance_or_another_number_of_pods_shows_nothing() {
        let mut rates = Rates::default();
        for quarter in 0..40 {
            let at = Duration::from_millis(250 * quarter);
            let gone = 25 * quarter as i64;
            let ready = if quarter % 8 < 4 { 2 } else { 3 };
            rates.look(at, flow(gone * 5, gone, ready), 5000, false, COMMIT);
        }
        assert_eq!(rates.pod_rate(), None);
        let mut rates = Rates::default();
        for quarter in 0..40 {
            let at = Duration::from_millis(250 * quarter);
            let gone = 25 * quarter as i64;
            rates.look(at, flow(gone * 5, gone, 2), 5000, quarter % 8 == 0, COMMIT);
        }
        assert_eq!(rates.pod_rate(), None);
    }

    #[test]
    fn a_topic_that_begins_anew_is_no_negative_arrival() {
        let mut rates = Rates::default();
        looks(&mut rates, 0, 20, 100, 100, 0, 1);
        rates.look(Duration::from_secs(6), flow(3, 0, 1), 3, false, COMMIT);
        assert_eq!(rates.arriving(), None);
    }

    #[test]
    fn only_counts_that_divide_the_partitions_better_help() {
        assert_eq!(capacity(24, 12), 12.0);
        assert_eq!(capacity(24, 13), 12.0);
        assert_eq!(capacity(24, 23), 12.0);
        assert_eq!(capacity(24, 24), 24.0);
        assert_eq!(capacity(24, 30), 24.0);
        assert_eq!((capacity(24, 0), capacity(0, 3)), (0.0, 0.0));
    }

    #[test]
    fn a_lag_is_spread_over_as_many_partitions_as_share_it() {
        assert_eq!(spread([5.0; 8]), 8.0);
        assert_eq!(spread([100.0, 0.0, 0.0]), 1.0);
        assert_eq!(spread([0.0; 3]), 0.0);
        let uneven = spread([50.0, 50.0, 1.0, 1.0]);
        assert!(uneven > 2.0 && uneven < 2.1, "{uneven}");
    }

    #[test]
    fn pods_of_which_some_cannot_be_busy_show_nothing() {
        let mut rates = Rates::default();
        for quarter in 0..40 {
            let gone = 25 * quarter as i64;
            let flow = Flow {
                spread: 3.0,
                ..flow(gone * 5, gone, 2)
            };
            rates.look(Duration::from_millis(250 * quarter), flow, 5000, false, COMMIT);
        }
        assert_eq!(rates.pod_rate(), None);
    }

    #[test]
    fn what_is_written_counts_where_the_same_have_read_all_the_time() {
        let mut rates = Rates::default();
        looks(&mut rates, 0, 40, 500, 100, 5000, 2);
        assert_eq!((rates.written_by(2), rates.written_by(3)), (Some(100.0), None));
        looks(&mut rates, 40, 4, 500, 100, 5000, 3);
        assert_eq!(rates.written_by(3), None);
    }

    #[test]
    fn what_waits_in_one_partition_keeps_one_pod_busy() {
        assert_eq!(busy(24, 12, 1.0), 1.0);
        assert_eq!(busy(24, 12, 0.25), 4.0);
        assert_eq!(busy(24, 12, 0.0), 12.0);
    }
}
