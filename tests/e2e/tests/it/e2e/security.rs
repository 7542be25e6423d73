//! Pipelines on servers with TLS: by password, by certificate and by connection string.

use super::failures::fails;
use crate::tools::kubectl_apply;
use crate::world::{Case, SOON, with_case};
use anyhow::Result;
use operator::api::SyncPipeline;
use operator::api::spec::{
    AuthoritySecret, ClientCertificateSecret, KafkaSecurity, PostgresTls, PostgresTlsMode, SecretKey, SecurityProtocol,
};
use serde_json::{Value, json};
use services::KafkaTls;
use std::net::SocketAddr;

const AUTHORITY: &str = "kafka-authority";
const CLIENT: &str = "kafka-client";
const URI: &str = "mongodb-uri";

/// The listeners with TLS of the data services.
fn listeners() -> KafkaTls {
    let running = services::running().expect("the data services are not running");
    let tls = running.kafka.tls;
    tls.expect("Kafka came up before it had TLS: run `cargo xtask services down`")
}

fn authority() -> AuthoritySecret {
    AuthoritySecret {
        name: AUTHORITY.to_owned(),
        key: "ca.crt".to_owned(),
    }
}

/// Leads a pipeline to listeners by their addresses: the brokers' certificate is for those.
fn connect(pipeline: &mut SyncPipeline, listeners: &[SocketAddr], protocol: SecurityProtocol) {
    let kafka = &mut pipeline.spec.kafka;
    kafka.bootstrap_servers = listeners.iter().map(ToString::to_string).collect();
    let sasl = kafka.security.take().and_then(|security| security.sasl);
    let (sasl, client) = match protocol {
        SecurityProtocol::SaslSsl => (sasl, None),
        _ => {
            let client = ClientCertificateSecret {
                name: CLIENT.to_owned(),
                certificate_key: "tls.crt".to_owned(),
                private_key_key: "tls.key".to_owned(),
            };
            (None, Some(client))
        }
    };
    kafka.security = Some(KafkaSecurity {
        protocol,
        sasl,
        tls: Some(operator::api::spec::KafkaTls {
            ca_secret_ref: Some(authority()),
            client_cert_secret_ref: client,
        }),
    });
}

async fn write_authority(case: &Case, pem: &str) -> Result<()> {
    case.environment.secret_of(AUTHORITY, &[("ca.crt", pem)]).await
}

async fn takes_and_stores_records(case: &Case) -> Result<()> {
    let generator = case.traffic("calm:3s@10", None).await?;
    let (_, receipts) = case.answered(&generator, SOON).await?;
    case.all_stored_once(&receipts).await
}

#[tokio::test]
async fn a_pipeline_with_password_and_tls_stores_records_once_its_authority_is_right() {
    with_case(
        "password-tls",
        |pipeline| connect(pipeline, &listeners().scram, SecurityProtocol::SaslSsl),
        async |case| {
            let tls = listeners();
            refused_by_the_api_server(case).await?;

            case.apply().await?;
            fails(case, &case.pipeline, &["caSecretRef", AUTHORITY, "ca.crt"]).await?;
            write_authority(case, "no certificate").await?;
            fails(
                case,
                &case.pipeline,
                &["caSecretRef", AUTHORITY, "holds no certificate"],
            )
            .await?;
            // A certificate that signed nothing.
            write_authority(case, &tls.client.certificate).await?;
            fails(case, &case.pipeline, &["TLS", "spec.kafka.security.tls.caSecretRef"]).await?;

            // The operator goes on without a restart.
            write_authority(case, &tls.authority).await?;
            case.ready().await?;
            takes_and_stores_records(case).await
        },
    )
    .await;
}

#[tokio::test]
async fn a_pipeline_with_certificates_everywhere_and_a_connection_string_stores_records() {
    with_case("client-certificate", connect_all, async |case| {
        let tls = listeners();
        write_authority(case, &tls.authority).await?;
        let client = [
            ("tls.crt", tls.client.certificate.as_str()),
            ("tls.key", tls.client.key.as_str()),
        ];
        case.environment.secret_of(CLIENT, &client).await?;
        case.apply().await?;
        fails(case, &case.pipeline, &["spec.mongodb.uriSecretRef", URI]).await?;
        case.environment.secret_of(URI, &[("uri", "http://mongodb")]).await?;
        fails(case, &case.pipeline, &["spec.mongodb.uriSecretRef", "mongodb+srv://"]).await?;

        let mongodb = &case.running.mongodb;
        let (user, password, address) = (&mongodb.username, &mongodb.password, mongodb.address);
        let uri = format!("mongodb://{user}:{password}@{address}/?authMechanism=PLAIN&authSource=%24external");
        case.environment.secret_of(URI, &[("uri", &uri)]).await?;
        case.ready().await?;
        takes_and_stores_records(case).await?;
        let (encrypted, all) = case.stores.connections_of_consumers().await?;
        assert!(
            all > 0 && encrypted == all,
            "{encrypted} of {all} connections are encrypted"
        );
        Ok(())
    })
    .await;
}

/// Leads a pipeline to Kafka by certificate, to PostgreSQL by its address, for which its certificate is, and to MongoDB
/// by a connection string.
fn connect_all(pipeline: &mut SyncPipeline) {
    connect(pipeline, &listeners().mutual, SecurityProtocol::Ssl);
    let running = services::running().expect("the data services are not running");
    if let Some(postgres) = &mut pipeline.spec.postgres {
        postgres.host = running.postgres.address.ip().to_string();
        postgres.port = i32::from(running.postgres.address.port());
        postgres.tls = Some(PostgresTls {
            mode: PostgresTlsMode::VerifyFull,
            ca_secret_ref: Some(authority()),
        });
    }
    if let Some(mongodb) = &mut pipeline.spec.mongodb {
        mongodb.host = None;
        mongodb.credentials_secret_ref = None;
        mongodb.auth_mechanism = None;
        mongodb.auth_source = None;
        mongodb.uri_secret_ref = Some(SecretKey {
            name: URI.to_owned(),
            key: "uri".to_owned(),
        });
    }
}

/// What is wrong, the change that makes it so, and what the refusal says.
type Wrong = (&'static str, fn(&mut Value), &'static str);

async fn refused_by_the_api_server(case: &Case) -> Result<()> {
    let good = serde_json::to_value(&case.pipeline)?;
    let wrong: [Wrong; 6] = [
        (
            "no password over SASL_SSL",
            |security| drop(security.as_object_mut().unwrap().remove("sasl")),
            "spec.kafka.security.sasl: needed with the protocols SASL_PLAINTEXT and SASL_SSL",
        ),
        (
            "a password over SSL",
            |security| security["protocol"] = json!("SSL"),
            "spec.kafka.security.sasl: needed with the protocols SASL_PLAINTEXT and SASL_SSL",
        ),
        (
            "certificates over SASL_PLAINTEXT",
            |security| security["protocol"] = json!("SASL_PLAINTEXT"),
            "spec.kafka.security.tls: only with the protocols SSL and SASL_SSL",
        ),
        (
            "a password for a role",
            |security| security["sasl"]["mechanism"] = json!("AWS_MSK_IAM"),
            "spec.kafka.security.sasl.credentialsSecretRef: needed with the mechanisms PLAIN",
        ),
        (
            "a role without encryption",
            |security| *security = json!({"protocol": "SASL_PLAINTEXT", "sasl": {"mechanism": "AWS_MSK_IAM"}}),
            "spec.kafka.security.protocol: must be SASL_SSL with the mechanism AWS_MSK_IAM",
        ),
        (
            "an unknown protocol",
            |security| security["protocol"] = json!("TLS"),
            "spec.kafka.security.protocol",
        ),
    ];
    for (what, change, expected) in wrong {
        let mut object = good.clone();
        change(&mut object["spec"]["kafka"]["security"]);
        let Err(refusal) = kubectl_apply(&object).await.map_err(|error| error.to_string()) else {
            panic!("{what} was accepted");
        };
        assert!(
            refusal.contains(expected),
            "{what}: {refusal:?} does not say {expected:?}"
        );
    }
    Ok(())
}
