//! Which dead letters are meant.

use super::letter::Letter;
use crate::{moment, topic::UnknownTopic};
use chrono::{DateTime, Utc};
use clap::Args;
use contract::header::dead_letter_topic;

/// All, unless something is said; with more than one thing said, those of which all of it is true.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Of this topic, by its own name or that of its dead letters; may be given more than once
    #[arg(long)]
    pub topic: Vec<String>,
    /// Of this class: decode, validation or data
    #[arg(long, value_parser = ["decode", "validation", "data"])]
    pub class: Option<String>,
    /// Whose error contains this
    #[arg(long)]
    pub error: Option<String>,
    /// Written at this time or later: 2026-11-20T00:00:00Z
    #[arg(long, value_parser = moment::parse)]
    pub since: Option<DateTime<Utc>>,
    /// Written before this time: 2026-11-20T00:00:00Z
    #[arg(long, value_parser = moment::parse)]
    pub until: Option<DateTime<Utc>>,
    /// No more than so many
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

impl Filter {
    /// Whether dead letters of this topic are meant.
    pub fn means(&self, topic: &str) -> bool {
        self.topic.is_empty() || self.topic.iter().any(|meant| is_named(meant, topic))
    }

    /// Refuses topics that are none of these, of which there could only be no letters.
    pub fn ensure_known(&self, topics: &[String]) -> Result<(), UnknownTopic> {
        UnknownTopic::look_for(&self.topic, topics, is_named)
    }

    /// Whether this dead letter is meant.
    pub fn admits(&self, letter: &Letter) -> bool {
        let written = |is: &dyn Fn(DateTime<Utc>) -> bool| letter.written.is_none_or(is);
        self.means(&letter.origin.topic)
            && self.class.as_ref().is_none_or(|class| *class == letter.class)
            && self.error.as_ref().is_none_or(|text| letter.error.contains(text))
            && self.since.is_none_or(|since| written(&|at| at >= since))
            && self.until.is_none_or(|until| written(&|at| at < until))
    }
}

fn is_named(meant: &str, topic: &str) -> bool {
    meant == topic || meant == dead_letter_topic(topic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::letter::tests::letter;

    #[test]
    fn a_topic_is_named_as_the_list_shows_it_and_must_be_known() {
        let filter = |topic: &str| Filter {
            topic: vec![topic.to_owned()],
            ..Filter::default()
        };
        let known = ["sms_batched".to_owned(), "events_log".to_owned()];
        for name in ["events_log", "events_log.dlq"] {
            assert!(
                filter(name).means("events_log") && !filter(name).means("sms_batched"),
                "{name}"
            );
            assert_eq!(filter(name).ensure_known(&known), Ok(()));
        }
        assert_eq!(
            filter("events").ensure_known(&known).unwrap_err().to_string(),
            "topic events is none of this consumer's; they are sms_batched, events_log"
        );
    }

    fn admits(change: impl FnOnce(&mut Filter)) -> bool {
        let mut filter = Filter::default();
        change(&mut filter);
        filter.admits(&letter())
    }

    #[test]
    fn nothing_said_means_all_and_everything_said_must_be_true() {
        let at = letter().written.unwrap();
        assert!(admits(|_| ()));
        assert!(admits(
            |filter| filter.topic = vec!["other".to_owned(), "events_log".to_owned()]
        ));
        assert!(!admits(|filter| filter.topic = vec!["other".to_owned()]));
        assert!(admits(|filter| filter.class = Some("validation".to_owned())));
        assert!(!admits(|filter| filter.class = Some("data".to_owned())));
        assert!(admits(|filter| filter.error = Some("is missing".to_owned())));
        assert!(!admits(|filter| filter.error = Some("too long".to_owned())));
        assert!(admits(|filter| filter.since = Some(at)));
        assert!(!admits(|filter| filter.until = Some(at)));
        assert!(!admits(|filter| {
            filter.class = Some("validation".to_owned());
            filter.until = Some(at);
        }));
    }
}
