//! Ids of the cluster and of topics: the only place that uses krafka, because librdkafka's Rust binding has no call
//! for topic ids.

use crate::topic::{Topic, Topics};
use contract::{Source, env};
use kafka_identity::krafka::authentication;
use krafka::{
    Kafka,
    admin::{DescribeClusterOptions, DescribeTopicsOptions},
    auth::AuthConfig,
    error::{ErrorCode, KrafkaError},
};
use runtime::{
    env::{Env, EnvError},
    kafka::Security,
};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use uuid::Uuid;

/// Longest time for one request, connecting included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for one reading.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the ids are not known.
#[derive(Debug, thiserror::Error)]
pub enum TopicIdsError {
    /// The brokers cannot be asked.
    #[error("Kafka at {brokers} does not answer: {reason}")]
    Away {
        /// Bootstrap servers.
        brokers: String,
        /// What was reported.
        reason: String,
    },
    /// A topic does not exist.
    #[error("topic {topic} does not exist; the operator creates it, or set ENABLED_TOPICS to existing topics")]
    NoTopic {
        /// Name of the topic.
        topic: String,
    },
    /// A broker refused to describe a topic.
    #[error("topic {topic} cannot be described: {reason}")]
    Refused {
        /// Name of the topic.
        topic: String,
        /// What the broker said.
        reason: String,
    },
    /// The brokers are older than topic ids.
    #[error("topic {topic} has no id; brokers of Kafka 2.8 or later are needed")]
    NoId {
        /// Name of the topic.
        topic: String,
    },
}

/// Reads ids of the cluster and of topics.
#[derive(Clone)]
pub struct TopicIds {
    brokers: String,
    security: AuthConfig,
    topics: Vec<(String, Source)>,
}

impl TopicIds {
    /// A reader of the ids of `topics`, with the Kafka settings of the environment.
    pub fn new(environment: &Env, topics: Vec<(String, Source)>) -> Result<TopicIds, EnvError> {
        let security = Security::from_env(environment)?;
        Ok(TopicIds {
            brokers: environment.required_list(env::KAFKA_BROKER_ENDPOINT)?.join(","),
            security: authentication(security.login.as_ref(), security.tls.as_ref()),
            topics,
        })
    }

    /// Asks the brokers. Each reading takes a connection of its own: they are rare.
    pub async fn read(&self) -> Result<Topics, TopicIdsError> {
        match timeout(READ_TIMEOUT, self.ask()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.away(format!("no answer within {} s", READ_TIMEOUT.as_secs()))),
        }
    }

    async fn ask(&self) -> Result<Topics, TopicIdsError> {
        let away = |error: KrafkaError| self.away(error.to_string());
        let kafka = Kafka::builder(self.brokers.clone())
            .client_id("syncpipeline-consumer-topic-ids")
            .security(self.security.clone())
            .connect_timeout(REQUEST_TIMEOUT)
            .request_timeout(REQUEST_TIMEOUT)
            .connect()
            .await
            .map_err(away)?;
        let admin = kafka.admin();
        let cluster = admin
            .describe_cluster(DescribeClusterOptions::default().timeout(REQUEST_TIMEOUT))
            .await
            .map_err(away)?;
        let names = self.topics.iter().map(|(name, _)| name);
        let described = admin
            .describe_topics(names, DescribeTopicsOptions::default().timeout(REQUEST_TIMEOUT))
            .await
            .map_err(away)?;
        let topics = self
            .topics
            .iter()
            .map(|(name, source)| {
                let topic = || name.clone();
                let id = match described.get(name) {
                    Some(Ok(description)) => Uuid::from_bytes(description.topic_id),
                    Some(Err(KrafkaError::Broker {
                        code: ErrorCode::UnknownTopicOrPartition,
                        ..
                    }))
                    | None => {
                        return Err(TopicIdsError::NoTopic { topic: topic() });
                    }
                    Some(Err(error)) => {
                        return Err(TopicIdsError::Refused {
                            topic: topic(),
                            reason: error.to_string(),
                        });
                    }
                };
                if id.is_nil() {
                    return Err(TopicIdsError::NoId { topic: topic() });
                }
                Ok(Arc::new(Topic {
                    name: topic(),
                    id,
                    source: *source,
                }))
            })
            .collect::<Result<_, _>>()?;
        if let Err(error) = admin.close().await {
            tracing::debug!(%error, "the connection that read the topic ids did not close cleanly");
        }
        Ok(Topics {
            cluster: cluster.cluster_id.into(),
            topics,
        })
    }

    fn away(&self, reason: String) -> TopicIdsError {
        TopicIdsError::Away {
            brokers: self.brokers.clone(),
            reason,
        }
    }
}
