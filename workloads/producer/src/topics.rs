//! Which sources this pod takes, and on which topic their records travel.

use contract::Source;
use std::collections::BTreeMap;

/// A topic that the producer cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// No source writes to it.
    #[error("{topic} is the topic of no source; topics are {}", known.join(", "))]
    Unknown {
        /// The topic.
        topic: String,
        /// Topics of all sources, prefix included.
        known: Vec<String>,
    },
}

/// The enabled sources with their topics.
#[derive(Debug, Clone)]
pub struct Topics {
    by_source: BTreeMap<Source, String>,
    region: Option<String>,
}

impl Topics {
    /// Finds the source of each of `enabled`, which carry `prefix` already. `region` is for the answer to a client
    /// that uploads what its region leaves out.
    pub fn new(enabled: Vec<String>, prefix: &str, region: Option<String>) -> Result<Topics, TopicError> {
        let by_source = enabled
            .into_iter()
            .map(|topic| match Source::of_topic(&topic, prefix) {
                Some(source) => Ok((source, topic)),
                None => Err(TopicError::Unknown {
                    topic,
                    known: Source::ALL
                        .iter()
                        .map(|source| format!("{prefix}{}", source.topic()))
                        .collect(),
                }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Topics { by_source, region })
    }

    /// The topic of `source`, where it is enabled.
    pub fn of(&self, source: Source) -> Option<&str> {
        self.by_source.get(&source).map(String::as_str)
    }

    /// The source whose records travel on `topic`, where it is enabled.
    pub fn source(&self, topic: &str) -> Option<Source> {
        let mut enabled = self.by_source.iter();
        enabled.find(|(_, name)| *name == topic).map(|(source, _)| *source)
    }

    /// All enabled sources with their topics.
    pub fn all(&self) -> impl Iterator<Item = (Source, &str)> {
        self.by_source.iter().map(|(source, topic)| (*source, topic.as_str()))
    }

    /// All enabled topics.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_source.values().map(String::as_str)
    }

    /// The pipeline's region.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_belongs_to_the_topic_and_not_to_the_source() {
        let topics = Topics::new(vec!["blue.sms_batched".to_owned()], "blue.", None).unwrap();
        assert_eq!(topics.of(Source::Sms), Some("blue.sms_batched"));
        assert_eq!(topics.of(Source::Events), None);
        assert_eq!(topics.source("blue.sms_batched"), Some(Source::Sms));
        assert_eq!(topics.source("sms_batched"), None);
        assert_eq!(topics.names().collect::<Vec<_>>(), ["blue.sms_batched"]);
        assert!(Topics::new(vec!["sms_batched".to_owned()], "blue.", None).is_err());
    }
}
