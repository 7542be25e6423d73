//! Sizes of the pods.
//!
//! The size is the request in staging and production, and the memory limit everywhere; there is no CPU limit,
//! because throttling is what the sizes are to avoid. In `dev` the request is a small share of the size, so
//! that a laptop holds the whole pipeline.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::spec::Environment;

/// What a pod may grow to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// CPU, thousandths of a core.
    pub milli_cpu: i64,
    /// Memory, MiB.
    pub memory_mib: i64,
}

/// Size of producers and consumers.
pub const fn of_pipeline_pods(environment: Environment) -> Size {
    match environment {
        Environment::Dev | Environment::Staging => Size {
            milli_cpu: 2000,
            memory_mib: 2048,
        },
        Environment::Prod => Size {
            milli_cpu: 4000,
            memory_mib: 8192,
        },
    }
}

/// Size of the APIs beside the pipeline.
pub const fn of_insights(environment: Environment) -> Size {
    match environment {
        Environment::Dev | Environment::Staging => Size {
            milli_cpu: 2000,
            memory_mib: 8192,
        },
        Environment::Prod => Size {
            milli_cpu: 4000,
            memory_mib: 16_384,
        },
    }
}

/// Request of a pod in `dev`, whatever its size.
const DEV_REQUEST: Size = Size {
    milli_cpu: 20,
    memory_mib: 32,
};

/// Requests and limits of a pod of `size`.
pub fn resources(environment: Environment, size: Size) -> ResourceRequirements {
    let request = if environment == Environment::Dev {
        DEV_REQUEST
    } else {
        size
    };
    ResourceRequirements {
        requests: Some(BTreeMap::from([
            ("cpu".to_owned(), cpu(request.milli_cpu)),
            ("memory".to_owned(), memory(request.memory_mib)),
        ])),
        limits: Some(BTreeMap::from([("memory".to_owned(), memory(size.memory_mib))])),
        claims: None,
    }
}

/// A CPU quantity in Kubernetes' canonical form: whole cores without the `m`.
pub fn cpu(milli: i64) -> Quantity {
    Quantity(if milli % 1000 == 0 {
        (milli / 1000).to_string()
    } else {
        format!("{milli}m")
    })
}

/// A memory quantity in Kubernetes' canonical form: the largest unit that divides it.
pub fn memory(mib: i64) -> Quantity {
    Quantity(if mib % 1024 == 0 {
        format!("{}Gi", mib / 1024)
    } else {
        format!("{mib}Mi")
    })
}
