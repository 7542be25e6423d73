//! The pods' identities.

use k8s_openapi::api::core::v1::{LocalObjectReference, ServiceAccount};

use super::naming::Naming;
use crate::validate::Pipeline;

/// An identity without a token: workloads never talk to the API server.
pub fn service_account(name: &Naming, pipeline: &Pipeline) -> ServiceAccount {
    ServiceAccount {
        metadata: name.metadata(),
        automount_service_account_token: Some(false),
        image_pull_secrets: pull_secrets(pipeline),
        ..ServiceAccount::default()
    }
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
