//! APIs that say what the stored records mean.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Component, ServiceSettings};

/// APIs that say what the stored records mean. Each of the two is there when it is written, if only as `{}`.
#[derive(Serialize, Deserialize, JsonSchema, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Insights {
    /// The Insights API: answers from both stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// The SMS Extraction API, which the Insights API asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sms_extraction: Option<Api>,
}

/// An API beside the pipeline.
#[derive(KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.replicas) || self.replicas.min > 0 || self.replicas.max == 0")
    .message("replicas.min: 0 only together with max: 0, which switches the component off"))]
pub struct Api {
    /// Its Service.
    #[serde(default)]
    pub service: ServiceSettings,
    /// What every component has.
    #[serde(flatten)]
    pub component: Component,
}
