//! What the demo claims at its end.

use contract::Source;
use e2e::kafka::Topic;
use e2e::ladder::Ladder;
use e2e::pipeline::Names;
use e2e::reaction::median;
use e2e::recorder::Recording;
use e2e::verdict::Verdict;
use generator::tally::Progress;
use std::collections::BTreeMap;

/// Defaults of the design: copies and copies in sync (never more than brokers in `dev`), and how long messages and
/// dead letters are kept.
const COPIES: (usize, usize) = (3, 2);
const RETENTION_HOURS: u64 = 168;
const DEAD_LETTER_HOURS: u64 = 14 * 24;

/// What the demo has seen.
pub(crate) struct Findings<'a> {
    pub(crate) names: &'a Names,
    pub(crate) users: i64,
    pub(crate) brokers: usize,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) recording: &'a Recording,
    pub(crate) traffic: &'a Progress,
    pub(crate) verdict: &'a Verdict,
}

/// Prints every check; answers whether all hold.
pub(crate) fn report(findings: &Findings<'_>) -> bool {
    let mut checks = vec![("topics as specified".to_owned(), topics(findings))];
    for consumer in findings.names.topics_by_consumer().keys() {
        checks.push((format!("{consumer}: up its rungs and back"), climb(findings, consumer)));
    }
    checks.push(("every upload answered".to_owned(), uploads(findings.traffic)));
    checks.push((
        "every receipt in PostgreSQL and MongoDB, once".to_owned(),
        stored(findings.verdict),
    ));
    println!();
    let mut good = true;
    for (claim, outcome) in checks {
        good &= outcome.is_ok();
        match outcome {
            Ok(detail) => println!("✓ {claim}: {detail}"),
            Err(problem) => println!("✗ {claim}: {problem}"),
        }
    }
    if let Some(line) = reactions(findings) {
        println!("{line}");
    }
    println!("{}", if good { "The demo is green." } else { "The demo FAILED." });
    good
}

fn topics(findings: &Findings<'_>) -> Result<String, String> {
    let copies = COPIES.0.min(findings.brokers);
    for source in &findings.names.sources {
        let partitions = Source::partitions(*source) as usize;
        check_topic(
            findings,
            &findings.names.topic(*source),
            Some(partitions),
            copies,
            RETENTION_HOURS,
        )?;
        check_topic(
            findings,
            &findings.names.dead_letter_topic(*source),
            None,
            copies,
            DEAD_LETTER_HOURS,
        )?;
    }
    let count = findings.names.sources.len();
    Ok(format!(
        "{count} topics and their dead-letter topics, {copies} of {} copies",
        COPIES.0
    ))
}

fn check_topic(
    findings: &Findings<'_>,
    name: &str,
    partitions: Option<usize>,
    copies: usize,
    hours: u64,
) -> Result<(), String> {
    let topic = findings
        .topics
        .get(name)
        .ok_or_else(|| format!("there is no topic {name}"))?;
    let retention = (hours * 3_600_000).to_string();
    let in_sync = COPIES.1.min(copies).to_string();
    if let Some(wanted) = partitions.filter(|wanted| *wanted != topic.partitions) {
        return Err(format!("{name} has {} partitions, not {wanted}", topic.partitions));
    }
    if topic.copies != copies {
        return Err(format!("{name} has {} copies, not {copies}", topic.copies));
    }
    if topic.retention.as_ref() != Some(&retention) {
        return Err(format!(
            "{name} has retention.ms {:?}, not {retention}",
            topic.retention
        ));
    }
    if topic.min_in_sync.as_ref() != Some(&in_sync) {
        return Err(format!(
            "{name} has min.insync.replicas {:?}, not {in_sync}",
            topic.min_in_sync
        ));
    }
    Ok(())
}

fn climb(findings: &Findings<'_>, consumer: &str) -> Result<String, String> {
    let ladder = Ladder::of(consumer, findings.users).ok_or("the ladder has no row for it")?;
    let history = findings.recording.history(consumer);
    let shown = history.iter().map(i32::to_string).collect::<Vec<_>>().join(" → ");
    match ladder.judge(&history) {
        Ok(_) => Ok(shown),
        Err(problem) => Err(format!("{problem} (seen: {shown})")),
    }
}

fn uploads(traffic: &Progress) -> Result<String, String> {
    let total = &traffic.total;
    if total.accepted == 0 {
        return Err("none was accepted".to_owned());
    }
    if !traffic.finished || total.refused + total.unknown + traffic.in_flight > 0 {
        return Err(format!(
            "{} refused, {} unknown, {} in flight; {}",
            total.refused,
            total.unknown,
            traffic.in_flight,
            traffic.refusals.join("; ")
        ));
    }
    let mut text = format!(
        "{} uploads with {} records, {} retries",
        total.accepted, total.records, total.retried
    );
    if traffic.withheld > 0 {
        text.push_str(&format!(
            "; {} more were due while too many waited for an answer",
            traffic.withheld
        ));
    }
    for (source, reason) in &traffic.skipped {
        text.push_str(&format!("; {source} skipped: {reason}"));
    }
    Ok(text)
}

fn stored(verdict: &Verdict) -> Result<String, String> {
    if verdict.lost() == 0 && verdict.twice() == 0 && verdict.dead_lettered == 0 && verdict.receipts > 0 {
        Ok(verdict.to_string())
    } else {
        Err(verdict.to_string())
    }
}

/// Not a check of the demo: the figure depends on the machine.
fn reactions(findings: &Findings<'_>) -> Option<String> {
    let reactions = findings.recording.reactions(findings.names, findings.users);
    let times: Vec<_> = reactions.iter().filter_map(|(_, reaction)| reaction.took).collect();
    let (count, slowest) = (times.len(), times.iter().max().copied()?);
    let median = median(times)?;
    Some(format!(
        "Measured: new replica count {:.2} s after the lag had been above a threshold for one commit interval (median of {count}; slowest {:.2} s)",
        median.as_secs_f64(),
        slowest.as_secs_f64()
    ))
}
