//! The `SyncPipeline` API: group `syncpipeline.dev`, version `v1alpha1`.
//!
//! - [`spec`]: what a user writes, with the rules that the API server itself checks
//! - [`status`]: what the operator answers
//! - [`rules`]: those rules without an API server
//! - [`duration`]: durations as Go strings

pub mod duration;
pub mod rules;
pub mod spec;
pub mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

pub use spec::{SyncPipeline, SyncPipelineSpec};
pub use status::SyncPipelineStatus;

/// The CustomResourceDefinition, as it is installed.
///
/// Optional fields are not `nullable`, nor is null a value of an enum: the API server then takes `field: null` for a
/// field left out, the CEL rules need not know of null, and no refusal offers it.
pub fn definition() -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut definition = serde_json::to_value(SyncPipeline::crd())?;
    drop_nullable(&mut definition);
    serde_json::from_value(definition)
}

fn drop_nullable(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            if let Some(Value::Array(values)) = fields.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            fields.values_mut().for_each(drop_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nullable),
        _ => {}
    }
}
