//! A namespace with the Services and Secrets that an example names, leading to the data services of the host.

use crate::cluster::Cluster;
use anyhow::Result;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::core::ObjectMeta;
use services::Running;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Names that examples use.
const KAFKA: (&str, i32) = ("kafka", 9092);
const POSTGRES: (&str, i32) = ("postgres", 5432);
const MONGODB: (&str, i32) = ("mongodb", 27017);

/// A namespace that is connected to the data services.
#[derive(Clone)]
pub struct Environment {
    cluster: Cluster,
    namespace: String,
}

impl Environment {
    /// Makes the namespace with its Services and Secrets, or brings an existing one up to date.
    pub async fn create(cluster: &Cluster, namespace: &str, running: &Running) -> Result<Environment> {
        let environment = Environment {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
        };
        cluster.create_namespace(namespace).await?;
        environment.service(KAFKA, &running.kafka.brokers).await?;
        environment.service(POSTGRES, &[running.postgres.address]).await?;
        environment.service(MONGODB, &[running.mongodb.address]).await?;
        environment
            .secret("kafka-credentials", &running.kafka.username, &running.kafka.password)
            .await?;
        environment
            .secret(
                "postgres-credentials",
                &running.postgres.username,
                &running.postgres.password,
            )
            .await?;
        environment
            .secret(
                "mongodb-credentials",
                &running.mongodb.username,
                &running.mongodb.password,
            )
            .await?;
        Ok(environment)
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Writes a Secret with credentials.
    pub async fn secret(&self, name: &str, username: &str, password: &str) -> Result<()> {
        let credentials = [("username", username), ("password", password)];
        self.secret_of(name, &credentials).await
    }

    /// Writes a Secret with these keys and values.
    pub async fn secret_of(&self, name: &str, content: &[(&str, &str)]) -> Result<()> {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = content.iter().map(|(key, value)| ((*key).to_owned(), bytes(value)));
        let secret = Secret {
            metadata: self.metadata(name),
            data: Some(data.collect()),
            ..Secret::default()
        };
        self.cluster.apply(&secret).await?;
        Ok(())
    }

    /// Lets the namespace go with all that is in it; the next one of its name waits until it is gone.
    pub async fn abandon(&self) -> Result<()> {
        self.cluster.abandon_namespace(&self.namespace).await
    }

    /// A Service without selector. Each address has a slice of its own, because all addresses of a slice share
    /// its port.
    async fn service(&self, (name, port): (&str, i32), addresses: &[SocketAddr]) -> Result<()> {
        let service = Service {
            metadata: self.metadata(name),
            spec: Some(ServiceSpec {
                ports: Some(vec![ServicePort {
                    port,
                    ..ServicePort::default()
                }]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        };
        self.cluster.apply(&service).await?;
        for (index, address) in addresses.iter().enumerate() {
            let mut metadata = self.metadata(&format!("{name}-{index}"));
            metadata.labels = Some(BTreeMap::from([
                ("kubernetes.io/service-name".to_owned(), name.to_owned()),
                (
                    "endpointslice.kubernetes.io/managed-by".to_owned(),
                    "syncpipeline.dev".to_owned(),
                ),
            ]));
            let slice = EndpointSlice {
                metadata,
                address_type: if address.is_ipv4() { "IPv4" } else { "IPv6" }.to_owned(),
                endpoints: Some(vec![Endpoint {
                    addresses: vec![address.ip().to_string()],
                    conditions: Some(EndpointConditions {
                        ready: Some(true),
                        ..EndpointConditions::default()
                    }),
                    ..Endpoint::default()
                }]),
                ports: Some(vec![EndpointPort {
                    port: Some(i32::from(address.port())),
                    ..EndpointPort::default()
                }]),
            };
            self.cluster.apply(&slice).await?;
        }
        Ok(())
    }

    fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            ..ObjectMeta::default()
        }
    }
}
