//! The Kafka clients of the operator and of the workloads on a real broker that asks for passwords and certificates:
//! `cargo test -p e2e --test kafka_security`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod own_services;

use contract::env;
use kafka_identity::{ClientCertificate, Login, Mechanism, Tls};
use operator::api::spec::SecurityProtocol;
use operator::kafka::{Clusters, Connection};
use rdkafka::producer::{FutureProducer, Producer};
use runtime::env::Env;
use runtime::kafka::{Context, client_config};
use services::{Certificate, KafkaTls};
use std::time::Duration;

/// A workload's client tries again and again: this long at most.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn operator_and_workloads_connect_alike_and_say_what_is_wrong() {
    own_services::with_brokers(1, async |running| every_way(&running.kafka).await);
}

/// A way to reach Kafka, from which the settings of either client follow.
#[derive(Clone)]
struct Way {
    server: String,
    protocol: SecurityProtocol,
    authority: Option<String>,
    client: Option<Certificate>,
    /// User name and password.
    login: Option<(String, String)>,
}

impl Way {
    fn environment(&self) -> Env {
        let mut pairs = vec![
            (env::KAFKA_BROKER_ENDPOINT, self.server.clone()),
            (env::KAFKA_SECURITY_PROTOCOL, self.protocol.name().to_owned()),
        ];
        pairs.extend(self.authority.clone().map(|pem| (env::KAFKA_SSL_CA_PEM, pem)));
        if let Some(client) = self.client.clone() {
            pairs.push((env::KAFKA_SSL_CERTIFICATE_PEM, client.certificate));
            pairs.push((env::KAFKA_SSL_KEY_PEM, client.key));
        }
        if let Some((username, password)) = self.login.clone() {
            pairs.push((env::KAFKA_SASL_MECHANISM, "SCRAM-SHA-512".to_owned()));
            pairs.push((env::KAFKA_USERNAME, username));
            pairs.push((env::KAFKA_PASSWORD, password));
        }
        Env::from_pairs(pairs)
    }

    fn connection(&self) -> Connection {
        let login = self.login.clone();
        Connection {
            bootstrap_servers: self.server.clone(),
            login: login.map(|(username, password)| Login::Password {
                mechanism: Mechanism::ScramSha512,
                username,
                password,
            }),
            tls: self.protocol.uses_tls().then(|| Tls {
                authorities: self.authority.as_deref().map(Into::into),
                client: self.client.as_ref().map(|client| ClientCertificate {
                    certificate: client.certificate.as_str().into(),
                    key: client.key.as_str().into(),
                }),
            }),
        }
    }

    /// How many brokers the operator's client finds; reason and message where it finds none.
    async fn brokers_of_operator(&self, clusters: &Clusters) -> Result<usize, String> {
        let told = |error: operator::kafka::KafkaError| format!("{}: {error}", error.reason());
        let cluster = clusters.get(&self.connection()).await.map_err(told)?;
        Ok(cluster.identity().await.map_err(told)?.brokers)
    }

    /// How many brokers a workload's client finds; its diagnosis where it finds none.
    fn brokers_of_workload(&self) -> Result<usize, String> {
        let context = Context::default();
        let config = client_config(&self.environment()).unwrap();
        let client: FutureProducer<Context> = config.create_with_context(context.clone()).unwrap();
        match client.client().fetch_metadata(None, PATIENCE) {
            Ok(metadata) => Ok(metadata.brokers().len()),
            Err(error) => Err(context.diagnosis.explain(&error)),
        }
    }
}

async fn every_way(kafka: &services::Kafka) {
    let tls: &KafkaTls = kafka.tls.as_ref().unwrap();
    let by_password = Way {
        server: tls.scram[0].to_string(),
        protocol: SecurityProtocol::SaslSsl,
        authority: Some(tls.authority.clone()),
        client: None,
        login: Some((kafka.username.clone(), kafka.password.clone())),
    };
    let by_certificate = Way {
        server: tls.mutual[0].to_string(),
        protocol: SecurityProtocol::Ssl,
        authority: Some(tls.authority.clone()),
        client: Some(tls.client.clone()),
        login: None,
    };
    // One for all, as in the operator: what is repaired works without a restart.
    let clusters = Clusters::default();
    let wrong: [(&str, Way, &[&str], &str); 6] = [
        (
            "a wrong password",
            Way {
                login: Some((kafka.username.clone(), "wrong".to_owned())),
                ..by_password.clone()
            },
            &["KafkaAuthenticationFailed", "spec.kafka.security.sasl"],
            "Authentication failed",
        ),
        (
            "another authority",
            Way {
                // A certificate that signed nothing.
                authority: Some(tls.client.certificate.clone()),
                ..by_password.clone()
            },
            &[
                "KafkaTlsFailed",
                "UnknownIssuer",
                "the Secret of spec.kafka.security.tls.caSecretRef",
            ],
            "certificate verify failed",
        ),
        (
            "public authorities only",
            Way {
                authority: None,
                ..by_password.clone()
            },
            &[
                "KafkaTlsFailed",
                "UnknownIssuer",
                "set spec.kafka.security.tls.caSecretRef",
            ],
            "certificate verify failed",
        ),
        (
            "a name that the certificate is not for",
            Way {
                server: format!("localhost:{}", tls.scram[0].port()),
                ..by_password.clone()
            },
            &["KafkaTlsFailed", "not valid for name", "spec.kafka.bootstrapServers"],
            "certificate verify failed",
        ),
        (
            "no client certificate",
            Way {
                client: None,
                ..by_certificate.clone()
            },
            &["KafkaTlsFailed", "set spec.kafka.security.tls.clientCertSecretRef"],
            "certificate",
        ),
        (
            "no encryption where it is wanted",
            Way {
                protocol: SecurityProtocol::SaslPlaintext,
                authority: None,
                ..by_password.clone()
            },
            &["KafkaUnreachable", &by_password.server],
            // The client tells no more than that the broker hangs up.
            "Broker transport failure",
        ),
    ];
    for (what, way, of_operator, of_workload) in wrong {
        let told = way.brokers_of_operator(&clusters).await.unwrap_err();
        println!("{what}, operator: {told}");
        assert!(of_operator.iter().all(|words| told.contains(words)), "{what}: {told}");
        let told = way.brokers_of_workload().unwrap_err();
        println!("{what}, workload: {told}");
        assert!(told.contains(of_workload), "{what}: {told}");
    }
    for (what, way) in [("password", by_password), ("certificate", by_certificate)] {
        assert_eq!(way.brokers_of_operator(&clusters).await, Ok(1), "{what}");
        assert_eq!(way.brokers_of_workload(), Ok(1), "{what}");
    }
}
