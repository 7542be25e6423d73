//! Every example's plan, as a snapshot: `cargo insta review` shows what a change does to users' clusters.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its own functions too")]

use contract::env;
use k8s_openapi::api::core::v1::EnvVar;
use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use operator::api::SyncPipeline;
use operator::api::spec::{
    AuthoritySecret, ClientCertificateSecret, KafkaSecurity, KafkaTls, Sasl, SaslMechanism, SecurityProtocol,
    ServiceAccountSettings,
};
use operator::ladder::Bounds;
use operator::plan::{SecretDigests, Settings, Start, plan};
use operator::{manifest, validate};

fn settings() -> Settings {
    Settings {
        producer_image: "producer:1".into(),
        consumer_image: "consumer:1".into(),
        monitoring_namespace: "monitoring".into(),
    }
}

fn example(name: &str) -> SyncPipeline {
    let path = format!("{}/../examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    manifest::parse(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn planned(name: &str) -> operator::plan::Plan {
    planned_of(&example(name))
}

fn planned_of(object: &SyncPipeline) -> operator::plan::Plan {
    let settings = settings();
    let owner = OwnerReference {
        api_version: "syncpipeline.dev/v1alpha1".into(),
        kind: "SyncPipeline".into(),
        name: object.metadata.name.clone().unwrap(),
        uid: "00000000-0000-0000-0000-000000000001".into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let digests = SecretDigests {
        kafka: "k1".into(),
        postgres: "p1".into(),
        mongodb: "m1".into(),
        ..SecretDigests::default()
    };
    plan(&validate::validate(object).unwrap(), &settings, &owner, &digests)
}

#[test]
fn mobileforge() {
    let plan = planned("mobileforge");
    insta::assert_yaml_snapshot!("mobileforge", plan);
    insta::assert_debug_snapshot!("mobileforge-topics", plan.topics);
}

/// The variables of a Deployment's only container.
fn environment(plan: &operator::plan::Plan, deployment: &str) -> Vec<EnvVar> {
    let mut found = plan.deployments.iter();
    let found = found.find(|found| found.metadata.name.as_deref() == Some(deployment));
    let pod = found.unwrap().spec.template.spec.clone().unwrap();
    pod.containers
        .into_iter()
        .flat_map(|container| container.env.unwrap())
        .collect()
}

/// The example over SASL_SSL, with an authority and a client certificate of its own.
fn over_tls() -> SyncPipeline {
    let mut object = example("mobileforge");
    let security = object.spec.kafka.security.as_mut().unwrap();
    security.protocol = SecurityProtocol::SaslSsl;
    security.tls = Some(KafkaTls {
        ca_secret_ref: Some(AuthoritySecret {
            name: "kafka-ca".into(),
            key: "ca.crt".into(),
        }),
        client_cert_secret_ref: Some(ClientCertificateSecret {
            name: "kafka-client".into(),
            certificate_key: "user.crt".into(),
            private_key_key: "user.key".into(),
        }),
    });
    object
}

#[test]
fn certificates_reach_producer_and_consumer() {
    let plan = planned_of(&over_tls());
    insta::assert_yaml_snapshot!("tls-producer", environment(&plan, "mobileforge-producer"));
    insta::assert_yaml_snapshot!("tls-consumer", environment(&plan, "mobileforge-sms"));
}

/// The example on Amazon MSK, by role.
fn on_msk() -> SyncPipeline {
    let mut object = example("mobileforge");
    let kafka = &mut object.spec.kafka;
    kafka.bootstrap_servers = vec!["b-1.x.abcdef.c2.kafka.eu-central-1.amazonaws.com:9098".into()];
    kafka.security = Some(KafkaSecurity {
        protocol: SecurityProtocol::SaslSsl,
        sasl: Some(Sasl {
            mechanism: SaslMechanism::AwsMskIam,
            credentials_secret_ref: None,
            aws_region: None,
        }),
        tls: None,
    });
    object
}

#[test]
fn on_msk_pods_get_a_region_and_no_password() {
    let plan = planned_of(&on_msk());
    for deployment in ["mobileforge-producer", "mobileforge-sms"] {
        let variables = environment(&plan, deployment);
        let value = |name: &str| {
            let found = variables.iter().find(|variable| variable.name == name);
            found.and_then(|variable| variable.value.clone())
        };
        assert_eq!(value("DI_KAFKA_SECURITY_PROTOCOL").as_deref(), Some("SASL_SSL"));
        assert_eq!(value("DI_KAFKA_SASL_MECHANISM").as_deref(), Some("AWS_MSK_IAM"));
        assert_eq!(value("DI_KAFKA_AWS_REGION").as_deref(), Some("eu-central-1"));
        let password = ["DI_KAFKA_USERNAME", "DI_KAFKA_PASSWORD"];
        assert!(
            !variables
                .iter()
                .any(|variable| password.contains(&variable.name.as_str()))
        );
    }
}

#[test]
fn on_msk_pods_reach_whoever_gives_them_credentials() {
    /// Ports and networks of each rule for what pods may reach.
    fn egress(object: &SyncPipeline) -> Vec<(Vec<String>, Vec<String>)> {
        let policy = planned_of(object).network_policies.remove(0);
        let rules = policy.spec.unwrap().egress.unwrap();
        let ports = |rule: &NetworkPolicyEgressRule| {
            let ports = rule.ports.iter().flatten().map(|port| port.port.clone().unwrap());
            ports
                .map(|port| match port {
                    IntOrString::Int(number) => number.to_string(),
                    IntOrString::String(name) => name,
                })
                .collect()
        };
        let networks = |rule: &NetworkPolicyEgressRule| {
            let peers = rule.to.iter().flatten();
            peers.filter_map(|peer| Some(peer.ip_block.clone()?.cidr)).collect()
        };
        rules.iter().map(|rule| (ports(rule), networks(rule))).collect()
    }
    let with_password = egress(&example("mobileforge"));
    assert!(!with_password.iter().any(|(ports, _)| ports.contains(&"443".to_owned())));
    assert_eq!(with_password.len(), 2);

    let by_role = egress(&on_msk());
    assert_eq!(by_role.len(), 3);
    assert!(by_role[1].0.contains(&"443".to_owned()), "{by_role:?}");
    let agent = ["169.254.170.23/32".to_owned(), "fd00:ec2::23/128".to_owned()];
    assert_eq!(by_role[2], (vec!["80".to_owned()], agent.to_vec()));
}

#[test]
fn annotations_reach_every_account_and_another_role_rolls_the_pods() {
    let with_role = |role: &str| {
        let mut object = example("mobileforge");
        object.spec.service_account = Some(ServiceAccountSettings {
            name: None,
            annotations: [("eks.amazonaws.com/role-arn".to_owned(), role.to_owned())].into(),
        });
        planned_of(&object)
    };
    let plan = with_role("a");
    assert_eq!(plan.accounts.len(), plan.deployments.len());
    for account in &plan.accounts {
        let annotations = account.metadata.annotations.as_ref().unwrap();
        assert_eq!(annotations["eks.amazonaws.com/role-arn"], "a");
        assert_eq!(account.automount_service_account_token, Some(false));
    }
    let pods = |plan: &operator::plan::Plan| plan.deployments[0].spec.template.metadata.clone();
    assert_eq!(pods(&plan), pods(&with_role("a")));
    assert_ne!(pods(&plan), pods(&with_role("b")));
}

#[test]
fn a_named_account_is_used_and_none_is_made() {
    let mut object = example("mobileforge");
    object.spec.service_account = Some(ServiceAccountSettings {
        name: Some("existing".to_owned()),
        annotations: std::collections::BTreeMap::new(),
    });
    let plan = planned_of(&object);
    assert!(plan.accounts.is_empty(), "{:?}", plan.accounts);
    for deployment in plan.deployments {
        let pod = deployment.spec.template.spec.unwrap();
        assert_eq!(pod.service_account_name.as_deref(), Some("existing"));
        assert_eq!(pod.automount_service_account_token, Some(false));
    }
}

#[test]
fn no_object_holds_a_secret_and_every_credential_is_a_reference() {
    for deployment in planned_of(&over_tls()).deployments {
        let pod = deployment.spec.template.spec.unwrap();
        for var in pod
            .containers
            .iter()
            .flat_map(|container| container.env.iter().flatten())
        {
            let credential = ["_PASSWORD", "_USERNAME", "_PEM"]
                .iter()
                .any(|end| var.name.ends_with(end));
            assert_eq!(
                credential,
                var.value_from
                    .as_ref()
                    .is_some_and(|from| from.secret_key_ref.is_some()),
                "{}",
                var.name
            );
        }
    }
}

#[test]
fn a_changed_password_rolls_only_the_pods_that_use_it() {
    let annotation = |digests: &SecretDigests| -> Vec<String> {
        let object = example("mobileforge");
        let settings = Settings {
            producer_image: "p".into(),
            consumer_image: "c".into(),
            monitoring_namespace: "monitoring".into(),
        };
        let pipeline = validate::validate(&object).unwrap();
        plan(&pipeline, &settings, &OwnerReference::default(), digests)
            .deployments
            .into_iter()
            .map(|deployment| format!("{:?}", deployment.spec.template.metadata.unwrap().annotations))
            .collect()
    };
    let before = annotation(&SecretDigests {
        mongodb: "1".into(),
        ..SecretDigests::default()
    });
    let after = annotation(&SecretDigests {
        mongodb: "2".into(),
        ..SecretDigests::default()
    });
    let rolled: Vec<bool> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| before != after)
        .collect();
    assert_eq!(rolled, [false, true, true, true], "the producer does not know MongoDB");
}

#[test]
fn a_vendors_image_runs_as_it_is() {
    let text = r#"
apiVersion: syncpipeline.dev/v1alpha1
kind: SyncPipeline
metadata: {name: vendor, namespace: demo}
spec:
  profile: Custom
  environment: prod
  dailyActiveUsers: 50000
  kafka: {bootstrapServers: ["kafka:9092"]}
  postgres: {host: postgres, credentialsSecretRef: {name: postgres}}
  topics: [{name: clicks}]
  producers:
    - name: api
      topics: [clicks]
      image: registry.example/vendor/api:7
      port: 3000
      probes: {type: None}
      env: [{name: LOG_LEVEL, value: debug}, {name: TOKEN, valueFrom: {secretKeyRef: {name: token, key: value}}}]
      pod:
        labels: {team: ads}
        nodeSelector: {disk: ssd}
        topologySpread: None
        securityContext: {runAsNonRoot: false, readOnlyRootFilesystem: false, capabilities: [CHOWN]}
  imagePullSecrets: [{name: registry}]
"#;
    let object: SyncPipeline = manifest::parse(text).unwrap();
    let pipeline = validate::validate(&object).unwrap();
    let plan = plan(
        &pipeline,
        &settings(),
        &OwnerReference::default(),
        &SecretDigests::default(),
    );
    insta::assert_yaml_snapshot!("vendor", plan);
}

#[test]
fn a_port_of_its_own_is_told_to_our_image_and_not_to_a_vendors() {
    let object = |image: &str| -> SyncPipeline {
        manifest::parse(&format!(
            "apiVersion: syncpipeline.dev/v1alpha1\nkind: SyncPipeline\nmetadata: {{name: p, namespace: n}}\nspec:\n  \
             dailyActiveUsers: 1\n  kafka: {{bootstrapServers: ['k:9092']}}\n  postgres: {{host: pg, \
             credentialsSecretRef: {{name: pg}}}}\n  mongodb: {{host: mg, credentialsSecretRef: {{name: mg}}}}\n  \
             producers: [{{name: producer, port: 9000{image}}}]\n"
        ))
        .unwrap()
    };
    let told = |object: &SyncPipeline| {
        let pipeline = validate::validate(object).unwrap();
        let plan = plan(
            &pipeline,
            &settings(),
            &OwnerReference::default(),
            &SecretDigests::default(),
        );
        let pod = plan.deployments[0].spec.template.spec.clone().unwrap();
        let env = pod.containers[0].env.clone().unwrap();
        env.into_iter()
            .find(|var| var.name == contract::env::HTTP_PORT)
            .and_then(|var| var.value)
    };
    assert_eq!(told(&object("")).as_deref(), Some("9000"));
    assert_eq!(told(&object(", image: vendor")), None);
}

#[test]
fn insights_and_sms_extraction_know_each_other_and_the_stores() {
    let mut object = example("mobileforge");
    let insights = "{api: {image: 'vendor/insights:4'}, smsExtraction: {image: 'vendor/extraction:1', port: 9000}}";
    object.spec.insights = Some(manifest::parse(insights).unwrap());
    let mut plan = planned_of(&object);
    // The rest is in the snapshot of the example.
    let other = |name: &Option<String>| {
        let name = name.clone().unwrap();
        !name.ends_with("-insights") && !name.ends_with("-sms-extraction")
    };
    plan.accounts.clear();
    plan.budgets.clear();
    plan.services.retain(|object| !other(&object.metadata.name));
    plan.deployments.retain(|object| !other(&object.metadata.name));
    plan.autoscalers.retain(|object| !other(&object.metadata.name));
    plan.network_policies.retain(|object| !other(&object.metadata.name));
    plan.starts.retain(|name, _| !other(&Some(name.clone())));
    insta::assert_yaml_snapshot!("insights", plan);
}

#[test]
fn stores_with_certificates_connection_strings_and_limits() {
    let mut object = example("mobileforge");
    let postgres = "{host: pg, tls: {caSecretRef: {name: ca}}, maxConnections: 50, credentialsSecretRef: {name: pg}}";
    object.spec.postgres = Some(manifest::parse(postgres).unwrap());
    let mongodb = "{uriSecretRef: {name: atlas, key: uri}, pool: {min: 5, max: 50}}";
    object.spec.mongodb = Some(manifest::parse(mongodb).unwrap());
    let plan = planned_of(&object);
    insta::assert_yaml_snapshot!("stores-consumer", environment(&plan, "mobileforge-sms"));
}

#[test]
fn a_producer_that_is_switched_off_has_no_autoscaler_and_starts_with_nothing() {
    let mut pipeline = validate::validate(&example("mobileforge")).unwrap();
    pipeline.producers[0].component.bounds = Bounds { min: 0, max: 0 };
    let plan = plan(
        &pipeline,
        &settings(),
        &OwnerReference::default(),
        &SecretDigests::default(),
    );
    assert!(plan.autoscalers.is_empty());
    assert_eq!(plan.starts["mobileforge-producer"], Start::Off);
    assert_eq!(plan.deployments.len(), 4);
}

#[test]
fn a_producer_learns_whether_it_asks_for_keys_and_where_they_are() {
    let mut object = example("mobileforge");
    let names = |object: &SyncPipeline| -> Vec<String> {
        let variables = environment(&planned_of(object), "mobileforge-producer");
        variables.into_iter().map(|variable| variable.name).collect()
    };
    // A pipeline that says nothing of it gets what it always got.
    assert!(!names(&object).iter().any(|name| name == env::API_KEYS));
    object.spec.producers = vec![
        serde_json::from_value(serde_json::json!({
            "name": "producer", "apiKeys": "Required", "idempotencyWindow": "2h",
        }))
        .unwrap(),
    ];
    let variables = environment(&planned_of(&object), "mobileforge-producer");
    let value = |name: &str| {
        let variable = variables.iter().find(|variable| variable.name == name).unwrap();
        variable.value.clone()
    };
    assert_eq!(value(env::API_KEYS).as_deref(), Some("Required"));
    assert_eq!(value(env::IDEMPOTENCY_WINDOW_SECONDS).as_deref(), Some("7200"));
    assert_eq!(value(env::POSTGRES_DATABASE).as_deref(), Some("api_insights_db"));
    let password = variables
        .iter()
        .find(|variable| variable.name == env::POSTGRES_PASSWORD);
    let source = password.unwrap().value_from.as_ref().unwrap();
    assert!(source.secret_key_ref.is_some(), "a password is never in the plan");
}
