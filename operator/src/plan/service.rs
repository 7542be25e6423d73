//! Services of the APIs.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::naming::Naming;
use super::pod::PORT_NAME;
use crate::api::spec::{Environment, ServiceSettings, ServiceType};

/// What the Service of an API is unless the spec says so: a load balancer in production, inside the cluster else.
pub const fn default_type(environment: Environment) -> ServiceType {
    match environment {
        Environment::Prod => ServiceType::LoadBalancer,
        Environment::Dev | Environment::Staging => ServiceType::ClusterIp,
    }
}

/// Service of an API. `port` is the one that its clients know, whatever the pods listen on.
pub fn of_api(name: &Naming, default: ServiceType, settings: &ServiceSettings, port: u16) -> Service {
    let type_ = match settings.type_.unwrap_or(default) {
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    };
    let mut metadata = name.metadata();
    metadata.annotations = (!settings.annotations.is_empty()).then(|| settings.annotations.clone());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(type_.to_owned()),
            selector: Some(name.selector()),
            load_balancer_class: settings.load_balancer_class.clone(),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME.to_owned()),
                port: i32::from(port),
                target_port: Some(IntOrString::String(PORT_NAME.to_owned())),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
