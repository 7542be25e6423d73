//! Lost and twice.
//!
//! Kafka's topics are held against what was sent and acknowledged; the stores and the dead letters against Kafka's
//! topics; and what the consumers say of both against both.

use crate::accounts::Accounts;
use crate::load::Accepted;
use crate::messages::{Messages, Place};
use crate::stores::Stored;
use anyhow::{Context, Result, ensure};
use contract::{RecordId, Source};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use uuid::Uuid;

/// Findings of a kind that are named.
const NAMED: usize = 3;

/// Something that is done to what is stored.
type Change = fn(&mut Vec<Stored>);

/// What the verdict is over.
#[derive(Clone, Copy)]
pub(crate) struct Evidence<'a> {
    /// Every record that went out, whatever became of it.
    pub(crate) sent: &'a HashSet<(Source, RecordId)>,
    /// Good records that went out along with bad ones.
    pub(crate) along: &'a HashSet<(Source, RecordId)>,
    pub(crate) receipts: &'a [Accepted],
    pub(crate) topics: &'a BTreeMap<Source, Uuid>,
    pub(crate) messages: &'a Messages,
    pub(crate) rows: &'a BTreeMap<Source, Vec<Stored>>,
    pub(crate) documents: &'a BTreeMap<Source, Vec<Stored>>,
    pub(crate) accounts: &'a Accounts,
}

/// Findings by kind; none where all is well.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    findings: BTreeMap<String, Vec<String>>,
    receipts: usize,
    records: usize,
    letters: usize,
    letters_again: u64,
}

impl Evidence<'_> {
    /// Takes away or adds one thing at a time, and expects that it is noticed: a verdict that cannot be bad says
    /// nothing.
    pub(crate) fn prove_that_it_could_fail(&self) -> Result<()> {
        for (store, stored) in [("PostgreSQL", self.rows), ("MongoDB", self.documents)] {
            let source = stored
                .iter()
                .find(|(_, all)| !all.is_empty())
                .map(|(source, _)| *source);
            let source = source.context("nothing is stored")?;
            let changes: [(&str, Change); 3] = [
                ("lost", |all| {
                    all.pop();
                }),
                ("twice", |all| all.extend(all.last().copied())),
                ("with other content", |all| {
                    all.iter_mut().take(1).for_each(|one| one.content ^= 1);
                }),
            ];
            for (kind, change) in changes {
                let mut changed = stored.clone();
                changed.entry(source).and_modify(change);
                let evidence = match store {
                    "PostgreSQL" => Evidence {
                        rows: &changed,
                        ..*self
                    },
                    _ => Evidence {
                        documents: &changed,
                        ..*self
                    },
                };
                let noticed = Verdict::of(&evidence)
                    .findings
                    .contains_key(&format!("{store}: {kind}"));
                ensure!(noticed, "a record {kind} in {store} would not be noticed");
            }
        }
        let unsent = Evidence {
            sent: &HashSet::new(),
            ..*self
        };
        ensure!(
            !Verdict::of(&unsent).is_good(),
            "a record that nobody sent would not be noticed"
        );
        let mut unaccounted = self.accounts.clone();
        let tally = unaccounted.tallies.first_mut().context("there are no accounts")?;
        tally.messages -= 1;
        let evidence = Evidence {
            accounts: &unaccounted,
            ..*self
        };
        let findings = Verdict::of(&evidence).findings;
        for kind in ["accounts: offsets", "accounts: an hour"] {
            ensure!(
                findings.contains_key(kind),
                "{kind} that do not agree would not be noticed"
            );
        }
        Ok(())
    }
}

impl Verdict {
    pub(crate) fn of(evidence: &Evidence<'_>) -> Verdict {
        let messages = evidence.messages;
        let mut verdict = Verdict {
            receipts: evidence.receipts.len(),
            records: messages.good.len(),
            letters: messages.letters.len(),
            letters_again: messages.letter_ids.values().map(|times| times - 1).sum(),
            ..Verdict::default()
        };
        messages.wrong.iter().for_each(|wrong| verdict.add("no sense", wrong));
        verdict.receipts_in_kafka(evidence);
        for id in messages.good.keys() {
            if !evidence.sent.contains(id) && !evidence.along.contains(id) {
                verdict.add("in Kafka and never sent", &named(*id));
            }
        }
        verdict.store("PostgreSQL", evidence.rows, evidence);
        verdict.store("MongoDB", evidence.documents, evidence);
        verdict.dead_letters(messages);
        for (kind, finding) in evidence.accounts.findings(messages, evidence.rows) {
            verdict.add(&format!("accounts: {kind}"), &finding);
        }
        verdict
    }

    pub(crate) fn is_good(&self) -> bool {
        self.findings.is_empty()
    }

    fn add(&mut self, kind: &str, finding: &str) {
        self.findings
            .entry(kind.to_owned())
            .or_default()
            .push(finding.to_owned());
    }

    fn receipts_in_kafka(&mut self, evidence: &Evidence<'_>) {
        for receipt in evidence.receipts {
            let place = (receipt.partition, receipt.offset, receipt.index);
            let found = evidence.messages.good.get(&(receipt.source, receipt.record_id));
            if !found.is_some_and(|deliveries| deliveries.places.contains(&place)) {
                self.add(
                    "acknowledged and not in Kafka",
                    &format!("{} at {place:?}", named((receipt.source, receipt.record_id))),
                );
            }
        }
    }

    /// A store has every good record once, as it was sent, from one of its deliveries.
    fn store(&mut self, store: &str, stored: &BTreeMap<Source, Vec<Stored>>, evidence: &Evidence<'_>) {
        let good = &evidence.messages.good;
        let mut found: HashMap<(Source, RecordId), u32> = HashMap::with_capacity(good.len());
        let mut deliveries: HashSet<(Source, Place)> = HashSet::with_capacity(good.len());
        for (source, stored) in stored
            .iter()
            .flat_map(|(source, all)| all.iter().map(move |one| (*source, one)))
        {
            let id = (source, stored.record_id);
            *found.entry(id).or_default() += 1;
            if !deliveries.insert((source, stored.place)) {
                let delivery = format!("{source} at {:?}", stored.place);
                self.add(&format!("{store}: a delivery twice"), &delivery);
            }
            let Some(sent) = good.get(&id) else {
                self.add(&format!("{store}: not in Kafka"), &named(id));
                continue;
            };
            if stored.topic != evidence.topics[&source] || !sent.places.contains(&stored.place) {
                self.add(&format!("{store}: from another place"), &named(id));
            }
            if stored.content != sent.content {
                self.add(&format!("{store}: with other content"), &named(id));
            }
        }
        for (id, times) in &found {
            if *times > 1 {
                self.add(&format!("{store}: twice"), &named(*id));
            }
        }
        for id in good.keys().filter(|id| !found.contains_key(id)) {
            self.add(&format!("{store}: lost"), &named(*id));
        }
    }

    /// One letter for each grave, and no other.
    fn dead_letters(&mut self, messages: &Messages) {
        for ((source, place), grave) in &messages.graves {
            let what = format!("{source} at {place:?}: {} {:?}", grave.class, grave.index);
            match messages.letters.get(&(*source, *place)) {
                None => self.add("dead letters: lost", &what),
                Some(letter)
                    if letter.index != grave.index
                        || letter.class != grave.class
                        || letter.content != grave.content =>
                {
                    self.add(
                        "dead letters: other than the message",
                        &format!("{what}, and not {letter:?}"),
                    );
                }
                Some(_) => {}
            }
        }
        for ((source, place), letter) in &messages.letters {
            if !messages.graves.contains_key(&(*source, *place)) {
                self.add(
                    "dead letters: of good records",
                    &format!("{source} at {place:?}: {}", letter.class),
                );
            }
        }
    }
}

fn named((source, id): (Source, RecordId)) -> String {
    format!("{source} record {id}")
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict {
            receipts,
            records,
            letters,
            letters_again,
            findings,
        } = self;
        write!(
            f,
            "{receipts} receipts, {records} records in Kafka and both stores, {letters} dead letters ({letters_again} sent again)"
        )?;
        if findings.is_empty() {
            return f.write_str(": 0 lost, 0 twice");
        }
        for (kind, found) in findings {
            let named = found.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
            write!(f, "\n  {kind}: {}, for example {named}", found.len())?;
        }
        Ok(())
    }
}
