//! Autoscalers of the APIs: at half of the pod's size, in CPU and in memory.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec, MetricTarget,
    ResourceMetricSource,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::naming::Naming;
use super::sizing::{self, Size};
use crate::ladder::Bounds;

/// Autoscaler of an API whose pods have this size. The target is an absolute value, half of the size, because a share
/// of the request would mean something else in `dev`, where requests are small.
pub fn of_api(name: &Naming, bounds: Bounds, size: Size) -> HorizontalPodAutoscaler {
    HorizontalPodAutoscaler {
        metadata: name.metadata(),
        spec: HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: name.object.clone(),
            },
            min_replicas: Some(bounds.min),
            max_replicas: bounds.max,
            metrics: Some(vec![
                average("cpu", sizing::cpu(size.milli_cpu / 2)),
                average("memory", sizing::memory(size.memory_mib / 2)),
            ]),
            behavior: None,
        },
        status: None,
    }
}

fn average(resource: &str, value: Quantity) -> MetricSpec {
    MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource {
            name: resource.to_owned(),
            target: MetricTarget {
                type_: "AverageValue".to_owned(),
                average_value: Some(value),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    }
}
