//! The pods' identities.

use k8s_openapi::api::core::v1::{LocalObjectReference, ServiceAccount};
use sha2::{Digest, Sha256};

use super::naming::Naming;
use crate::validate::Pipeline;

/// An identity without a token: workloads never talk to the API server. None where the pods use an existing one.
pub fn service_account(name: &Naming, pipeline: &Pipeline) -> Option<ServiceAccount> {
    let settings = &pipeline.service_account;
    if settings.name.is_some() {
        return None;
    }
    let mut metadata = name.metadata();
    metadata.annotations = (!settings.annotations.is_empty()).then(|| settings.annotations.clone());
    Some(ServiceAccount {
        metadata,
        automount_service_account_token: Some(false),
        image_pull_secrets: pull_secrets(pipeline),
        ..ServiceAccount::default()
    })
}

/// Name of the identity that the pods of a component use.
pub fn used(name: &Naming, pipeline: &Pipeline) -> String {
    let existing = pipeline.service_account.name.clone();
    existing.unwrap_or_else(|| name.object.clone())
}

/// Digest of the annotations; empty without any. A pod gets its role when it starts, so another role rolls the pods.
pub fn digest(pipeline: &Pipeline) -> String {
    let annotations = &pipeline.service_account.annotations;
    if annotations.is_empty() {
        return String::new();
    }
    let mut digest = Sha256::new();
    for (name, value) in annotations {
        digest.update(format!("{name}={value}\n"));
    }
    hex::encode(&digest.finalize()[..8])
}

/// References to the pipeline's pull secrets, absent where there are none.
pub fn pull_secrets(pipeline: &Pipeline) -> Option<Vec<LocalObjectReference>> {
    (!pipeline.image_pull_secrets.is_empty()).then(|| {
        pipeline
            .image_pull_secrets
            .iter()
            .map(|name| LocalObjectReference { name: name.clone() })
            .collect()
    })
}
