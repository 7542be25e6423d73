//! Deployments.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, ObjectFieldSelector, PodSpec, PodTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::naming::{GROUP_ANNOTATION, Naming};
use super::{SecretDigests, Settings, account, environment, pod, sizing};
use crate::api::spec::EnvVariable;
use crate::validate::{Component, Consumer, Insight, InsightKind, Pipeline, Producer};

/// Seconds a pod has to drain: the workloads' own deadline is 25 s.
const TERMINATION_GRACE: i64 = 30;
/// Annotation on pods with the digest of the credentials they hold.
const CREDENTIALS_ANNOTATION: &str = "syncpipeline.dev/credentials";
/// Annotation on pods with the digest of what their own variables refer to.
const ENVIRONMENT_ANNOTATION: &str = "syncpipeline.dev/environment";

/// Deployment of a producer. Its replicas belong to the HorizontalPodAutoscaler.
pub fn of_producer(
    name: &Naming,
    pipeline: &Pipeline,
    producer: &Producer,
    settings: &Settings,
    secrets: &SecretDigests,
) -> Deployment {
    let container = Container {
        name: "producer".to_owned(),
        image: Some(image(&producer.component, &settings.producer_image)),
        env: Some(environment::of_producer(pipeline, producer)),
        ..Container::default()
    };
    let own = Own {
        environment: secrets.environment.get(&producer.component.name).cloned(),
        port: contract::port::PRODUCER,
        size: sizing::of_pipeline_pods(pipeline.environment),
        credentials: format!("{}{}", secrets.kafka, secrets.postgres),
    };
    deployment(name, pipeline, &producer.component, container, own)
}

/// Deployment of a consumer. Its replicas belong to the scaler.
pub fn of_consumer(
    name: &Naming,
    pipeline: &Pipeline,
    consumer: &Consumer,
    settings: &Settings,
    secrets: &SecretDigests,
) -> Deployment {
    let container = Container {
        name: "consumer".to_owned(),
        image: Some(image(&consumer.component, &settings.consumer_image)),
        env: Some(environment::of_consumer(pipeline, consumer)),
        ..Container::default()
    };
    let own = Own {
        environment: secrets.environment.get(&consumer.component.name).cloned(),
        port: contract::port::CONSUMER,
        size: sizing::of_pipeline_pods(pipeline.environment),
        credentials: format!("{}{}{}", secrets.kafka, secrets.postgres, secrets.mongodb),
    };
    let mut deployment = deployment(name, pipeline, &consumer.component, container, own);
    let group = (GROUP_ANNOTATION.to_owned(), consumer.group.clone());
    deployment.annotations_mut().extend([group]);
    deployment
}

/// Deployment of an API beside the pipeline. Its replicas belong to the HorizontalPodAutoscaler.
pub fn of_insight(name: &Naming, pipeline: &Pipeline, insight: &Insight, secrets: &SecretDigests) -> Deployment {
    let container = Container {
        name: insight.component.name.clone(),
        image: insight.component.image.clone(),
        env: Some(environment::of_insight(pipeline, insight)),
        ..Container::default()
    };
    let own = Own {
        environment: secrets.environment.get(&insight.component.name).cloned(),
        port: contract::port::INSIGHTS,
        size: sizing::of_insights(pipeline.environment),
        credentials: match insight.kind {
            InsightKind::Api => format!("{}{}", secrets.postgres, secrets.mongodb),
            InsightKind::SmsExtraction => secrets.postgres.clone(),
        },
    };
    deployment(name, pipeline, &insight.component, container, own)
}

/// What a kind of component has of its own.
struct Own {
    /// Port that our images listen on unless they are told.
    port: u16,
    /// Size of its pods, where the spec says nothing.
    size: sizing::Size,
    /// Digest of the credentials that its pods hold.
    credentials: String,
    /// Digest of what its own variables refer to.
    environment: Option<String>,
}

fn image(component: &Component, default: &str) -> String {
    component.image.clone().unwrap_or_else(|| default.to_owned())
}

fn deployment(name: &Naming, pipeline: &Pipeline, component: &Component, container: Container, own: Own) -> Deployment {
    let resources = component
        .resources
        .clone()
        .unwrap_or_else(|| sizing::resources(pipeline.environment, own.size));
    let probes = pod::probes(&component.probes);
    let container = Container {
        image_pull_policy: pipeline.image_pull_policy.map(str::to_owned),
        ports: Some(vec![ContainerPort {
            name: Some(pod::PORT_NAME.to_owned()),
            container_port: i32::from(component.port),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        env: Some(
            container
                .env
                .into_iter()
                .flatten()
                .chain([pod_name()])
                .chain(own_port(component, own.port))
                .chain(component.env.iter().map(own_variable))
                .collect(),
        ),
        resources: Some(resources),
        liveness_probe: probes.liveness,
        readiness_probe: probes.readiness,
        startup_probe: probes.startup,
        // The last words of a container that crashes stand in its pod's status, and so in the pipeline's.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        security_context: Some(pod::container_security(&component.pod.security_context)),
        ..container
    };
    let settings = &component.pod;
    let credentials = own.credentials + &account::digest(pipeline);
    let mut annotations = settings.annotations.clone();
    if !credentials.is_empty() {
        annotations.insert(CREDENTIALS_ANNOTATION.to_owned(), credentials);
    }
    annotations.extend(
        own.environment
            .map(|digest| (ENVIRONMENT_ANNOTATION.to_owned(), digest)),
    );
    let mut labels = settings.labels.clone();
    labels.extend(name.pod_labels());
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
                    labels: Some(labels),
                    annotations: present(annotations),
                    ..ObjectMeta::default()
                }),
                spec: Some(PodSpec {
                    service_account_name: Some(account::used(name, pipeline)),
                    automount_service_account_token: Some(false),
                    enable_service_links: Some(false),
                    image_pull_secrets: account::pull_secrets(pipeline),
                    termination_grace_period_seconds: Some(TERMINATION_GRACE),
                    security_context: Some(pod::security(&settings.security_context)),
                    node_selector: present(settings.node_selector.clone()),
                    tolerations: (!settings.tolerations.is_empty()).then(|| settings.tolerations.clone()),
                    affinity: settings.affinity.clone(),
                    topology_spread_constraints: pod::spread(settings.topology_spread, name),
                    containers: vec![container],
                    ..PodSpec::default()
                }),
            },
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

/// An empty map is left out: the API server would drop it, and the operator would see drift.
fn present(map: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    (!map.is_empty()).then_some(map)
}

/// A variable that the user wrote.
fn own_variable(variable: &EnvVariable) -> EnvVar {
    EnvVar {
        name: variable.name.clone(),
        value: variable.value.clone(),
        value_from: variable.value_from.as_ref().map(|from| EnvVarSource {
            secret_key_ref: from.secret_key_ref.clone(),
            config_map_key_ref: from.config_map_key_ref.clone(),
            ..EnvVarSource::default()
        }),
    }
}

/// The port, told to our own images where it is not the one they know.
fn own_port(component: &Component, known: u16) -> Option<EnvVar> {
    (component.image.is_none() && component.port != known).then(|| EnvVar {
        name: contract::env::HTTP_PORT.to_owned(),
        value: Some(component.port.to_string()),
        value_from: None,
    })
}

/// The pod's own name, which clients of Kafka show to its operators.
fn pod_name() -> EnvVar {
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
