//! From a pipeline to the topics and Kubernetes objects that make it. Pure: the same pipeline always gives the
//! same plan.
//!
//! One file a kind of object: [`account`], [`workload`] (Deployments), [`service`], [`ingress`], [`autoscaler`],
//! [`disruption`] (budgets), [`network`] (policies); [`environment`] holds the contract with the images, [`pod`]
//! probes, security and placement, [`sizing`] the pods' sizes, [`naming`] names and labels.

pub mod account;
pub mod autoscaler;
pub mod disruption;
pub mod environment;
pub mod ingress;
pub mod naming;
pub mod network;
pub mod pod;
pub mod service;
pub mod sizing;
pub mod workload;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Serialize;

use crate::api::spec::ServiceType;
use crate::validate::{Component, Pipeline, Topic};
use naming::Naming;

/// What the plan needs to know beside the pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Image of producers that name none.
    pub producer_image: String,
    /// Image of consumers that name none.
    pub consumer_image: String,
    /// Namespace that may read the metrics of pods which serve nothing else.
    pub monitoring_namespace: String,
}

/// The topics and objects of one pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Topics, in the order of creation.
    #[serde(skip)]
    pub topics: Vec<Topic>,
    /// Identities of the pods; none where they use an existing one.
    pub accounts: Vec<ServiceAccount>,
    /// Services of the APIs.
    pub services: Vec<Service>,
    /// Deployments of all components, without replicas: those belong to the scaler or the autoscaler.
    pub deployments: Vec<Deployment>,
    /// What each Deployment starts with, by its name.
    pub starts: BTreeMap<String, Start>,
    /// Ways to the APIs from outside the cluster.
    pub ingresses: Vec<Ingress>,
    /// Autoscalers of the APIs.
    pub autoscalers: Vec<HorizontalPodAutoscaler>,
    /// Budgets for voluntary disruptions.
    pub budgets: Vec<PodDisruptionBudget>,
    /// What the pods may talk to.
    pub network_policies: Vec<NetworkPolicy>,
}

/// Makes the plan of `pipeline`. `owner` ties every object's life to the SyncPipeline; `secrets` is a digest of
/// the credentials in use, so that a changed password rolls the pods that hold it.
pub fn plan(pipeline: &Pipeline, settings: &Settings, owner: &OwnerReference, secrets: &SecretDigests) -> Plan {
    let mut plan = Plan {
        topics: pipeline.topics.clone(),
        accounts: vec![],
        services: vec![],
        deployments: vec![],
        starts: BTreeMap::new(),
        ingresses: vec![],
        autoscalers: vec![],
        budgets: vec![],
        network_policies: vec![],
    };
    for producer in &pipeline.producers {
        let component = &producer.component;
        let name = Naming::new(pipeline, naming::PRODUCER, &component.name, owner);
        plan.add_common(&name, pipeline, component, network::of_producer(pipeline));
        plan.deployments
            .push(workload::of_producer(&name, pipeline, producer, settings, secrets));
        let default = match &producer.ingress {
            Some(_) => ServiceType::ClusterIp,
            None => service::default_type(pipeline.environment),
        };
        let service = service::of_api(&name, default, &producer.service, contract::port::PRODUCER);
        plan.add_api(
            &name,
            component,
            service,
            sizing::of_pipeline_pods(pipeline.environment),
        );
        let ingress = producer.ingress.as_ref();
        plan.ingresses
            .extend(ingress.map(|settings| ingress::of_api(&name, settings)));
    }
    for consumer in &pipeline.consumers {
        let component = &consumer.component;
        let name = Naming::new(pipeline, naming::CONSUMER, &component.name, owner);
        plan.add_common(&name, pipeline, component, network::of_consumer(pipeline, settings));
        plan.deployments
            .push(workload::of_consumer(&name, pipeline, consumer, settings, secrets));
    }
    for insight in &pipeline.insights {
        let component = &insight.component;
        let kind = naming::of_insight(insight.kind);
        let name = Naming::new(pipeline, kind, &component.name, owner);
        plan.add_common(&name, pipeline, component, network::of_insight(pipeline, insight));
        plan.deployments
            .push(workload::of_insight(&name, pipeline, insight, secrets));
        let default = service::default_type(pipeline.environment);
        let service = service::of_api(&name, default, &insight.service, contract::port::INSIGHTS);
        plan.add_api(&name, component, service, sizing::of_insights(pipeline.environment));
    }
    plan
}

impl Plan {
    /// The plan of a SyncPipeline that does not exist yet, and so can own nothing.
    pub fn without_owner(&mut self) {
        let accounts = self.accounts.iter_mut().map(|object| &mut object.metadata);
        let services = self.services.iter_mut().map(|object| &mut object.metadata);
        let deployments = self.deployments.iter_mut().map(|object| &mut object.metadata);
        let ingresses = self.ingresses.iter_mut().map(|object| &mut object.metadata);
        let autoscalers = self.autoscalers.iter_mut().map(|object| &mut object.metadata);
        let budgets = self.budgets.iter_mut().map(|object| &mut object.metadata);
        let policies = self.network_policies.iter_mut().map(|object| &mut object.metadata);
        let all = accounts.chain(services).chain(deployments).chain(autoscalers);
        all.chain(ingresses)
            .chain(budgets)
            .chain(policies)
            .for_each(|metadata| metadata.owner_references = None);
    }

    /// What every component has beside its Deployment.
    fn add_common(&mut self, name: &Naming, pipeline: &Pipeline, component: &Component, traffic: network::Traffic) {
        let start = match component.bounds.is_off() {
            true => Start::Off,
            false => Start::With(component.bounds.min),
        };
        self.starts.insert(name.object.clone(), start);
        self.accounts.extend(account::service_account(name, pipeline));
        self.budgets.push(disruption::budget(name));
        if pipeline.network_policy.enabled {
            self.network_policies
                .push(network::policy(name, component.port, traffic));
        }
    }

    /// What every API has beside.
    fn add_api(&mut self, name: &Naming, component: &Component, service: Service, size: sizing::Size) {
        self.services.push(service);
        // An autoscaler has at least one pod.
        if !component.bounds.is_off() {
            self.autoscalers.push(autoscaler::of_api(name, component.bounds, size));
        }
    }
}

/// What a Deployment starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "i32")]
pub enum Start {
    /// Nothing, and it stays so: the component is switched off.
    Off,
    /// So many replicas, which belong to its scaler from then on. None where the first record is to bring the first one.
    With(i32),
}

impl From<Start> for i32 {
    fn from(start: Start) -> i32 {
        start.replicas()
    }
}

impl Start {
    /// How many these are.
    pub const fn replicas(self) -> i32 {
        match self {
            Start::Off => 0,
            Start::With(replicas) => replicas,
        }
    }
}

/// Digests of the credentials a pipeline uses; empty where it uses none. Never the credentials themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretDigests {
    /// Of the Kafka credentials.
    pub kafka: String,
    /// Of the PostgreSQL credentials.
    pub postgres: String,
    /// Of the MongoDB credentials.
    pub mongodb: String,
    /// Of what a component's own variables refer to, by the component's name.
    pub environment: BTreeMap<String, String>,
}
