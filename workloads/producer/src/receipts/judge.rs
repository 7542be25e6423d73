//! From what a message has left to what is said about it. Pure.

use super::answer::{DeadLetter, Others, Records, State};
use crate::ledger::message::{Letter, Reader, Trace};
use contract::Source;
use std::collections::BTreeSet;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker<'a> {
    /// Somebody, where no API keys are asked for.
    Anybody,
    /// Somebody with an API key of this tenant.
    Of(&'a str),
}

/// How far the message at `offset` has come. `start` is the first offset that Kafka still holds, where that is known.
pub fn state(trace: &Trace, offset: i64, start: Option<i64>) -> State {
    // The records of a message and its dead letters are written in one transaction: one of them stands for all, also
    // while its partition is read once more.
    if !trace.rows.is_empty() || !trace.letters.is_empty() {
        return State::Settled;
    }
    let mut past = trace.readers.iter().filter(|reader| offset < reader.next).peekable();
    if past.peek().is_none() {
        return State::Waiting;
    }
    let mut within = past.filter(|reader| offset >= reader.first).peekable();
    if within.peek().is_none() {
        return State::Unknown;
    }
    let held = start.is_some_and(|start| start <= offset);
    let mut expired = true;
    for reader in within {
        // What Kafka still holds, it held when it was read.
        if held || reader.expired == 0 {
            return State::Settled;
        }
        expired &= reader.messages == 0;
    }
    match expired {
        true => State::Expired,
        false => State::Unknown,
    }
}

/// Whether [`state`] depends on what Kafka still holds.
pub fn depends_on_start(trace: &Trace, offset: i64) -> bool {
    state(trace, offset, None) != state(trace, offset, Some(offset))
}

/// Whether the message is known to be of another tenant than the asker's.
pub fn is_of_another(trace: &Trace, asker: Asker) -> bool {
    match asker {
        Asker::Anybody => false,
        Asker::Of(tenant) => trace.rows.iter().any(|row| row.tenant != tenant),
    }
}

/// Where the records of a settled message are.
pub fn records(source: Source, trace: &Trace, offset: i64, asker: Asker) -> Records {
    let withheld = asker != Asker::Anybody && trace.rows.is_empty() && !trace.letters.is_empty();
    let letters: &[Letter] = match withheld {
        true => &[],
        false => &trace.letters,
    };
    let postgresql: Vec<i32> = trace.rows.iter().map(|row| row.index).collect();
    let found = trace.rows.iter().map(|row| Some(row.index));
    let found: BTreeSet<Option<i32>> = found.chain(letters.iter().map(|letter| letter.index)).collect();
    Records {
        postgresql,
        mongodb: trace.readers.iter().any(|reader| is_in_mongodb(reader, offset)),
        dead_letters: letters
            .iter()
            .map(|letter| DeadLetter {
                index: letter.index,
                class: letter.class.clone(),
                error: letter.error.clone(),
            })
            .collect(),
        others: match withheld {
            true => Others {
                indexes: vec![],
                more: true,
            },
            false => others(source, &found),
        },
        withheld,
    }
}

/// Whether what is stored of the message at `offset` is in MongoDB by this reader.
fn is_in_mongodb(reader: &Reader, offset: i64) -> bool {
    let read = (reader.first..reader.next).contains(&offset);
    read && reader.mongodb_since.is_some_and(|since| offset >= since)
}

/// `found` has the indexes with a row or a dead letter, and nothing for a dead letter of the whole message.
fn others(source: Source, found: &BTreeSet<Option<i32>>) -> Others {
    if found.contains(&None) {
        return Others::default();
    }
    let end = match source.batched() {
        // One record a message.
        false => 1,
        true => found.iter().flatten().max().copied().unwrap_or_default(),
    };
    Others {
        indexes: (0..end).filter(|index| !found.contains(&Some(*index))).collect(),
        more: source.batched(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::message::Stored;

    fn reader(first: i64, next: i64) -> Reader {
        Reader {
            first,
            next,
            mongodb_since: Some(first),
            messages: next - first,
            expired: 0,
        }
    }

    fn read_by(readers: &[Reader]) -> Trace {
        Trace {
            readers: readers.to_vec(),
            ..Trace::default()
        }
    }

    fn row(index: i32) -> Stored {
        Stored {
            index,
            tenant: "acme".to_owned(),
        }
    }

    fn letter(index: Option<i32>) -> Letter {
        Letter {
            index,
            class: "data".to_owned(),
            error: "too large".to_owned(),
        }
    }

    #[test]
    fn a_message_waits_until_a_reader_is_past_it() {
        assert_eq!(state(&Trace::default(), 7, None), State::Waiting);
        assert_eq!(state(&read_by(&[reader(0, 7)]), 7, None), State::Waiting);
        assert_eq!(state(&read_by(&[reader(0, 8)]), 7, None), State::Settled);
        let two = read_by(&[reader(0, 3), reader(0, 8)]);
        assert_eq!(state(&two, 7, None), State::Settled, "one group is enough");
    }

    #[test]
    fn what_has_left_something_is_settled_also_while_it_is_read_once_more() {
        let mut trace = read_by(&[reader(0, 2)]);
        trace.rows = vec![row(0)];
        assert_eq!(state(&trace, 7, None), State::Settled);
        trace.rows = vec![];
        trace.letters = vec![letter(None)];
        assert_eq!(state(&trace, 7, None), State::Settled);
    }

    #[test]
    fn what_lies_before_the_accounts_cannot_be_told() {
        assert_eq!(state(&read_by(&[reader(8, 20)]), 7, Some(0)), State::Unknown);
        let two = read_by(&[reader(8, 20), reader(0, 20)]);
        assert_eq!(state(&two, 7, Some(0)), State::Settled);
    }

    #[test]
    fn expired_is_said_only_where_it_is_certain() {
        let some = |messages, expired| {
            read_by(&[Reader {
                messages,
                expired,
                ..reader(0, 10)
            }])
        };
        assert_eq!(state(&some(0, 10), 7, Some(10)), State::Expired);
        assert_eq!(state(&some(4, 6), 7, Some(10)), State::Unknown);
        assert_eq!(state(&some(4, 6), 7, None), State::Unknown);
        assert_eq!(state(&some(4, 6), 7, Some(6)), State::Settled, "Kafka still has it");
        assert_eq!(state(&some(10, 0), 7, Some(10)), State::Settled);
        for (trace, depends) in [(some(4, 6), true), (some(10, 0), false), (Trace::default(), false)] {
            assert_eq!(depends_on_start(&trace, 7), depends);
        }
    }

    #[test]
    fn records_that_left_nothing_are_named_as_far_as_they_are_known() {
        let mut trace = read_by(&[reader(0, 8)]);
        trace.rows = vec![row(1), row(4)];
        trace.letters = vec![letter(Some(2))];
        let told = records(Source::Sms, &trace, 7, Asker::Anybody);
        assert_eq!(told.postgresql, [1, 4]);
        assert!(told.mongodb);
        assert_eq!(told.dead_letters.len(), 1);
        assert_eq!(
            told.others,
            Others {
                indexes: vec![0, 3],
                more: true
            }
        );

        trace.rows = vec![];
        trace.letters = vec![letter(None)];
        let told = records(Source::Sms, &trace, 7, Asker::Anybody);
        assert_eq!(told.others, Others::default(), "the whole message");

        let nothing = read_by(&[reader(0, 8)]);
        let told = records(Source::Events, &nothing, 7, Asker::Anybody);
        assert_eq!(
            told.others,
            Others {
                indexes: vec![0],
                more: false
            },
            "an event is a message of its own"
        );
        let told = records(Source::Sms, &nothing, 7, Asker::Anybody);
        assert_eq!(
            told.others,
            Others {
                indexes: vec![],
                more: true
            }
        );
    }

    #[test]
    fn mongodb_has_what_a_reader_with_it_is_past() {
        let since = |mongodb_since| Reader {
            mongodb_since,
            ..reader(0, 8)
        };
        let without = since(None);
        let told = |readers: &[Reader]| records(Source::Sms, &read_by(readers), 7, Asker::Anybody).mongodb;
        assert!(!told(&[without]));
        assert!(!told(&[without, reader(0, 7)]), "which has not come to it");
        assert!(told(&[without, reader(0, 8)]));
        assert!(!told(&[since(Some(8))]), "it was read before there was a MongoDB");
        assert!(told(&[since(Some(7))]));
    }

    #[test]
    fn a_tenant_sees_nothing_of_others_and_no_letters_of_nobody() {
        let mut trace = read_by(&[reader(0, 8)]);
        trace.rows = vec![row(0)];
        trace.letters = vec![letter(Some(1))];
        assert!(!is_of_another(&trace, Asker::Of("acme")));
        assert!(is_of_another(&trace, Asker::Of("other")));
        assert!(!is_of_another(&trace, Asker::Anybody));
        let told = records(Source::Sms, &trace, 7, Asker::Of("acme"));
        assert_eq!((told.dead_letters.len(), told.withheld), (1, false));

        trace.rows = vec![];
        assert!(!is_of_another(&trace, Asker::Of("other")));
        let told = records(Source::Sms, &trace, 7, Asker::Of("acme"));
        assert_eq!((told.dead_letters.len(), told.withheld), (0, true));
        assert_eq!(
            told.others,
            Others {
                indexes: vec![],
                more: true
            }
        );
    }
}
