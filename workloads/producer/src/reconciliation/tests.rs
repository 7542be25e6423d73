use super::{
    MOST_HOURS, Reconciler,
    gauges::Gauges,
    page,
    report::{Findings, Messages, Reconciliation},
};
use crate::{
    kafka::ends::{Extent, Extents, TopicPartition},
    ledger::{
        Accounts, LedgerError,
        account::{Account, Range, Tally},
        message::{Place, Trace},
    },
    topics::Topics,
};
use chrono::DateTime;
use futures::{FutureExt, future::BoxFuture};
use proptest::prelude::*;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use uuid::Uuid;

const TOPIC: &str = "sms_batched";

fn topics() -> Topics {
    Topics::new(vec![TOPIC.to_owned()], "", None).unwrap()
}

/// A reader that began at `first` and is at `next`, and read every message in between once.
fn account(partition: i32, first: i64, next: i64) -> Account {
    let read = next - first;
    Account {
        topic: TOPIC.to_owned(),
        topic_id: Uuid::from_u128(1),
        partition,
        group: "a".to_owned(),
        first,
        next,
        moved_back: 0,
        updated_at: DateTime::from_timestamp(1_000, 0).unwrap(),
        all: Tally {
            messages: read,
            records: read,
            stored: read,
            ..Tally::default()
        },
        hours: vec![],
    }
}

fn report(accounts: Vec<Account>, extents: &[(i32, i64, i64)]) -> Reconciliation {
    let extents = extents
        .iter()
        .map(|(partition, start, end)| {
            let (start, end) = (*start, *end);
            ((TOPIC.to_owned(), *partition), Extent { start, end })
        })
        .collect();
    let findings = Findings {
        accounts,
        partitions: HashMap::from([(TOPIC.to_owned(), 1)]),
        extents,
    };
    findings.report(&topics(), 0, DateTime::UNIX_EPOCH)
}

fn messages(report: &Reconciliation) -> Messages {
    report.sources[0].messages
}

#[test]
fn what_kafka_deleted_unread_is_expired_before_the_reader_notes_it() {
    let report = report(vec![account(0, 2, 10)], &[(0, 13, 20)]);
    assert_eq!(
        messages(&report),
        Messages {
            accepted: Some(18),
            settled: 8,
            expired: 3,
            absent: 0,
            in_flight: Some(7),
            difference: 0,
        }
    );
    assert!(report.balanced);
}

#[test]
fn offsets_that_are_read_once_more_are_counted_once() {
    let mut rewound = account(0, 0, 10);
    // Read to 10, taken back to 4, and read to 6 again.
    (rewound.next, rewound.moved_back, rewound.all.messages) = (6, 6, 12);
    let report = report(vec![rewound], &[(0, 0, 10)]);
    let messages = messages(&report);
    assert_eq!(
        (messages.settled, messages.in_flight, messages.difference),
        (6, Some(4), 0)
    );
}

#[test]
fn what_is_missing_and_what_is_counted_twice_is_a_difference() {
    let mut missing = account(0, 0, 10);
    missing.all.messages -= 1;
    let found = report(vec![missing], &[(0, 0, 10)]);
    assert_eq!((messages(&found).difference, found.balanced), (1, false));

    let cut = report(vec![account(0, 0, 10)], &[(0, 0, 7)]);
    assert_eq!((messages(&cut).difference, messages(&cut).in_flight), (-3, Some(0)));

    let mut records = account(0, 0, 10);
    records.all.stored += 2;
    let found = report(vec![records], &[(0, 0, 10)]);
    assert_eq!((messages(&found).difference, found.balanced), (0, false));
    assert_eq!(found.sources[0].records.difference, -2);
}

#[test]
fn without_kafka_the_ledger_is_checked_all_the_same() {
    let mut wrong = account(0, 0, 10);
    wrong.all.messages += 4;
    let found = report(vec![wrong], &[]);
    assert_eq!((found.complete, found.balanced), (false, false));
    let messages = messages(&found);
    assert_eq!(
        (messages.accepted, messages.in_flight, messages.difference),
        (None, None, -4)
    );
}

#[test]
fn a_topic_that_was_made_again_and_a_group_that_left_do_not_count() {
    let mut old = account(0, 0, 500);
    old.topic_id = Uuid::from_u128(9);
    old.updated_at = DateTime::UNIX_EPOCH;
    let mut left = account(0, 0, 3);
    left.group = "b".to_owned();
    left.updated_at = DateTime::from_timestamp(999, 0).unwrap();
    let found = report(vec![old, left, account(0, 0, 6)], &[(0, 0, 10)]);
    assert_eq!((messages(&found).settled, messages(&found).in_flight), (6, Some(4)));
    assert_eq!(found.sources[0].group.as_deref(), Some("a"));
    assert_eq!(found.sources[0].other_groups, ["b"]);
    assert!(found.balanced);
}

#[test]
fn hours_are_summed_over_partitions() {
    let at = |hour: i64| DateTime::from_timestamp(3_600 * hour, 0).unwrap();
    let tally = Tally {
        messages: 1,
        records: 2,
        stored: 2,
        ..Tally::default()
    };
    let (mut one, mut two) = (account(0, 0, 10), account(1, 0, 10));
    one.hours = vec![(at(1), tally), (at(3), tally)];
    two.hours = vec![(at(2), tally), (at(3), tally)];
    let found = report(vec![one, two], &[(0, 0, 10), (1, 0, 10)]);
    let hours: Vec<_> = found.sources[0]
        .by_hour
        .iter()
        .map(|hour| (hour.hour, hour.messages, hour.records.stored))
        .collect();
    assert_eq!(hours, [(at(1), 1, 2), (at(2), 1, 2), (at(3), 2, 4)]);
}

#[test]
fn gauges_do_not_let_differences_make_up_for_each_other() {
    let (mut less, mut more) = (account(0, 0, 10), account(1, 0, 10));
    less.all.messages -= 2;
    more.all.messages += 2;
    let gauges = Gauges::register().unwrap();
    gauges.show(&report(vec![less, more], &[(0, 0, 12), (1, 0, 10)]));
    let text = String::from_utf8(runtime::metrics::text().unwrap()).unwrap();
    for line in [
        r#"syncpipeline_reconciliation_messages{outcome="settled",source="sms"} 20"#,
        r#"syncpipeline_reconciliation_messages{outcome="in_flight",source="sms"} 2"#,
        r#"syncpipeline_reconciliation_messages{outcome="unaccounted",source="sms"} 4"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    gauges.forget();
    let text = String::from_utf8(runtime::metrics::text().unwrap()).unwrap();
    assert!(!text.contains("syncpipeline_reconciliation_messages{"), "{text}");
}

/// Counts how often it is asked.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Accounts for Counted {
    fn message(&self, _: Place) -> BoxFuture<'_, Result<Trace, LedgerError>> {
        async { Ok(Trace::default()) }.boxed()
    }

    fn accounts(&self, _: Range) -> BoxFuture<'_, Result<Vec<Account>, LedgerError>> {
        self.0.fetch_add(1, Ordering::AcqRel);
        async { Ok(vec![account(0, 0, 10)]) }.boxed()
    }
}

impl Extents for Counted {
    fn cluster(&self) -> Option<Arc<str>> {
        Some("c".into())
    }

    fn partitions(&self, _: &str) -> Option<i32> {
        Some(1)
    }

    fn extents(&self, partitions: Vec<TopicPartition>) -> BoxFuture<'_, HashMap<TopicPartition, Extent>> {
        let extent = Extent { start: 0, end: 10 };
        let extents = partitions.into_iter().map(|partition| (partition, extent)).collect();
        async move { extents }.boxed()
    }
}

#[tokio::test]
async fn many_who_ask_at_once_are_told_the_same() {
    let counted = Arc::new(Counted::default());
    let reconciler = Reconciler::new(counted.clone(), counted.clone(), topics());
    let asked = futures::future::join_all((0..50).map(|_| reconciler.report(24))).await;
    assert!(asked.into_iter().all(|report| report.unwrap().balanced));
    assert_eq!(counted.0.load(Ordering::Acquire), 1);
    for hours in 1..=MOST_HOURS {
        assert_eq!(reconciler.report(hours).await.unwrap().hours, hours);
    }
    assert_eq!(counted.0.load(Ordering::Acquire), 1, "whatever hours are asked for");
}

#[tokio::test]
async fn the_totals_do_not_wait_for_those_who_ask_for_hours() {
    let counted = Arc::new(Counted::default());
    let reconciler = Reconciler::new(counted.clone(), counted.clone(), topics());
    let _asking = reconciler.last.lock().await;
    let totals = tokio::time::timeout(super::TIMEOUT / 2, reconciler.totals()).await;
    assert!(totals.unwrap().unwrap().balanced);
}

#[test]
fn only_the_hours_that_are_asked_for_are_shown() {
    let at = |hour: i64| DateTime::from_timestamp(3_600 * hour, 0).unwrap();
    let mut read = account(0, 0, 10);
    read.hours = (1..=9).map(|hour| (at(hour), Tally::default())).collect();
    let mut found = report(vec![read], &[(0, 0, 10)]);
    found.at = DateTime::from_timestamp(3_600 * 9 + 1_800, 0).unwrap();
    let shown = found.of_last(3);
    assert_eq!(shown.hours, 3);
    for hours in [&shown.sources[0].by_hour, &shown.sources[0].partitions[0].by_hour] {
        let hours: Vec<_> = hours.iter().map(|hour| hour.hour).collect();
        assert_eq!(hours, [at(7), at(8), at(9)]);
    }
}

proptest! {
    /// Whatever a reader does that keeps its books, and however far Kafka is: nothing is missing.
    #[test]
    fn kept_books_balance(
        first in 0..1_000_i64,
        read in 0..1_000_i64,
        back in 0..1_000_i64,
        expired in 0..100_i64,
        absent in 0..100_i64,
        waiting in 0..1_000_i64,
        start in 0..4_000_i64,
    ) {
        let mut account = account(0, first, first);
        let back = back.min(read + expired + absent);
        account.moved_back = back;
        account.next = first + read + expired + absent - back;
        account.all = Tally { messages: read, expired, absent, ..Tally::default() };
        let end = account.next + waiting;
        let found = report(vec![account], &[(0, start.min(end), end)]);
        let messages = messages(&found);
        prop_assert_eq!(messages.difference, 0);
        let sum = messages.settled + messages.expired + messages.absent + messages.in_flight.unwrap();
        prop_assert_eq!(messages.accepted.unwrap(), sum);
        prop_assert!(messages.in_flight.unwrap() >= 0);
    }

    #[test]
    fn whatever_a_group_is_called_the_page_stays_a_page(group in "\\PC{0,40}") {
        let mut account = account(0, 0, 10);
        account.group = group;
        let page = page::render(&report(vec![account], &[(0, 0, 10)]));
        let tags: Vec<&str> = page.split('<').skip(1).collect();
        let known = ["!doctype", "html", "head", "meta", "title", "style", "body", "h1", "h2", "small", "p", "table",
            "tr", "th", "td"];
        for tag in tags {
            let name: String = tag.trim_start_matches('/').chars().take_while(|c| c.is_alphanumeric() || *c == '!').collect();
            prop_assert!(known.contains(&name.as_str()), "<{} in {}", name, page);
        }
    }
}
