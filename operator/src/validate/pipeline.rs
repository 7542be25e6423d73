//! A pipeline with every default filled in: what the plan is made from.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;

use super::connections::Pools;
use crate::api::spec::{
    self, ApiKeys, DeletionPolicy, EnvVariable, Environment, IngressSettings, LadderColumn, NetworkPolicySettings,
    PodSettings, Probes, Region, ServiceAccountSettings, ServiceSettings,
};
use crate::ladder::{self, Bounds};
use crate::scale::schedule::Schedule;

/// A pipeline with every default filled in: what the plan is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Name of the SyncPipeline.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Sizes and small-cluster rules.
    pub environment: Environment,
    /// Region, where one is given.
    pub region: Option<Region>,
    /// Row of the ladder.
    pub ladder: Option<ladder::Chosen>,
    /// The Kafka cluster as the user wrote it.
    pub kafka: spec::Kafka,
    /// AWS region of the brokers, where tokens are signed for them.
    pub aws_region: Option<String>,
    /// The PostgreSQL server as the user wrote it.
    pub postgres: Option<spec::Postgres>,
    /// The MongoDB server as the user wrote it.
    pub mongodb: Option<spec::Mongodb>,
    /// Topics, dead-letter topics included.
    pub topics: Vec<Topic>,
    /// Producers.
    pub producers: Vec<Producer>,
    /// Consumers.
    pub consumers: Vec<Consumer>,
    /// APIs that say what the stored records mean.
    pub insights: Vec<Insight>,
    /// What each pod may hold open to the stores.
    pub pools: Pools,
    /// Secrets with credentials of the image registry.
    pub image_pull_secrets: Vec<String>,
    /// When to pull images.
    pub image_pull_policy: Option<&'static str>,
    /// What the pods may talk to.
    pub network_policy: NetworkPolicySettings,
    /// Who the pods are.
    pub service_account: ServiceAccountSettings,
}

impl Pipeline {
    /// Every component.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        let producers = self.producers.iter().map(|producer| &producer.component);
        let consumers = self.consumers.iter().map(|consumer| &consumer.component);
        let insights = self.insights.iter().map(|insight| &insight.component);
        producers.chain(consumers).chain(insights)
    }
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Name, prefix included.
    pub name: String,
    /// Partitions.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication_factor: i32,
    /// Settings by Kafka's names, `min.insync.replicas` apart: it depends on the brokers.
    pub config: BTreeMap<String, String>,
    /// Copies that must have a message before it is acknowledged.
    pub min_in_sync_replicas: i32,
    /// Whether to look after it: absent for those that the operator created itself.
    pub manage: Option<bool>,
    /// What becomes of it when the SyncPipeline is deleted.
    pub deletion_policy: DeletionPolicy,
}

/// What every component has.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Name within the pipeline.
    pub name: String,
    /// Image; the operator's default when absent.
    pub image: Option<String>,
    /// Least and most replicas.
    pub bounds: Bounds,
    /// Replicas taken off the most, so that all pods fit into `maxConnections` of a store.
    pub short_of_connections: i32,
    /// Requests and limits; those of the environment when absent.
    pub resources: Option<ResourceRequirements>,
    /// Port that the container listens on.
    pub port: u16,
    /// How Kubernetes asks the pods.
    pub probes: Probes,
    /// Further variables.
    pub env: Vec<EnvVariable>,
    /// Settings of the pods.
    pub pod: PodSettings,
}

/// An HTTP API that writes to topics.
#[derive(Debug, Clone, PartialEq)]
pub struct Producer {
    /// What every component has.
    pub component: Component,
    /// Topics it writes to, prefix included.
    pub topics: Vec<String>,
    /// Its Service.
    pub service: ServiceSettings,
    /// The way to it from outside the cluster.
    pub ingress: Option<IngressSettings>,
    /// Whether uploads need an API key.
    pub api_keys: ApiKeys,
    /// How long answers are kept for repeats; the image's own default when absent.
    pub idempotency_window: Option<Duration>,
}

/// A reader of topics.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    /// What every component has.
    pub component: Component,
    /// Topics it reads, prefix included.
    pub topics: Vec<String>,
    /// Its consumer group, prefix included.
    pub group: String,
    /// Most records in one write.
    pub batch_max_records: i32,
    /// Writes of one topic at the same time.
    pub parallel_writes: i32,
    /// Longest wait for a write to fill.
    pub linger: Duration,
    /// How replicas follow the lag.
    pub scaling: Scaling,
    /// Times at which there are so many replicas at least.
    pub schedules: Vec<Schedule>,
    /// Whether what its scaler sees and decides is kept for a while.
    pub trace: bool,
    /// Replicas that the ladder or the spec asks for but the topics have no partitions for.
    pub missing_partitions: i32,
}

/// An API that says what the stored records mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Insight {
    /// What every component has.
    pub component: Component,
    /// Which one.
    pub kind: InsightKind,
    /// Its Service.
    pub service: ServiceSettings,
}

/// Which of the APIs beside the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsightKind {
    /// The Insights API.
    Api,
    /// The SMS Extraction API.
    SmsExtraction,
}

impl InsightKind {
    /// Name of the component.
    pub const fn component(self) -> &'static str {
        match self {
            InsightKind::Api => "insights",
            InsightKind::SmsExtraction => "sms-extraction",
        }
    }

    /// Path of its field.
    pub const fn field(self) -> &'static str {
        match self {
            InsightKind::Api => "spec.insights.api",
            InsightKind::SmsExtraction => "spec.insights.smsExtraction",
        }
    }

    /// Its column of the ladder.
    pub const fn column(self) -> LadderColumn {
        match self {
            InsightKind::Api => LadderColumn::Insights,
            InsightKind::SmsExtraction => LadderColumn::SmsExtraction,
        }
    }
}

/// How replicas follow the lag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scaling {
    /// Along rungs.
    Ladder {
        /// Lags that lead one step up each, ascending.
        thresholds: Vec<i64>,
        /// How long the lag must be low before the next rung down.
        cooldown: Duration,
        /// Longest time between two commits of a busy reader.
        commit_interval: Duration,
    },
    /// As many as write what waits in time.
    Drain {
        /// Within which what waits is to be written.
        target: Duration,
        /// How long fewer must have been enough before there are fewer.
        cooldown: Duration,
        /// Longest time between two commits of a busy reader.
        commit_interval: Duration,
    },
    /// One for each partition of the largest topic.
    PerPartition,
    /// Not at all.
    Fixed,
}

impl Scaling {
    /// Longest time between two commits of a busy reader; nothing where no lag is acted on.
    pub fn commit_interval(&self) -> Duration {
        match self {
            Scaling::Ladder { commit_interval, .. } | Scaling::Drain { commit_interval, .. } => *commit_interval,
            Scaling::PerPartition | Scaling::Fixed => Duration::ZERO,
        }
    }

    /// Its name in the API.
    pub fn name(&self) -> &'static str {
        match self {
            Scaling::Ladder { .. } => "Ladder",
            Scaling::Drain { .. } => "Drain",
            Scaling::PerPartition => "PerPartition",
            Scaling::Fixed => "Fixed",
        }
    }
}
