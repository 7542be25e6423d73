//! Rows of a ladder of one's own.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ReplicaBounds;

/// Column of the ladder.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum LadderColumn {
    Producer,
    Sms,
    Events,
    Common,
    Insights,
    SmsExtraction,
}

impl LadderColumn {
    /// The name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            LadderColumn::Producer => "producer",
            LadderColumn::Sms => "sms",
            LadderColumn::Events => "events",
            LadderColumn::Common => "common",
            LadderColumn::Insights => "insights",
            LadderColumn::SmsExtraction => "smsExtraction",
        }
    }
}

/// What a pipeline of so many users needs. A column may be left out where no component takes its replicas from it.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LadderRow {
    /// Daily active users up to which the row holds.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub users: i64,
    /// Least and most replicas of producers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<ReplicaBounds>,
    /// Of the reader of sms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms: Option<ReplicaBounds>,
    /// Of the reader of events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<ReplicaBounds>,
    /// Of the reader of the other topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common: Option<ReplicaBounds>,
    /// Of the Insights API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insights: Option<ReplicaBounds>,
    /// Of the SMS Extraction API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms_extraction: Option<ReplicaBounds>,
    /// Recommended Kafka brokers: fewer than `min` are reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokers: Option<ReplicaBounds>,
}

impl LadderRow {
    /// The columns that are written.
    pub fn columns(&self) -> impl Iterator<Item = (LadderColumn, ReplicaBounds)> {
        [
            (LadderColumn::Producer, self.producer),
            (LadderColumn::Sms, self.sms),
            (LadderColumn::Events, self.events),
            (LadderColumn::Common, self.common),
            (LadderColumn::Insights, self.insights),
            (LadderColumn::SmsExtraction, self.sms_extraction),
        ]
        .into_iter()
        .filter_map(|(column, replicas)| Some((column, replicas?)))
    }
}
