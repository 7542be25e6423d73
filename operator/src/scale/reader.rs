//! What is remembered of one reader between two readings, and what a reading adds to it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::Utc;

use super::decide::{Decision, Memory, Observation, Policy};
use super::delay::{Delay, Ends};
use super::floor::Floor;
use super::health::{Health, History};
use super::lag::{self, Lag, Partition};
use super::meter::Measured;
use super::rates::{self, Flow};
use super::schedule;
use super::seen::Change;
use super::target::{READ_INTERVAL, Reader};
use super::usage;
use super::window::Window;
use crate::trace::keeper::Keeper;
use crate::trace::line::{Line, Look};

/// How long nothing may have moved in a partition before what waits there is no reason for more pods, at least.
const STILL: Duration = Duration::from_secs(300);

/// Longest pause between two attempts at a patch that is refused.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// State of one reader between two readings.
#[derive(Default)]
pub(super) struct State {
    /// By which policy the rest came to be.
    policy: Option<Policy>,
    /// The lowest lag of each topic within one commit interval.
    windows: BTreeMap<String, Window>,
    /// When messages arrived and how they are read, of each partition of each topic.
    partitions: BTreeMap<String, Vec<(Ends, History)>>,
    pub(super) memory: Memory,
    usage: usage::Memory,
    /// The floor of the schedules, and the minute for which it holds: no cron expression knows a shorter time.
    scheduled: Option<(i64, Option<Floor>)>,
    /// Where the trace is kept, and the last decision in it.
    pub(super) trace: Option<(Keeper, Option<Decision>)>,
    pub(super) changed: Option<Change>,
    /// Replicas that were patched and have not come back through the watch yet.
    pub(super) patched: Option<(i32, Instant)>,
    /// Patches that the API server did not take.
    pub(super) refused: Option<Refused>,
    /// Replicas that somebody else has set, and since when they are seen.
    pub(super) by_hand: Option<(i32, Instant)>,
}

/// Patches that the API server did not take, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    /// When the next one may be tried.
    pub(super) until: Instant,
    pause: Duration,
}

impl Refused {
    /// After one more: each pause is twice the one before, up to half a minute.
    pub(super) fn after(before: Option<Refused>) -> Refused {
        let pause = before.map_or(READ_INTERVAL, |before| (before.pause * 2).min(LONGEST_PAUSE));
        Refused {
            until: Instant::now() + pause,
            pause,
        }
    }
}

/// What is to be seen of a topic over time.
pub(super) struct TopicLook {
    /// How long ago its oldest unread message arrived.
    pub(super) delay: Option<Delay>,
    /// How each of its partitions is read.
    pub(super) health: Vec<Health>,
    /// Its lag without what no reader can read away.
    pub(super) readable: Lag,
    /// What no reader can read away.
    still: i64,
}

impl TopicLook {
    /// A lag, and what no reader can read away.
    pub(super) fn unreadable(&self, lag: Lag) -> Lag {
        lag::both(lag, Lag::Known(self.still))
    }
}

impl State {
    /// The state of a reader of which only what a pod writes is known.
    pub(super) fn that_knows(pod_rate: Option<f64>) -> State {
        State {
            memory: Memory::with_pod_rate(pod_rate),
            ..State::default()
        }
    }

    /// Another policy holds from now on: what was to lead down by the one before is over.
    pub(super) fn follow(&mut self, policy: Option<&Policy>) {
        if self.policy.as_ref() == policy {
            return;
        }
        self.windows.clear();
        self.memory.interrupt();
        self.policy = policy.cloned();
        self.scheduled = None;
        // Begun anew, as by an operator that is started anew.
        self.trace = None;
    }

    /// Takes in a reading of a topic.
    pub(super) fn look_at(
        &mut self,
        reader: &Reader,
        topic: &str,
        partitions: &[Partition],
        members: Option<i32>,
        now: Duration,
    ) -> TopicLook {
        let still = reader
            .policy
            .as_ref()
            .map_or(STILL, |policy| policy.cooldown.max(STILL));
        let known = self.partitions.entry(topic.to_owned()).or_default();
        // A reading that failed has no partitions, and says nothing of those that were there.
        if partitions.is_empty() {
            known.iter_mut().for_each(|(_, history)| history.interrupt());
        } else {
            known.resize_with(partitions.len(), Default::default);
        }
        let mut delay = None;
        let mut of_still = 0;
        let health = partitions
            .iter()
            .zip(known.iter_mut())
            .map(|(partition, (_, history))| history.look(now, partition, members))
            .collect();
        // Where nothing at all is read, what waits may be what the stores do not take, but for the marker of a transaction.
        let is_read = known.iter().any(|(_, history)| history.has_been_read(now, still));
        let mut readable = Vec::with_capacity(partitions.len());
        for (partition, (ends, history)) in partitions.iter().zip(known) {
            let lag = lag::of_partition(partition);
            let is_still = history.is_still(now, still) && (is_read || lag <= Some(1));
            readable.push(lag.map(|lag| if is_still { 0 } else { lag }));
            let (Some(end), Some(lag)) = (partition.end, lag) else {
                continue;
            };
            ends.look(now, end);
            ends.forget(end - lag);
            if is_still {
                of_still += lag;
            } else {
                delay = delay.max(ends.delay(now, end - lag));
            }
        }
        TopicLook {
            delay,
            health,
            readable: lag::sum(readable),
            still: of_still,
        }
    }

    /// The lowest lag of a topic within one commit interval, where it is `lag` now.
    pub(super) fn lowest(&mut self, reader: &Reader, topic: &str, now: Duration, lag: Lag) -> Lag {
        let window = self
            .windows
            .entry(topic.to_owned())
            .or_insert_with(|| Window::new(reader.commit_interval));
        window.push(now, lag);
        window.lowest()
    }

    /// What else asks for replicas at least.
    pub(super) fn floors(
        &mut self,
        reader: &Reader,
        policy: &Policy,
        measured: &Measured,
        now: Duration,
        replicas: i32,
        ready: i32,
    ) -> Vec<Floor> {
        let time = Utc::now();
        let minute = time.timestamp().div_euclid(60);
        let scheduled = match &self.scheduled {
            Some((known, floor)) if *known == minute => floor.clone(),
            _ => schedule::floor(&reader.schedules, time),
        };
        self.scheduled = Some((minute, scheduled.clone()));
        let usage = measured.of(&reader.component);
        let used = self
            .usage
            .floor(now, usage, reader.size, replicas, ready, policy.cooldown);
        [scheduled, used].into_iter().flatten().collect()
    }

    /// Adds a look to the trace, where one is kept.
    pub(super) fn note(&mut self, seen: Observation, made: &Decision) {
        let Some((keeper, last)) = &mut self.trace else { return };
        let decision = (last.as_ref() != Some(made)).then(|| made.clone());
        if decision.is_some() {
            last.clone_from(&decision);
        }
        let time = Utc::now();
        keeper.push(Line::Look(Box::new(Look { time, seen, decision })));
    }
}

/// Rounded, so that one that only grows is no change at each look.
pub(crate) fn coarse(delay: Duration) -> Duration {
    let seconds = delay.as_secs();
    let step = match seconds {
        0..10 => 1,
        10..60 => 10,
        _ => 60,
    };
    Duration::from_secs(seconds / step * step)
}

/// What has gone through a reader's topics; nothing where some of it is not known.
pub(super) fn flow(
    reader: &Reader,
    of_group: &BTreeMap<String, Vec<Partition>>,
    readers: i32,
    unready: i32,
) -> Option<Flow> {
    let mut flow = Flow {
        produced: 0,
        committed: 0,
        expired: 0,
        partitions: 0,
        waiting: 0,
        hottest: 0.0,
        spread: 0.0,
        readers,
        unready,
    };
    let mut most = 0;
    let mut lags = vec![];
    for topic in &reader.topics {
        let partitions = of_group.get(topic).filter(|partitions| !partitions.is_empty())?;
        for partition in partitions {
            let (end, lag) = (partition.end?, lag::of_partition(partition)?);
            flow.produced += end;
            flow.committed += end - lag;
            flow.expired += lag::expired(partition);
            flow.partitions += 1;
            flow.waiting += i32::from(lag > 0);
            most = most.max(lag);
            lags.push(lag as f64);
        }
    }
    let lag = flow.produced - flow.committed;
    if lag > 0 {
        flow.hottest = most as f64 / lag as f64;
    }
    flow.spread = rates::spread(lags);
    Some(flow)
}

#[cfg(test)]
mod tests {
    use super::super::lag::Committed;
    use super::super::target;
    use super::*;
    use crate::api::spec::Environment;
    use crate::plan::sizing;

    fn reader() -> Reader {
        Reader {
            component: "sms".to_owned(),
            deployment: "demo-sms".to_owned(),
            group: "sms".to_owned(),
            retention: BTreeMap::new(),
            topics: vec!["topic".to_owned()],
            commit_interval: Duration::from_millis(500),
            policy: target::policy(
                &crate::validate::Scaling::PerPartition,
                crate::ladder::Bounds { min: 1, max: 4 },
                2,
            ),
            size: sizing::of_pipeline_pods(Environment::Dev),
            schedules: vec![],
            trace: false,
        }
    }

    fn partition(committed: i64, end: i64) -> Partition {
        Partition {
            start: Some(0),
            committed: Committed::At(committed),
            end: Some(end),
        }
    }

    /// The lag that asks for pods after ten minutes, where the offsets are as `of` says at each second.
    fn readable(of: impl Fn(i64) -> [Partition; 2]) -> Lag {
        let (mut state, reader) = (State::default(), reader());
        let looks = (0..=600).map(|second: i64| {
            let now = Duration::from_secs(second.unsigned_abs());
            state.look_at(&reader, "topic", &of(second), Some(1), now).readable
        });
        looks.last().unwrap()
    }

    #[test]
    fn what_nobody_can_read_away_asks_for_no_pods_while_the_rest_is_read() {
        let aborted = readable(|second| [partition(100, 600), partition(second, second + 7)]);
        assert_eq!(aborted, Lag::Known(7));
    }

    #[test]
    fn where_nothing_is_read_all_that_waits_counts_but_markers() {
        assert_eq!(
            readable(|_| [partition(100, 20_000), partition(5, 9)]),
            Lag::Known(19_904)
        );
        assert_eq!(readable(|_| [partition(100, 101), partition(9, 9)]), Lag::Known(0));
    }

    #[test]
    fn a_patch_that_is_refused_again_is_tried_ever_more_rarely() {
        let mut refused = None;
        let pauses: Vec<Duration> = (0..9)
            .map(|_| {
                let next = Refused::after(refused);
                refused = Some(next);
                next.pause
            })
            .collect();
        assert_eq!(pauses[..3], [READ_INTERVAL, READ_INTERVAL * 2, READ_INTERVAL * 4]);
        assert_eq!(pauses[8], LONGEST_PAUSE);
    }
}
