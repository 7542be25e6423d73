use super::*;
use proptest::prelude::*;

fn sms() -> Policy {
    climbing(Bounds { min: 4, max: 16 }, &[100, 500, 1000])
}

fn climbing(bounds: Bounds, thresholds: &[i64]) -> Policy {
    Policy {
        rule: Rule::Climb(Climb::new(bounds, thresholds.to_vec())),
        bounds,
        cooldown: Duration::from_secs(300),
        commit_interval: Duration::from_millis(500),
        rebalance_hold: Duration::from_secs(3),
        manual_hold: Duration::from_secs(1800),
    }
}

fn seen(now: u64, replicas: i32, lag: Lag) -> Observation {
    Observation {
        now: Duration::from_secs(now),
        replicas,
        lags: vec![("sms_batched".into(), lag)],
        flow: None,
        ready: replicas,
        rebalancing: None,
        manual: None,
        floors: vec![],
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
    let off = climbing(Bounds { min: 0, max: 0 }, &[100, 500, 1000]);
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
    let mut until = |times: std::ops::RangeInclusive<u64>, lag: i64| {
        let decisions = times
            .step_by(10)
            .map(|now| decide(&policy, &seen(now, 8, Lag::Known(lag)), &mut memory));
        decisions.last().unwrap()
    };
    assert_eq!(until(0..=190, 50).reason, Reason::Cooldown);
    assert_eq!(until(200..=200, 51).reason, Reason::NotLowYet);
    assert_eq!(until(210..=500, 50).reason, Reason::Cooldown);
    assert_eq!(until(510..=510, 50).wanted, 4);
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
    let mut memory = Memory::default();
    let mut until_over = |since: u64| {
        let mut seen = seen(since, 9, Lag::Known(0));
        seen.manual = Some(("kubectl".into(), Duration::from_secs(since)));
        let decision = decide(&sms(), &seen, &mut memory);
        (decision.wanted, decision.reason)
    };
    assert_eq!(until_over(1799), (9, Reason::ManualScale));
    assert_eq!(until_over(1800), (4, Reason::ManualScaleOver));
    assert_eq!(by_hand(9, 5000, 1800), (16, Reason::LagAboveThreshold));
    assert_eq!(by_hand(8, 200, 1800), (8, Reason::Steady));
}

#[test]
fn no_more_pods_are_asked_for_while_those_that_were_do_not_come() {
    let (policy, mut memory) = (sms(), Memory::default());
    let mut pending = |now: u64, lag: i64, ready: i32| {
        let mut seen = seen(now, 8, Lag::Known(lag));
        seen.ready = ready;
        let decision = decide(&policy, &seen, &mut memory);
        (decision.wanted, decision.reason)
    };
    assert_eq!(pending(0, 200, 4), (8, Reason::Steady));
    assert_eq!(pending(119, 200, 5), (8, Reason::Steady));
    assert_eq!(pending(238, 600, 5), (12, Reason::LagAboveThreshold));
    for now in 239..300 {
        pending(now, 200, 5);
    }
    assert_eq!(pending(300, 600, 5), (8, Reason::PodsNotComing));
    assert_eq!(pending(301, 600, 6), (12, Reason::LagAboveThreshold));
}

#[test]
fn pods_that_end_and_start_again_are_none_that_come() {
    let (policy, mut memory) = (sms(), Memory::default());
    let mut after = |now: u64, lag: i64, ready: i32| {
        let mut seen = seen(now, 8, Lag::Known(lag));
        seen.ready = ready;
        decide(&policy, &seen, &mut memory).reason
    };
    for now in 0..130 {
        // All of them for five seconds of every twenty.
        after(now, 200, if now % 20 < 5 { 8 } else { 4 });
    }
    assert_eq!(after(130, 600, 4), Reason::PodsNotComing);
    assert_eq!(after(141, 600, 8), Reason::PodsNotComing);
    for now in 142..151 {
        after(now, 200, 8);
    }
    assert_eq!(after(151, 600, 8), Reason::LagAboveThreshold);
}

#[test]
fn a_reader_that_is_none_comes_also_where_only_a_part_is_known() {
    let policy = climbing(Bounds { min: 0, max: 4 }, &[100]);
    let mut memory = Memory::default();
    let mut look = |lag| decide(&policy, &seen(0, 0, lag), &mut memory);
    assert_eq!(look(Lag::AtLeast(0)).wanted, 0);
    assert_eq!(look(Lag::Unknown).wanted, 0);
    let woken = look(Lag::AtLeast(50));
    assert_eq!((woken.wanted, woken.reason), (1, Reason::Arrivals));
}

#[test]
fn a_rung_is_kept_while_more_arrives_than_the_lower_one_could_write() {
    let policy = sms();
    let mut memory = Memory::with_pod_rate(Some(10.0));
    let mut last = None;
    for quarter in 0..4 * 400_i64 {
        let mut seen = seen(0, 8, Lag::Known(0));
        seen.now = Duration::from_millis(250 * quarter as u64);
        // 40 a second; four pods write 40, of which they may be used to four fifths.
        seen.flow = Some(Flow {
            produced: 10 * quarter,
            committed: 10 * quarter,
            expired: 0,
            partitions: 16,
            waiting: 0,
            hottest: 0.0,
            spread: 0.0,
            readers: 8,
            unready: 0,
        });
        last = Some(decide(&policy, &seen, &mut memory));
    }
    let last = last.unwrap();
    assert_eq!((last.wanted, last.reason), (8, Reason::NotLowYet));
    assert!(
        last.message
            .ends_with("40/s arrive, too many for the 40/s that 4 replicas write"),
        "{}",
        last.message
    );
}

#[test]
fn a_floor_is_the_least_whatever_the_lag_and_no_more_than_the_most() {
    let floor = |replicas| Floor {
        replicas,
        reason: Reason::Schedule,
        message: "it is morning".to_owned(),
    };
    let with = |replicas: i32, lag: Lag, floors: Vec<Floor>| {
        let mut seen = seen(0, replicas, lag);
        seen.floors = floors;
        let decision = decide(&sms(), &seen, &mut Memory::default());
        (decision.wanted, decision.reason)
    };
    for lag in [Lag::Known(0), Lag::AtLeast(0), Lag::Unknown] {
        assert_eq!(with(4, lag, vec![floor(6), floor(5)]), (6, Reason::Schedule));
        assert_eq!(with(4, lag, vec![floor(60)]), (16, Reason::Schedule));
    }
    assert_eq!(with(1, Lag::Unknown, vec![floor(6)]), (6, Reason::Schedule));
    assert_eq!(
        with(4, Lag::Known(501), vec![floor(6)]),
        (12, Reason::LagAboveThreshold)
    );
    assert_eq!(with(6, Lag::Known(0), vec![floor(6)]).0, 6);
}

#[test]
fn a_rung_is_not_given_up_below_a_floor() {
    let (policy, mut memory) = (sms(), Memory::default());
    for now in 0..=700 {
        let mut seen = seen(now, 12, Lag::Known(0));
        seen.floors = vec![Floor {
            replicas: 12,
            reason: Reason::CpuAboveTarget,
            message: "60 % of their CPU is used".to_owned(),
        }];
        assert_eq!(decide(&policy, &seen, &mut memory).wanted, 12);
    }
}

#[test]
fn there_is_one_replica_for_each_partition() {
    let policy = Policy {
        rule: Rule::PerPartition(6),
        bounds: Bounds { min: 1, max: 10 },
        ..sms()
    };
    for lag in [Lag::Unknown, Lag::Known(0), Lag::Known(1 << 40)] {
        let decision = decide(&policy, &seen(0, 3, lag), &mut Memory::default());
        assert_eq!((decision.wanted, decision.reason), (6, Reason::Partitions));
    }
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
        cooldown: Duration::ZERO,
        ..climbing(Bounds { min: 1, max: 2 }, &[3, 6, 8, 10])
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
            cooldown: Duration::ZERO,
            ..climbing(Bounds { min, max: min + span }, &[100, 500, 1000])
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

/// A look at a time at which so much has been produced and committed, evenly over 16 partitions.
fn flowing(millis: u64, replicas: i32, produced: i64, committed: i64) -> Observation {
    let lag = produced - committed;
    Observation {
        now: Duration::from_millis(millis),
        flow: Some(Flow {
            produced,
            committed,
            expired: 0,
            partitions: 16,
            waiting: if lag > 0 { 16 } else { 0 },
            hottest: 1.0 / 16.0,
            spread: if lag > 0 { 16.0 } else { 0.0 },
            readers: replicas,
            unready: 0,
        }),
        ..seen(0, replicas, Lag::Known(lag))
    }
}

#[test]
fn what_a_rebalance_has_left_behind_brings_no_rung_back() {
    let policy = sms();
    let mut memory = Memory::with_pod_rate(Some(200.0));
    // 100 a second, which four pods write eight times over.
    for quarter in 0..120_i64 {
        let decision = decide(
            &policy,
            &flowing(250 * quarter as u64, 4, 25 * quarter, 25 * quarter),
            &mut memory,
        );
        assert_eq!(decision.wanted, 4);
    }
    let mut committed = 25 * 120;
    let mut looks = |from: i64, quarters: i64, rebalancing: bool, written: i64, more: i64| {
        let look = |quarter: i64| {
            let produced = 25 * quarter;
            committed = (committed + written).min(produced);
            let mut seen = flowing(250 * quarter as u64, 4, produced + more, committed);
            seen.rebalancing = rebalancing.then(|| Duration::from_millis(250 * (quarter - from) as u64));
            decide(&policy, &seen, &mut memory)
        };
        (from..from + quarters).map(look).map(|made| made.wanted).max()
    };
    assert_eq!(
        looks(120, 24, true, 0, 0),
        Some(4),
        "600 wait after six seconds without a reader"
    );
    assert_eq!(looks(144, 8, false, 200, 0), Some(4), "they are being written");
    assert_eq!(
        looks(152, 2, false, 0, 5_000),
        Some(16),
        "more than that is another matter"
    );
}

#[test]
fn a_rate_from_a_bad_time_is_tried_out_once_when_nothing_has_waited_for_an_hour() {
    let policy = sms();
    let mut memory = Memory::with_pod_rate(Some(1.7));
    let mut changes = vec![];
    let looks = 4 * 3 * 3_600_i64;
    for quarter in 0..looks {
        let produced = 5 * quarter;
        // They stay, as if they had come back.
        let decision = decide(
            &policy,
            &flowing(250 * quarter as u64, 12, produced, produced),
            &mut memory,
        );
        if decision.wanted != 12 {
            changes.push((quarter / 4, decision.wanted, decision.reason));
        }
    }
    assert_eq!(changes, [(3_600, 8, Reason::Probe)]);
}
