//! KEDA's Kafka scaler with the HorizontalPodAutoscaler that it drives, from what both document: the lag of all
//! partitions over the threshold, an HPA that looks every 15 s, tolerates 10 %, adds at most the larger of four pods and
//! as many as there are in 15 s, and takes away no more than the highest count of the last 300 s leaves.
//!
//! Sources: KEDA's documentation of the Apache Kafka scaler and of ScaledObjects (`pollingInterval` 30 s,
//! `cooldownPeriod` 300 s, `allowIdleConsumers: false`); Kubernetes' documentation of the HorizontalPodAutoscaler
//! (algorithm, tolerance, default behaviour). Above one replica it is the HPA's period that counts: with each of its
//! looks the metric is read anew.

use std::collections::VecDeque;
use std::time::Duration;

use super::group::Group;
use super::scaler::Scaler;

/// The HPA's period.
const SYNC: Duration = Duration::from_secs(15);
/// How far the use may be from the target, as a part of it, without a change.
const TOLERANCE: f64 = 0.1;
/// Within this the highest recommendation counts for fewer replicas, by default.
pub const STABILIZATION: Duration = Duration::from_secs(300);
/// Period of the limits of scaling up.
const LIMIT_PERIOD: Duration = Duration::from_secs(15);
/// Pods that may always be added in one period.
const LIMIT_PODS: i32 = 4;
/// Lets a group go to nothing after this time without lag.
const COOLDOWN: Duration = Duration::from_secs(300);

/// When the first look is, where looks are not to fall together with what else happens at even times: a load that
/// changes waits half a period on average.
const AT_ODDS: Duration = Duration::from_millis(7_125);

/// Settings of a ScaledObject.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Lag for each replica.
    pub lag_threshold: f64,
    /// `minReplicaCount`.
    pub min: i32,
    /// `maxReplicaCount`.
    pub max: i32,
    /// Partitions of the topic.
    pub partitions: i32,
    /// `pollingInterval`: how often a group of nothing is looked at.
    pub polling: Duration,
    /// `behavior.scaleDown.stabilizationWindowSeconds`.
    pub stabilization: Duration,
}

/// KEDA and its HPA.
#[derive(Debug, Clone)]
pub struct Keda {
    settings: Settings,
    first: Duration,
    synced: Option<Duration>,
    polled: Option<Duration>,
    active: Duration,
    recommendations: VecDeque<(Duration, i32)>,
    changes: VecDeque<(Duration, i32)>,
}

impl Keda {
    /// One that has not looked yet, and does so between the changes of loads and the commits of the model.
    pub fn at_odds(settings: Settings) -> Keda {
        Keda {
            first: AT_ODDS,
            ..Keda::new(settings)
        }
    }

    /// One that has not looked yet.
    pub fn new(settings: Settings) -> Keda {
        Keda {
            settings,
            first: Duration::ZERO,
            synced: None,
            polled: None,
            active: Duration::ZERO,
            recommendations: VecDeque::new(),
            changes: VecDeque::new(),
        }
    }

    /// The metric: idle consumers are not allowed, so it is cut off at one replica for each partition.
    fn metric(&self, group: &Group) -> f64 {
        let most = self.settings.lag_threshold * f64::from(self.settings.partitions);
        (group.visible_lag() as f64).min(most)
    }

    /// From and to nothing it is KEDA itself that scales.
    fn activate(&mut self, group: &Group) -> Option<i32> {
        let now = group.now();
        if self.polled.is_some_and(|polled| now < polled + self.settings.polling) {
            return None;
        }
        self.polled = Some(now);
        if group.visible_lag() > 0 {
            self.active = now;
            return (group.wanted() == 0).then_some(1);
        }
        (self.settings.min == 0 && now >= self.active + COOLDOWN).then_some(0)
    }

    /// One look of the HPA.
    fn sync(&mut self, group: &Group) -> i32 {
        let (now, present) = (group.now(), group.wanted());
        let usage = self.metric(group) / (self.settings.lag_threshold * f64::from(present));
        let asked = if (usage - 1.0).abs() <= TOLERANCE {
            present
        } else {
            (self.metric(group) / self.settings.lag_threshold).ceil() as i32
        };
        let stable = self.stabilized(now, present, asked);
        let wanted = self.limited(now, present, stable);
        let wanted = wanted.min(self.settings.max).max(self.settings.min.max(1));
        if wanted != present {
            self.changes.push_back((now, wanted - present));
        }
        wanted
    }

    fn stabilized(&mut self, now: Duration, present: i32, asked: i32) -> i32 {
        self.recommendations.push_back((now, asked));
        while self
            .recommendations
            .front()
            .is_some_and(|(at, _)| *at + self.settings.stabilization <= now)
        {
            self.recommendations.pop_front();
        }
        let highest = self
            .recommendations
            .iter()
            .map(|(_, count)| *count)
            .max()
            .unwrap_or(asked);
        if asked > present { asked } else { present.min(highest) }
    }

    fn limited(&mut self, now: Duration, present: i32, wanted: i32) -> i32 {
        while self.changes.front().is_some_and(|(at, _)| *at + LIMIT_PERIOD <= now) {
            self.changes.pop_front();
        }
        let changed: i32 = self.changes.iter().map(|(_, change)| change).sum();
        let at_start = present - changed;
        let most = (at_start + LIMIT_PODS).max(at_start * 2).max(present);
        wanted.min(most)
    }
}

impl Scaler for Keda {
    fn interval(&self) -> Duration {
        // The shortest that divides all of its periods, the first one included.
        Duration::from_millis(125)
    }

    fn look(&mut self, group: &Group) -> i32 {
        if group.now() < self.first {
            return group.wanted();
        }
        if let Some(activated) = self.activate(group) {
            return activated;
        }
        let due = self.synced.is_none_or(|synced| group.now() >= synced + SYNC);
        if group.wanted() == 0 || !due {
            return group.wanted();
        }
        self.synced = Some(group.now());
        self.sync(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::group::Behaviour;

    fn settings() -> Settings {
        Settings {
            lag_threshold: 100.0,
            min: 1,
            max: 20,
            partitions: 24,
            polling: Duration::from_secs(30),
            stabilization: STABILIZATION,
        }
    }

    /// Replicas at each look of the HPA while `lag` records wait that nobody reads.
    fn looks(settings: Settings, replicas: i32, lag: f64, looks: u32) -> Vec<i32> {
        let mut behaviour = Behaviour::even(24, 0.0);
        behaviour.start = Duration::ZERO;
        let mut group = Group::new(behaviour, replicas);
        let mut keda = Keda::new(settings);
        group.advance(Duration::from_millis(1), lag);
        let look = |_| {
            let wanted = keda.look(&group);
            group.scale(wanted);
            group.advance(SYNC, 0.0);
            wanted
        };
        (0..looks).map(look).collect()
    }

    #[test]
    fn it_climbs_in_four_patches_where_one_would_do() {
        // Measured with the real one: 1 → 4 or 5 → … → 20 for a lag of 2000.
        assert_eq!(looks(settings(), 1, 2000.0, 4), [5, 10, 20, 20]);
    }

    #[test]
    fn within_the_tolerance_nothing_changes() {
        assert_eq!(looks(settings(), 10, 1099.0, 2), [10, 10]);
        assert_eq!(looks(settings(), 10, 1101.0, 2), [12, 12]);
    }

    #[test]
    fn it_takes_away_after_five_minutes_of_less() {
        let mut group = Group::new(Behaviour::even(24, 1000.0), 8);
        let mut keda = Keda::new(settings());
        let mut since = Duration::ZERO;
        group.advance(Duration::from_millis(1), 800.0);
        while group.wanted() == 8 {
            let wanted = keda.look(&group);
            group.scale(wanted);
            group.advance(Duration::from_secs(1), 0.0);
            since += Duration::from_secs(1);
        }
        assert!(
            since > Duration::from_secs(290) && since < Duration::from_secs(320),
            "{since:?}"
        );
        assert_eq!(group.wanted(), 1);
    }

    #[test]
    fn from_nothing_it_waits_for_its_poll() {
        let from_nothing = Settings { min: 0, ..settings() };
        let mut group = Group::new(Behaviour::even(24, 10.0), 0);
        let mut keda = Keda::new(from_nothing);
        assert_eq!(keda.look(&group), 0);
        group.advance(Duration::from_secs(1), 500.0);
        for _ in 1..30 {
            assert_eq!(keda.look(&group), 0);
            group.advance(Duration::from_secs(1), 0.0);
        }
        assert_eq!(keda.look(&group), 1);
    }

    #[test]
    fn there_are_never_more_than_partitions() {
        let few = Settings {
            partitions: 6,
            ..settings()
        };
        assert_eq!(looks(few, 4, 5000.0, 3), [6, 6, 6]);
    }
}
