//! Lag, policy and memory → decision. Pure: the same history always gives the same decisions.

use std::fmt;
use std::time::Duration;

use super::lag::Lag;

/// How a reader is scaled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Replicas for 0, 1, … thresholds exceeded, see [`crate::ladder::rungs`].
    pub rungs: Vec<i32>,
    /// Lags, ascending, each of which leads one step up; one fewer than rungs.
    pub thresholds: Vec<i64>,
    /// How long the lag must be low before the next rung down.
    pub cooldown: Duration,
    /// How long a rebalance holds decisions back: meanwhile nobody reads, and the lag says nothing.
    pub rebalance_hold: Duration,
    /// How long replicas that somebody else has set are kept.
    pub manual_hold: Duration,
}

/// What is seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Time since any fixed moment.
    pub now: Duration,
    /// Replicas that the Deployment asks for at present.
    pub replicas: i32,
    /// Lag of each topic, lowest within one commit interval.
    pub lags: Vec<(String, Lag)>,
    /// How long the group has been rebalancing.
    pub rebalancing: Option<Duration>,
    /// Who else has set the present replicas, and how long ago.
    pub manual: Option<(String, Duration)>,
}

/// What is remembered between two decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// Since when the lag has been low enough for the next rung down.
    pub low_since: Option<Duration>,
}

/// Why, in a word for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// More thresholds are exceeded than the present replicas answer.
    LagAboveThreshold,
    /// The lag was low for the whole cooldown.
    LagLow,
    /// The replicas are what the lag asks for.
    Steady,
    /// The lag is low, the cooldown not over.
    Cooldown,
    /// The lag asks for fewer but is not low enough to be sure.
    NotLowYet,
    /// The lag is not known.
    LagUnknown,
    /// The group is rebalancing.
    Rebalancing,
    /// Fewer replicas than the least.
    BelowMinimum,
    /// More replicas than the most.
    AboveMaximum,
    /// Somebody else has set the replicas, a short while ago.
    ManualScale,
    /// Somebody else had set the replicas, and their time is over.
    ManualScaleOver,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What to do, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Replicas wanted.
    pub wanted: i32,
    /// Thresholds exceeded by the topic furthest behind; absent while unknown.
    pub exceeded: Option<usize>,
    /// Why.
    pub reason: Reason,
    /// The numbers behind it.
    pub message: String,
}

/// Chooses the replicas.
///
/// Up at once and straight to the right rung; down one rung at a time, when the lag was at most half of the
/// threshold that was crossed for the whole cooldown. A lag that is not wholly known may lead up, never down.
pub fn decide(policy: &Policy, seen: &Observation, memory: &mut Memory) -> Decision {
    let (min, max) = (policy.rungs[0], policy.rungs[policy.rungs.len() - 1]);
    let worst = worst_topic(policy, seen);
    let exceeded = worst.as_ref().map(|worst| worst.exceeded);
    let decision = |wanted: i32, reason: Reason, message: String| Decision {
        wanted,
        exceeded,
        reason,
        message,
    };

    let by_hand = seen.manual.as_ref();
    if let Some((who, since)) = by_hand.filter(|(_, since)| *since < policy.manual_hold) {
        memory.low_since = None;
        let left = seconds(policy.manual_hold.saturating_sub(*since));
        return decision(
            seen.replicas.min(max),
            Reason::ManualScale,
            format!(
                "{who} set {} replicas, the most is {max}; the lag decides again in {left}",
                seen.replicas
            ),
        );
    }
    if seen.replicas < min {
        memory.low_since = None;
        let wanted = exceeded.map_or(min, |steps| policy.rungs[steps]);
        return decision(
            wanted,
            Reason::BelowMinimum,
            format!("{} replicas, the least is {min}", seen.replicas),
        );
    }
    if seen.replicas > max {
        memory.low_since = None;
        return decision(
            max,
            Reason::AboveMaximum,
            format!("{} replicas, the most is {max}", seen.replicas),
        );
    }
    let Some(worst) = worst else {
        memory.low_since = None;
        return decision(
            seen.replicas,
            Reason::LagUnknown,
            "the lag is not known: replicas stay".to_owned(),
        );
    };
    if seen.rebalancing.is_some_and(|since| since < policy.rebalance_hold) {
        return decision(
            seen.replicas,
            Reason::Rebalancing,
            "the group is rebalancing: replicas stay".to_owned(),
        );
    }
    let target = policy.rungs[worst.exceeded];
    if target > seen.replicas {
        memory.low_since = None;
        let threshold = policy.thresholds[worst.exceeded - 1];
        let message = format!("lag {} of {} is above {threshold}", worst.text(), worst.topic);
        return decision(target, Reason::LagAboveThreshold, message);
    }
    if target == seen.replicas {
        memory.low_since = None;
        return decision(
            target,
            Reason::Steady,
            format!("lag {} of {}", worst.text(), worst.topic),
        );
    }
    if let Some((who, since)) = by_hand
        && worst.exact
    {
        memory.low_since = None;
        let message = format!(
            "{who} set {} replicas {} ago; lag {} of {} asks for {target}",
            seen.replicas,
            seconds(*since),
            worst.text(),
            worst.topic
        );
        return decision(target, Reason::ManualScaleOver, message);
    }
    step_down(policy, seen, memory, &worst, decision)
}

fn step_down(
    policy: &Policy,
    seen: &Observation,
    memory: &mut Memory,
    worst: &Worst,
    decision: impl Fn(i32, Reason, String) -> Decision,
) -> Decision {
    // The threshold whose crossing led to the present replicas.
    let step = policy
        .rungs
        .iter()
        .position(|rung| *rung >= seen.replicas)
        .unwrap_or(policy.thresholds.len())
        .max(1);
    let threshold = policy.thresholds[step - 1];
    let low = worst.exact && worst.lag.saturating_mul(2) <= threshold;
    if !low {
        memory.low_since = None;
        let message = format!(
            "lag {} of {} is not at most half of {threshold} yet",
            worst.text(),
            worst.topic
        );
        return decision(seen.replicas, Reason::NotLowYet, message);
    }
    let since = *memory.low_since.get_or_insert(seen.now);
    let low_for = seen.now.saturating_sub(since);
    if low_for < policy.cooldown {
        let message = format!(
            "lag {} of {} is at most half of {threshold}; one rung down after {} of it, {} to go",
            worst.text(),
            worst.topic,
            seconds(policy.cooldown),
            seconds(policy.cooldown.saturating_sub(low_for)),
        );
        return decision(seen.replicas, Reason::Cooldown, message);
    }
    memory.low_since = Some(seen.now);
    let wanted = policy
        .rungs
        .iter()
        .rev()
        .find(|rung| **rung < seen.replicas)
        .copied()
        .unwrap_or(policy.rungs[0]);
    let message = format!(
        "lag {} of {} was at most half of {threshold} for {}",
        worst.text(),
        worst.topic,
        seconds(policy.cooldown)
    );
    decision(wanted, Reason::LagLow, message)
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_millis().div_ceil(1000))
}

struct Worst {
    topic: String,
    lag: i64,
    exceeded: usize,
    /// Whether every topic is wholly known.
    exact: bool,
}

impl Worst {
    fn text(&self) -> String {
        if self.exact {
            self.lag.to_string()
        } else {
            format!("{} or more", self.lag)
        }
    }
}

/// The topic furthest behind: a group that reads several is as late as its worst.
fn worst_topic(policy: &Policy, seen: &Observation) -> Option<Worst> {
    let exact = seen.lags.iter().all(|(_, lag)| matches!(lag, Lag::Known(_)));
    let (topic, lag) = seen
        .lags
        .iter()
        .filter_map(|(topic, lag)| lag.lower_bound().map(|lag| (topic, lag)))
        .max_by_key(|(_, lag)| *lag)?;
    let exceeded = policy.thresholds.iter().filter(|threshold| lag > **threshold).count();
    Some(Worst {
        topic: topic.clone(),
        lag,
        exceeded,
        exact,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::{Bounds, rungs};
    use proptest::prelude::*;

    fn sms() -> Policy {
        Policy {
            rungs: rungs(Bounds { min: 4, max: 16 }, 3),
            thresholds: vec![100, 500, 1000],
            cooldown: Duration::from_secs(300),
            rebalance_hold: Duration::from_secs(3),
            manual_hold: Duration::from_secs(1800),
        }
    }

    fn seen(now: u64, replicas: i32, lag: Lag) -> Observation {
        Observation {
            now: Duration::from_secs(now),
            replicas,
            lags: vec![("sms_batched".into(), lag)],
            rebalancing: None,
            manual: None,
        }
    }

    fn once(replicas: i32, lag: Lag) -> Decision {
        decide(&sms(), &seen(0, replicas, lag), &mut Memory::default())
    }

    #[test]
    fn each_threshold_strictly_exceeded_is_one_step_and_one_patch_goes_straight_there() {
        for (lag, wanted) in [
            (0, 4),
            (100, 4),
            (101, 8),
            (500, 8),
            (501, 12),
            (1000, 12),
            (1001, 16),
            (1 << 40, 16),
        ] {
            assert_eq!(once(4, Lag::Known(lag)).wanted, wanted, "lag {lag}");
        }
    }

    #[test]
    fn what_is_switched_off_goes_to_nothing_and_stays_there_whatever_the_lag() {
        let off = Policy {
            rungs: rungs(Bounds { min: 0, max: 0 }, 3),
            ..sms()
        };
        for lag in [Lag::Known(0), Lag::Known(1 << 40), Lag::Unknown] {
            for replicas in [0, 4] {
                let decision = decide(&off, &seen(0, replicas, lag), &mut Memory::default());
                assert_eq!(decision.wanted, 0, "{replicas} replicas, lag {lag:?}");
            }
        }
        let mut by_hand = seen(0, 3, Lag::Known(0));
        by_hand.manual = Some(("kubectl".into(), Duration::ZERO));
        assert_eq!(decide(&off, &by_hand, &mut Memory::default()).wanted, 0);
    }

    #[test]
    fn a_group_takes_its_worst_topic() {
        let mut both = seen(0, 4, Lag::Known(7));
        both.lags.push(("calls".into(), Lag::Known(600)));
        let decision = decide(&sms(), &both, &mut Memory::default());
        assert_eq!(
            (decision.wanted, decision.message.as_str()),
            (12, "lag 600 of calls is above 500")
        );
    }

    #[test]
    fn down_one_rung_after_each_whole_cooldown() {
        let (policy, mut memory) = (sms(), Memory::default());
        let mut replicas = 16;
        let mut history = vec![];
        for now in 0..=901 {
            let decision = decide(&policy, &seen(now, replicas, Lag::Known(0)), &mut memory);
            if decision.wanted != replicas {
                replicas = decision.wanted;
                history.push((now, replicas, decision.reason));
            }
        }
        assert_eq!(
            history,
            [
                (300, 12, Reason::LagLow),
                (600, 8, Reason::LagLow),
                (900, 4, Reason::LagLow)
            ]
        );
    }

    #[test]
    fn a_lag_above_half_of_the_crossed_threshold_starts_the_cooldown_again() {
        let (policy, mut memory) = (sms(), Memory::default());
        assert_eq!(
            decide(&policy, &seen(0, 8, Lag::Known(50)), &mut memory).reason,
            Reason::Cooldown
        );
        assert_eq!(
            decide(&policy, &seen(200, 8, Lag::Known(51)), &mut memory).reason,
            Reason::NotLowYet
        );
        assert_eq!(
            decide(&policy, &seen(300, 8, Lag::Known(50)), &mut memory).reason,
            Reason::Cooldown
        );
        assert_eq!(
            decide(&policy, &seen(599, 8, Lag::Known(50)), &mut memory).reason,
            Reason::Cooldown
        );
        assert_eq!(decide(&policy, &seen(600, 8, Lag::Known(50)), &mut memory).wanted, 4);
    }

    #[test]
    fn unknown_lag_changes_nothing_and_a_lower_bound_only_leads_up() {
        assert_eq!(once(12, Lag::Unknown).wanted, 12);
        assert_eq!(once(4, Lag::AtLeast(501)).wanted, 12);
        let (policy, mut memory) = (sms(), Memory::default());
        for now in 0..1000 {
            assert_eq!(decide(&policy, &seen(now, 12, Lag::AtLeast(0)), &mut memory).wanted, 12);
        }
    }

    #[test]
    fn a_rebalance_holds_for_a_while_and_not_for_ever() {
        let mut rebalancing = seen(0, 4, Lag::Known(5000));
        rebalancing.rebalancing = Some(Duration::from_secs(1));
        assert_eq!(
            decide(&sms(), &rebalancing, &mut Memory::default()).reason,
            Reason::Rebalancing
        );
        rebalancing.rebalancing = Some(Duration::from_secs(3));
        assert_eq!(decide(&sms(), &rebalancing, &mut Memory::default()).wanted, 16);
    }

    #[test]
    fn replicas_set_by_hand_are_kept_for_their_time_and_no_more_than_the_most() {
        let by_hand = |replicas: i32, lag: i64, since: u64| {
            let mut seen = seen(0, replicas, Lag::Known(lag));
            seen.manual = Some(("kubectl".into(), Duration::from_secs(since)));
            let decision = decide(&sms(), &seen, &mut Memory::default());
            (decision.wanted, decision.reason)
        };
        assert_eq!(by_hand(9, 5000, 0), (9, Reason::ManualScale));
        assert_eq!(by_hand(0, 5000, 1799), (0, Reason::ManualScale));
        assert_eq!(by_hand(40, 0, 10), (16, Reason::ManualScale));
        assert_eq!(by_hand(9, 0, 1800), (4, Reason::ManualScaleOver));
        assert_eq!(by_hand(9, 5000, 1800), (16, Reason::LagAboveThreshold));
        assert_eq!(by_hand(8, 200, 1800), (8, Reason::Steady));
    }

    #[test]
    fn replicas_outside_the_bounds_come_back_at_once() {
        assert_eq!(once(1, Lag::Unknown).wanted, 4);
        assert_eq!(once(1, Lag::Known(501)).wanted, 12);
        assert_eq!(once(40, Lag::Known(0)).wanted, 16);
    }

    #[test]
    fn equal_rungs_are_stepped_over_on_the_way_down() {
        let policy = Policy {
            rungs: rungs(Bounds { min: 1, max: 2 }, 4),
            thresholds: vec![3, 6, 8, 10],
            cooldown: Duration::ZERO,
            rebalance_hold: Duration::ZERO,
            manual_hold: Duration::ZERO,
        };
        assert_eq!(
            decide(&policy, &seen(0, 2, Lag::Known(0)), &mut Memory::default()).wanted,
            1
        );
    }

    proptest! {
        #[test]
        fn never_outside_the_bounds_and_never_fewer_for_more_lag(
            min in 1..20i32, span in 0..40i32, replicas in 0..80i32, lag in 0..5000i64, more in 0..5000i64,
        ) {
            let policy = Policy {
                rungs: rungs(Bounds { min, max: min + span }, 3),
                thresholds: vec![100, 500, 1000],
                cooldown: Duration::ZERO,
                rebalance_hold: Duration::ZERO,
            manual_hold: Duration::ZERO,
            };
            let low = decide(&policy, &seen(0, replicas, Lag::Known(lag)), &mut Memory::default()).wanted;
            let high = decide(&policy, &seen(0, replicas, Lag::Known(lag + more)), &mut Memory::default()).wanted;
            prop_assert!((min..=min + span).contains(&low));
            prop_assert!(low <= high);
        }

        #[test]
        fn a_decision_carried_out_is_followed_by_none_in_the_other_direction(lag in 0..5000i64, start in 4..=16i32) {
            let (policy, mut memory) = (sms(), Memory::default());
            let mut replicas = start;
            let mut directions = vec![];
            for now in (0..3000).step_by(10) {
                let wanted = decide(&policy, &seen(now, replicas, Lag::Known(lag)), &mut memory).wanted;
                if wanted != replicas {
                    directions.push(wanted > replicas);
                    replicas = wanted;
                }
            }
            prop_assert!(directions.windows(2).all(|pair| pair[0] == pair[1]), "{:?}", directions);
        }
    }
}
