//! Deployments.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, HTTPGetAction, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    SeccompProfile, SecurityContext,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::naming::Naming;
use super::{SecretDigests, Settings, account, environment, sizing};
use crate::validate::{Component, Consumer, Pipeline, Producer};

/// User of our images.
const USER: i64 = 65532;
/// Seconds a pod has to drain: the workloads' own deadline is 25 s.
const TERMINATION_GRACE: i64 = 30;
/// Annotation on pods with the digest of the credentials they hold.
const CREDENTIALS_ANNOTATION: &str = "syncpipeline.dev/credentials";

/// Deployment of a producer. Its replicas belong to the HorizontalPodAutoscaler.
pub fn of_producer(
    name: &Naming,
    pipeline: &Pipeline,
    producer: &Producer,
    settings: &Settings,
    secrets: &SecretDigests,
) -> Deployment {
    let credentials = format!("{}{}", secrets.kafka, secrets.postgres);
    let container = Container {
        name: "producer".to_owned(),
        ports: Some(vec![port(contract::port::PRODUCER)]),
        env: Some(environment::of_producer(pipeline, producer)),
        ..Container::default()
    };
    let image = producer.component.image.as_ref().unwrap_or(&settings.producer_image);
    deployment(name, pipeline, &producer.component, image, container, credentials)
}

/// Deployment of a consumer. Its replicas belong to the scaler.
pub fn of_consumer(
    name: &Naming,
    pipeline: &Pipeline,
    consumer: &Consumer,
    settings: &Settings,
    secrets: &SecretDigests,
) -> Deployment {
    let credentials = format!("{}{}{}", secrets.kafka, secrets.postgres, secrets.mongodb);
    let container = Container {
        name: "consumer".to_owned(),
        ports: Some(vec![port(contract::port::CONSUMER)]),
        env: Some(environment::of_consumer(pipeline, consumer)),
        ..Container::default()
    };
    let image = consumer.component.image.as_ref().unwrap_or(&settings.consumer_image);
    deployment(name, pipeline, &consumer.component, image, container, credentials)
}

fn port(number: u16) -> ContainerPort {
    ContainerPort {
        name: Some("http".to_owned()),
        container_port: i32::from(number),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(2),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn deployment(
    name: &Naming,
    pipeline: &Pipeline,
    component: &Component,
    image: &str,
    container: Container,
    credentials: String,
) -> Deployment {
    let resources = component
        .resources
        .clone()
        .unwrap_or_else(|| sizing::resources(pipeline.environment, sizing::of_pipeline_pods(pipeline.environment)));
    let container = Container {
        image: Some(image.to_owned()),
        image_pull_policy: pipeline.image_pull_policy.map(str::to_owned),
        env: container.env.map(|vars| vars.into_iter().chain([pod_name()]).collect()),
        resources: Some(resources),
        liveness_probe: Some(probe("/healthz", 10, 6)),
        readiness_probe: Some(probe("/ready", 2, 2)),
        startup_probe: Some(probe("/healthz", 1, 60)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                add: None,
            }),
            ..SecurityContext::default()
        }),
        ..container
    };
    let annotations =
        (!credentials.is_empty()).then(|| BTreeMap::from([(CREDENTIALS_ANNOTATION.to_owned(), credentials)]));
    Deployment {
        metadata: name.metadata(),
        spec: DeploymentSpec {
            selector: name.label_selector(),
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::String("25%".to_owned())),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(name.pod_labels()),
                    annotations,
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    service_account_name: Some(name.object.clone()),
                    automount_service_account_token: Some(false),
                    enable_service_links: Some(false),
                    image_pull_secrets: account::pull_secrets(pipeline),
                    termination_grace_period_seconds: Some(TERMINATION_GRACE),
                    security_context: Some(PodSecurityContext {
                        run_as_non_root: Some(true),
                        run_as_user: Some(USER),
                        run_as_group: Some(USER),
                        seccomp_profile: Some(SeccompProfile {
                            type_: "RuntimeDefault".to_owned(),
                            ..SeccompProfile::default()
                        }),
                        ..PodSecurityContext::default()
                    }),
                    containers: vec![container],
                    ..PodSpec::default()
                }),
            },
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

/// The pod's own name, which clients of Kafka show to its operators.
fn pod_name() -> EnvVar {
    use k8s_openapi::api::core::v1::{EnvVarSource, ObjectFieldSelector};
    EnvVar {
        name: contract::env::POD_NAME.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "metadata.name".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}
