//! From a pipeline to the topics and Kubernetes objects that make it. Pure: the same pipeline always gives the
//! same plan.
//!
//! One file a kind of object: [`account`], [`workload`] (Deployments), [`service`], [`autoscaler`],
//! [`disruption`] (budgets), [`network`] (policies); [`environment`] holds the contract with the images, [`pod`]
//! probes, security and placement, [`sizing`] the pods' sizes, [`naming`] names and labels.

pub mod account;
pub mod autoscaler;
pub mod disruption;
pub mod environment;
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
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Serialize;

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
    /// Identities of the pods.
    pub accounts: Vec<ServiceAccount>,
    /// Services of the APIs.
    pub services: Vec<Service>,
    /// Deployments of all components, without replicas: those belong to the scaler or the autoscaler.
    pub deployments: Vec<Deployment>,
    /// Replicas that a new Deployment starts with, by its name: from then on they belong to its scaler. 0 where the
    /// component is switched off, which holds from then on as well.
    pub starts: BTreeMap<String, i32>,
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
        autoscalers: vec![],
        budgets: vec![],
        network_policies: vec![],
    };
    for producer in &pipeline.producers {
        let name = Naming::new(pipeline, naming::PRODUCER, &producer.component.name, owner);
        plan.add_common(&name, pipeline, &producer.component, settings, network::Open::ToAll);
        plan.services.push(service::of_producer(&name, pipeline, producer));
        plan.deployments
            .push(workload::of_producer(&name, pipeline, producer, settings, secrets));
        // An autoscaler has at least one pod.
        if !producer.component.bounds.is_off() {
            plan.autoscalers
                .push(autoscaler::of_producer(&name, pipeline, producer));
        }
    }
    for consumer in &pipeline.consumers {
        let name = Naming::new(pipeline, naming::CONSUMER, &consumer.component.name, owner);
        plan.add_common(
            &name,
            pipeline,
            &consumer.component,
            settings,
            network::Open::ToMonitoring,
        );
        plan.deployments
            .push(workload::of_consumer(&name, pipeline, consumer, settings, secrets));
    }
    plan
}

impl Plan {
    /// What every component has beside its Deployment.
    fn add_common(
        &mut self,
        name: &Naming,
        pipeline: &Pipeline,
        component: &Component,
        settings: &Settings,
        open: network::Open,
    ) {
        self.starts.insert(name.object.clone(), component.bounds.min);
        self.accounts.push(account::service_account(name, pipeline));
        self.budgets.push(disruption::budget(name));
        if pipeline.network_policy.enabled {
            self.network_policies
                .push(network::policy(name, pipeline, component, settings, open));
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
}
