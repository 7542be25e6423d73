//! Vendors' images run unchanged: each finds the variables of the environment contract, and no other.

use crate::world::{Case, SOON, STAND_IN, with_case};
use ::e2e::eventually::eventually;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{ListParams, LogParams};
use operator::api::SyncPipeline;
use operator::api::spec::{
    Api, ApiKeys, Component, Insights, LocalObject, ProbeType, Producer, Region, ServiceSettings,
};
use stand_in::{PORT, Report};
use std::collections::BTreeMap;

const PULL_SECRET: &str = "vendor-registry";

#[tokio::test]
async fn every_component_of_a_vendor_finds_exactly_the_variables_of_the_contract() {
    with_case("vendor", bring, async |case| {
        case.apply().await?;
        case.ready().await?;
        for (component, expected) in expected(case) {
            let (pod, report) = report(case, component).await?;
            let secrets = pod.spec.as_ref().and_then(|spec| spec.image_pull_secrets.as_ref());
            let secrets: Vec<&str> = secrets
                .into_iter()
                .flatten()
                .map(|secret| secret.name.as_str())
                .collect();
            assert_eq!(secrets, [PULL_SECRET], "{component}");
            assert_eq!((report.user, report.writes), (0, true), "{component}");
            // What the kubelet adds to every container.
            let mut found = report.environment;
            found
                .retain(|name, _| !name.starts_with("KUBERNETES_") && !["HOSTNAME", "PATH", "HOME"].contains(&&**name));
            assert_eq!(found.remove("DI_POD_NAME"), Some(pod.name_any()), "{component}");
            assert_eq!(found, expected, "{component}");
        }
        // No calls and no contacts in India: not as topics either.
        let topics = case.kafka.topic_names().await?;
        let mut topics: Vec<&str> = topics
            .iter()
            .filter_map(|topic| topic.strip_prefix("vendor."))
            .collect();
        topics.sort_unstable();
        assert_eq!(
            topics,
            [
                "apps_and_device_batched",
                "apps_and_device_batched.dlq",
                "events_log",
                "events_log.dlq",
                "sms_batched",
                "sms_batched.dlq",
            ]
        );
        Ok(())
    })
    .await;
}

/// The stand-in as every component, in India.
fn bring(pipeline: &mut SyncPipeline) {
    let mut component = Component {
        image: std::env::var(STAND_IN).ok(),
        port: Some(i32::from(PORT)),
        ..Component::default()
    };
    component.probes.type_ = ProbeType::None;
    component.pod.security_context.run_as_non_root = false;
    component.pod.security_context.read_only_root_filesystem = false;
    let spec = &mut pipeline.spec;
    spec.region = Some(Region::India);
    spec.image_pull_secrets = vec![LocalObject {
        name: PULL_SECRET.to_owned(),
    }];
    spec.producers = vec![Producer {
        api_keys: ApiKeys::Disabled,
        idempotency_window: None,
        name: "producer".to_owned(),
        topics: None,
        service: ServiceSettings::default(),
        ingress: None,
        component: component.clone(),
    }];
    for consumer in &mut spec.consumers {
        consumer.component = component.clone();
    }
    let api = Api {
        service: ServiceSettings::default(),
        component,
    };
    spec.insights = Some(Insights {
        api: Some(api.clone()),
        sms_extraction: Some(api),
    });
}

type Variables = BTreeMap<String, String>;

fn expected(case: &Case) -> [(&'static str, Variables); 6] {
    let running = &case.running;
    let (user, password) = (&running.postgres.username, &running.postgres.password);
    let everywhere = [("LAUNCH_ENVIRONMENT", "dev"), ("DI_REGION", "India")];
    let kafka = [
        ("DI_KAFKA_BROKER_ENDPOINT", "kafka.e2e-vendor.svc:9092"),
        ("DI_KAFKA_TOPIC_PREFIX", "vendor."),
        ("DI_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT"),
        ("DI_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
        ("DI_KAFKA_USERNAME", &running.kafka.username),
        ("DI_KAFKA_PASSWORD", &running.kafka.password),
    ];
    let postgres = [
        ("DI_POSTGRES_HOST", "postgres.e2e-vendor.svc"),
        ("DI_POSTGRES_PORT", "5432"),
        ("DI_POSTGRES_DATABASE", "api_insights_db"),
        ("DI_POSTGRES_SYNC_DATABASE", "sync_db"),
        ("DI_POSTGRES_SCHEMA", "vendor"),
        ("DI_POSTGRES_USERNAME", user),
        ("DI_POSTGRES_PASSWORD", password),
    ];
    let mongodb = [
        ("DI_MONGODB_HOST", "mongodb.e2e-vendor.svc"),
        ("DI_MONGODB_PORT", "27017"),
        ("DI_MONGODB_DATABASE", "vendor"),
        ("DI_MONGODB_ENABLED_SOURCES", "*"),
        ("DI_MONGODB_AUTH_MECHANISM", "PLAIN"),
        ("DI_MONGODB_AUTH_SOURCE", "$external"),
        ("DI_MONGODB_USERNAME", &running.mongodb.username),
        ("DI_MONGODB_PASSWORD", &running.mongodb.password),
    ];
    let all = |parts: &[&[(&str, &str)]]| -> Variables {
        let pairs = parts.iter().flat_map(|part| part.iter());
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let consumer = |topics: &str, group: &str| {
        let own = [
            ("ENABLED_TOPICS", topics),
            ("KAFKA_CONSUMER_GROUP", group),
            ("DI_CONSUMER_BATCH_MAX_RECORDS", "5000"),
            ("DI_CONSUMER_BATCH_LINGER_MS", "200"),
            ("DI_CONSUMER_PARALLEL_WRITES", "2"),
        ];
        all(&[&everywhere, &kafka, &own, &postgres, &mongodb])
    };
    let topics = [(
        "ENABLED_TOPICS",
        "vendor.sms_batched,vendor.events_log,vendor.apps_and_device_batched",
    )];
    let extractor = [("SMS_EXTRACTOR_SERVICE_URL", "http://vendor-sms-extraction:8000")];
    let database = [
        ("DB_HOST", "postgres.e2e-vendor.svc"),
        ("DB_PORT", "5432"),
        ("DB_NAME", "api_insights_db"),
        ("DB_USER", user),
        ("DB_PASSWORD", password),
    ];
    [
        ("producer", all(&[&everywhere, &kafka, &topics, &postgres])),
        ("sms", consumer("vendor.sms_batched", "vendor.sms-consumer-group")),
        ("events", consumer("vendor.events_log", "vendor.events-consumer-group")),
        (
            "common",
            consumer("vendor.apps_and_device_batched", "vendor.common-consumer-group"),
        ),
        ("insights", all(&[&everywhere, &postgres, &mongodb, &extractor])),
        ("sms-extraction", all(&[&everywhere, &database])),
    ]
}

/// What the stand-in of a component says of itself.
async fn report(case: &Case, component: &str) -> Result<(Pod, Report)> {
    let pods = case.cluster.api::<Pod>(&case.names.namespace);
    let selector = format!("app.kubernetes.io/component={component}");
    eventually(&format!("{component} reports"), SOON, async || {
        let pod = pods.list(&ListParams::default().labels(&selector)).await?.items.pop();
        let pod = pod.context("no pod")?;
        let log = pods.logs(&pod.name_any(), &LogParams::default()).await?;
        ensure!(!log.is_empty(), "nothing in the log");
        let report = serde_json::from_str(&log).with_context(|| format!("{log:?} is no report"))?;
        Ok(Some((pod, report)))
    })
    .await
}
