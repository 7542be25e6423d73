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
                unready: 0,
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

#[test]
fn where_nothing_but_a_growing_lag_is_known_there_are_twice_as_many_after_a_while() {
    let (policy, mut memory) = (policy(1), Memory::default());
    let mut replicas = 1;
    let mut changes = vec![];
    for second in 0..40_u64 {
        // For half of the time more and more waits, then it stays as it is.
        let lag = Lag::AtLeast(1_000 + 500 * second.min(25) as i64);
        let seen = Observation {
            now: Duration::from_secs(second),
            replicas,
            lags: vec![("topic".to_owned(), lag)],
            flow: None,
            ready: replicas,
            rebalancing: None,
            manual: None,
            floors: vec![],
        };
        let decision = decide(&policy, &seen, &mut memory);
        if decision.wanted != replicas {
            changes.push((second, decision.wanted));
            replicas = decision.wanted;
        }
    }
    assert_eq!(changes, [(10, 2), (20, 4), (30, 8)]);
}
