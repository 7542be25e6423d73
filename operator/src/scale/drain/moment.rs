//! One moment of a reader, and how long a number of pods would take from there on.

use std::time::Duration;

use super::super::decide::Observation;
use super::super::rates::{Flow, busy, capacity};
use super::attempts::Cost;
use crate::ladder::Bounds;

/// More arrivals than this part of what the pods write ask for more pods.
pub(super) const FULL: f64 = 0.97;
/// A deadline that would be missed by less than this part of the target is kept.
const LATE: f64 = 0.25;
/// Part of the target in which a backlog that will be late is to be gone: a deadline that is nearly over is no reason for
/// as many pods as there can be.
const HURRY: f64 = 0.5;
/// More pods must bring the end of a backlog nearer by this part.
const PAYS: f64 = 0.15;

/// The situation of one moment.
pub(super) struct Moment<'a> {
    pub(super) bounds: Bounds,
    pub(super) seen: &'a Observation,
    pub(super) flow: &'a Flow,
    /// Records a second that a pod writes.
    pub(super) rate: f64,
    /// Records a second.
    pub(super) arriving: f64,
    /// Records.
    pub(super) waiting: f64,
    pub(super) cost: Cost,
    /// When pods that were asked for and are not ready yet are expected.
    pub(super) coming: Duration,
}

impl Moment<'_> {
    /// Records a second that a number of replicas can write.
    pub(super) fn writes(&self, replicas: i32) -> f64 {
        capacity(self.flow.partitions, replicas) * self.rate
    }

    /// The same while there is a backlog, which may wait in a few partitions.
    fn drains(&self, replicas: i32) -> f64 {
        busy(self.flow.partitions, replicas, self.flow.hottest) * self.rate
    }

    /// Whether what waits keeps more than one pod busy.
    pub(super) fn is_spread(&self) -> bool {
        busy(self.flow.partitions, self.seen.replicas, self.flow.hottest) > 1.5 || self.seen.replicas <= 1
    }

    /// The least count that takes the arrivals with `part` of what it can write; where none does, the least of those
    /// that write most.
    pub(super) fn for_arrivals(&self, part: f64) -> i32 {
        let Bounds { min, max } = self.bounds;
        let enough = self.arriving.min(part * self.writes(max));
        let found = (min..=max).find(|count| part * self.writes(*count) >= enough);
        found.unwrap_or(max)
    }

    /// The least count with which the backlog is gone by the deadline, else the one with which it is gone soonest; the
    /// present one where that is soon enough, or where more would not pay.
    pub(super) fn to_meet(&self, target: Duration, deadline: &mut Option<Duration>) -> i32 {
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
