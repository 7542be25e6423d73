//! The five kinds of synced data.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A kind of synced data. Its name stands in routes, tables, collections and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Text messages.
    Sms,
    /// Application events.
    Events,
    /// Installed applications and device facts.
    AppsAndDevice,
    /// Address book entries.
    Contacts,
    /// Calls.
    CallLogs,
}

/// How the rows of a source are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Each record is a fact of its own.
    Append,
    /// A record replaces an older version of itself.
    VersionedUpsert,
}

impl Source {
    /// All sources, in the order of the design's topic table.
    pub const ALL: [Source; 5] = [
        Source::Sms,
        Source::Events,
        Source::AppsAndDevice,
        Source::Contacts,
        Source::CallLogs,
    ];

    /// Name in routes, tables, collections and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Source::Sms => "sms",
            Source::Events => "events",
            Source::AppsAndDevice => "apps_and_device",
            Source::Contacts => "contacts",
            Source::CallLogs => "call_logs",
        }
    }

    /// Default topic, without prefix.
    pub const fn topic(self) -> &'static str {
        match self {
            Source::Sms => "sms_batched",
            Source::Events => "events_log",
            Source::AppsAndDevice => "apps_and_device_batched",
            Source::Contacts => "contacts_batched",
            Source::CallLogs => "call_logs_batched",
        }
    }

    /// Default number of partitions of the topic: enough for 150–200 K daily active users.
    pub const fn partitions(self) -> i32 {
        match self {
            Source::Sms => 16,
            Source::Events => 20,
            Source::AppsAndDevice | Source::Contacts | Source::CallLogs => 10,
        }
    }

    /// Default consumer group, without prefix.
    pub const fn group(self) -> &'static str {
        match self {
            Source::Sms => "sms-consumer-group",
            Source::Events => "events-consumer-group",
            Source::AppsAndDevice | Source::Contacts | Source::CallLogs => "common-consumer-group",
        }
    }

    /// Whether one message holds a whole upload (`records`) or one record (`record`).
    pub const fn batched(self) -> bool {
        !matches!(self, Source::Events)
    }

    /// How the rows are kept.
    pub const fn storage(self) -> Storage {
        match self {
            Source::Sms | Source::Events | Source::CallLogs => Storage::Append,
            Source::AppsAndDevice | Source::Contacts => Storage::VersionedUpsert,
        }
    }

    /// Regions whose law keeps this source out, as written in `spec.region`.
    pub const fn except_regions(self) -> &'static [&'static str] {
        match self {
            Source::Contacts | Source::CallLogs => &["India"],
            _ => &[],
        }
    }

    /// The source whose records travel on `topic`, given the pipeline's topic prefix.
    pub fn of_topic(topic: &str, prefix: &str) -> Option<Source> {
        let bare = topic.strip_prefix(prefix)?;
        Source::ALL.into_iter().find(|source| source.topic() == bare)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is none of the five sources.
#[derive(Debug, thiserror::Error)]
#[error("unknown source {0:?}; sources are sms, events, apps_and_device, contacts, call_logs")]
pub struct UnknownSource(pub String);

impl FromStr for Source {
    type Err = UnknownSource;
    fn from_str(name: &str) -> Result<Self, UnknownSource> {
        Source::ALL
            .into_iter()
            .find(|source| source.name() == name)
            .ok_or_else(|| UnknownSource(name.to_owned()))
    }
}
