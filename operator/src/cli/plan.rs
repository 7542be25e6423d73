//! `operator plan`: what a SyncPipeline would become, or would change.

use std::path::Path;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use operator::plan::{SecretDigests, Settings, plan};
use operator::scale::summary;
use operator::{manifest, preview, reconcile, resolve, validate};

use super::{Failure, Outcome, print, read};

/// Whether anything would change. The credentials of a pipeline that is there are resolved, so that only a real change
/// of them is one.
pub(crate) async fn print_difference(file: &Path, settings: &Settings) -> Result<bool, Failure> {
    let client = kube::Client::try_default().await?;
    let mut object = read(file)?;
    let namespace = client.default_namespace().to_owned();
    object.metadata.namespace.get_or_insert(namespace);
    let pipeline = validate::validate(&object)?;
    let live = preview::live(&client, &pipeline.namespace, &pipeline.name).await?;
    let (owner, digests) = match &live {
        Some(live) => (
            reconcile::owner(live),
            resolve::resolve(&client, &object).await?.digests,
        ),
        None => (OwnerReference::default(), SecretDigests::default()),
    };
    let mut plan = plan(&pipeline, settings, &owner, &digests);
    if live.is_none() {
        plan.without_owner();
    }
    let status = live.and_then(|live| live.status).unwrap_or_default();
    let differences = preview::differences(&client, &pipeline.namespace, &pipeline.name, &status, &plan).await?;
    print(&differences)?;
    Ok(!differences.is_empty())
}

/// Prints the topics and objects of a plan.
pub(crate) fn print_plan(file: &Path, settings: &Settings) -> Outcome {
    let pipeline = validate::validate(&read(file)?)?;
    let mut plan = plan(
        &pipeline,
        settings,
        &OwnerReference::default(),
        &SecretDigests::default(),
    );
    plan.without_owner();
    let mut out = String::new();
    for topic in &plan.topics {
        out += &format!(
            "# topic {}: {} partitions, {} copies, {:?}\n",
            topic.name, topic.partitions, topic.replication_factor, topic.config
        );
    }
    for consumer in &pipeline.consumers {
        let name = &consumer.component.name;
        out += &format!("# consumer {name}: {}\n", summary::of_consumer(&pipeline, consumer));
    }
    for account in &plan.accounts {
        out += &format!("---\n{}", manifest::render(account)?);
    }
    for service in &plan.services {
        out += &format!("---\n{}", manifest::render(service)?);
    }
    for deployment in &plan.deployments {
        out += &format!("---\n{}", manifest::render(deployment)?);
    }
    for ingress in &plan.ingresses {
        out += &format!("---\n{}", manifest::render(ingress)?);
    }
    for autoscaler in &plan.autoscalers {
        out += &format!("---\n{}", manifest::render(autoscaler)?);
    }
    for budget in &plan.budgets {
        out += &format!("---\n{}", manifest::render(budget)?);
    }
    for policy in &plan.network_policies {
        out += &format!("---\n{}", manifest::render(policy)?);
    }
    print(&out)
}
