//! Every example's plan, as a snapshot: `cargo insta review` shows what a change does to users' clusters.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its own functions too")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use operator::api::SyncPipeline;
use operator::plan::{SecretDigests, Settings, plan};
use operator::{manifest, validate};

fn planned(example: &str) -> operator::plan::Plan {
    let path = format!("{}/../examples/{example}.yaml", env!("CARGO_MANIFEST_DIR"));
    let object: SyncPipeline = manifest::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    let settings = Settings {
        producer_image: "producer:1".into(),
        consumer_image: "consumer:1".into(),
    };
    let owner = OwnerReference {
        api_version: "syncpipeline.dev/v1alpha1".into(),
        kind: "SyncPipeline".into(),
        name: example.into(),
        uid: "00000000-0000-0000-0000-000000000001".into(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    let digests = SecretDigests {
        kafka: "k1".into(),
        postgres: "p1".into(),
        mongodb: "m1".into(),
    };
    plan(&validate::validate(&object).unwrap(), &settings, &owner, &digests)
}

#[test]
fn mobileforge() {
    let plan = planned("mobileforge");
    insta::assert_yaml_snapshot!("mobileforge", plan);
    insta::assert_debug_snapshot!("mobileforge-topics", plan.topics);
}

#[test]
fn no_object_holds_a_secret_and_every_credential_is_a_reference() {
    for deployment in planned("mobileforge").deployments {
        let pod = deployment.spec.template.spec.unwrap();
        for var in pod
            .containers
            .iter()
            .flat_map(|container| container.env.iter().flatten())
        {
            let credential = var.name.ends_with("_PASSWORD") || var.name.ends_with("_USERNAME");
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
        let path = format!("{}/../examples/mobileforge.yaml", env!("CARGO_MANIFEST_DIR"));
        let object: SyncPipeline = manifest::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        let settings = Settings {
            producer_image: "p".into(),
            consumer_image: "c".into(),
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
