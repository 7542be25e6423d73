//! Keeps the trace of one reader in a ConfigMap.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::warn;

use super::line::Line;
use super::segments::Segments;
use crate::plan::naming;

/// How often it is written.
const INTERVAL: Duration = Duration::from_secs(60);
/// How long an answer of the API server may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Lines that may wait: what comes while the API server does not answer for longer is left out.
const WAITING: usize = 256;

/// Whose trace it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Namespace of the pipeline.
    pub namespace: String,
    /// Its name.
    pub pipeline: String,
    /// Name of the component.
    pub component: String,
    /// What the ConfigMap goes with.
    pub owner: OwnerReference,
}

impl Subject {
    /// Name of the ConfigMap.
    pub fn config_map(&self) -> String {
        format!("{}-trace", naming::object_name(&self.pipeline, &self.component))
    }
}

/// Takes lines in, and writes them once a minute until it is dropped.
#[derive(Debug)]
pub struct Keeper(mpsc::Sender<Line>);

impl Keeper {
    /// Keeps the trace of `subject` from now on, after what is kept of it already.
    pub fn start(client: Client, subject: Subject) -> Keeper {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(keep(client, subject, receiver));
        Keeper(sender)
    }

    /// Takes a line in; one for which there is no room is left out.
    pub fn push(&self, line: Line) {
        // Full while the API server does not answer: a trace is no reason to wait.
        let _ = self.0.try_send(line);
    }
}

async fn keep(client: Client, subject: Subject, mut lines: mpsc::Receiver<Line>) {
    let maps: Api<ConfigMap> = Api::namespaced(client, &subject.namespace);
    let mut segments = Segments::default();
    let mut turns = tokio::time::interval(INTERVAL);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_over = tokio::select! {
            line = lines.recv() => match line {
                Some(line) => {
                    segments.push(line);
                    continue;
                }
                None => true,
            },
            _ = turns.tick() => false,
        };
        match tokio::time::timeout(TIMEOUT, write(&maps, &subject, &mut segments)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                warn!(pipeline = %subject.pipeline, component = %subject.component, %error, "cannot keep the trace");
            }
            Err(_) => warn!(
                pipeline = %subject.pipeline, component = %subject.component,
                "cannot keep the trace: the API server did not answer within {} s", TIMEOUT.as_secs()
            ),
        }
        if is_over {
            return;
        }
    }
}

/// A trace that cannot be written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Kubernetes(#[from] kube::Error),
    #[error("a line is no JSON: {0}")]
    Json(#[from] std::io::Error),
}

/// Writes what has changed, to a ConfigMap that may have to be made.
async fn write(maps: &Api<ConfigMap>, subject: &Subject, segments: &mut Segments) -> Result<(), WriteError> {
    let (now, name) = (Utc::now(), subject.config_map());
    if segments.begins(now) {
        // Another operator may have written since, or somebody have deleted it.
        let map = match maps.get_opt(&name).await? {
            Some(map) => map,
            None => maps.create(&PostParams::default(), &empty(subject)).await?,
        };
        let pieces = map.binary_data.unwrap_or_default();
        segments.there_are(pieces.into_iter().map(|(name, content)| (name, content.0.len())));
    }
    let changes = segments.cut(now)?;
    if changes.is_empty() {
        return Ok(());
    }
    let data: BTreeMap<&String, Option<ByteString>> = changes
        .iter()
        .map(|(name, content)| (name, content.clone().map(ByteString)))
        .collect();
    let patch = Patch::Merge(json!({ "binaryData": data }));
    // Its answer holds no content.
    maps.patch_metadata(&name, &PatchParams::default(), &patch).await?;
    segments.written();
    Ok(())
}

fn empty(subject: &Subject) -> ConfigMap {
    let mut labels = naming::pod_selector(&subject.pipeline, &subject.component);
    labels.insert(naming::MANAGED_BY_LABEL.to_owned(), naming::MANAGED_BY.to_owned());
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(subject.config_map()),
            namespace: Some(subject.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![subject.owner.clone()]),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}
