//! Parts of a pipeline are killed in mid-burst: nothing is lost, nothing is twice, and it recovers by itself.

mod beneath;
mod steps;

use crate::world::{ANSWERED, Case, OPERATOR, OPERATOR_NAMESPACE, SOON, show, with_pipeline};
use ::e2e::eventually::eventually;
use anyhow::{Context, Result, ensure};
use contract::env;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// Traffic in which something is killed, and the moment for it.
const PHASES: &str = "before:4s@80x20,kill:16s@80x20";
const KILL: &str = "kill";

/// Sends a burst, does harm in the middle of it, and expects that everything is stored once and the pipeline is Ready.
async fn survives(case: &Case, harm: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let recorder = case.record();
    let generator = case.traffic(PHASES, None).await?;
    generator.reached(KILL, SOON).await?;
    harm().await?;
    let (progress, receipts) = case.answered(&generator, ANSWERED).await?;
    show(&format!(
        "traffic: {:?}, withheld {}",
        progress.total, progress.withheld
    ));
    case.all_stored_once(&receipts).await?;
    let recording = case.back_at_least(&recorder).await?;
    for consumer in case.names.topics_by_consumer().into_keys() {
        show(&format!("{consumer}: {:?}", recording.history(consumer)));
    }
    case.ready().await
}

#[tokio::test]
async fn the_operator_is_killed() {
    with_pipeline(
        "no-operator",
        |_| {},
        async |case| {
            survives(case, async || {
                let pods = case.cluster.api::<Pod>(OPERATOR_NAMESPACE);
                let killed = pods.list(&ListParams::default().labels(OPERATOR)).await?;
                let killed: Vec<String> = killed.iter().map(ResourceExt::name_any).collect();
                ensure!(!killed.is_empty(), "there is no operator in {OPERATOR_NAMESPACE}");
                for pod in &killed {
                    pods.delete(pod, &DeleteParams::default().grace_period(0)).await?;
                }
                eventually("another operator runs", SOON, async || {
                    let found = pods.list(&ListParams::default().labels(OPERATOR)).await?;
                    let ready = found
                        .iter()
                        .filter(|pod| !killed.contains(&pod.name_any()))
                        .any(is_ready);
                    Ok(ready.then_some(()))
                })
                .await
            })
            .await
        },
    )
    .await;
}

#[tokio::test]
async fn the_leader_of_two_operators_is_frozen() {
    with_pipeline(
        "no-leader",
        |_| {},
        async |case| {
            let pods = case.cluster.api::<Pod>(OPERATOR_NAMESPACE);
            let deployments = case.cluster.api::<Deployment>(OPERATOR_NAMESPACE);
            let operators = ListParams::default().labels(OPERATOR);
            let operator = deployments.list(&operators).await?.items.pop().context("no operator")?;
            let before = operator.spec.replicas.unwrap_or(1);
            let scale = async |replicas: i32| {
                let patch = json!({"spec": {"replicas": replicas}});
                let parameters = PatchParams::default();
                deployments
                    .patch_scale(&operator.name_any(), &parameters, &Patch::Merge(&patch))
                    .await
            };
            scale(2).await?;
            eventually("two operators run", SOON, async || {
                let found = pods.list(&operators).await?;
                Ok((found.iter().filter(|pod| is_ready(pod)).count() == 2).then_some(()))
            })
            .await?;
            let outcome = survives(case, async || {
                let leader = leader(case).await?;
                let all = pods.list(&operators).await?;
                let standing_by = all.iter().map(ResourceExt::name_any).find(|name| *name != leader);
                let standing_by = standing_by.with_context(|| format!("nobody stands by for {leader}"))?;
                // It neither gives the Lease back nor says anything, and wakes up when it is no leader any more.
                let frozen = processes(&format!("POD_NAME={leader}"))?;
                ensure!(!frozen.is_empty(), "no process of this machine is {leader}");
                signal("-STOP", &frozen).await?;
                let since = Instant::now();
                let led = eventually("the one standing by leads", SOON, async || {
                    Ok((self::leader(case).await? == standing_by).then_some(()))
                })
                .await;
                show(&format!(
                    "{standing_by} leads after {:.1} s",
                    since.elapsed().as_secs_f64()
                ));
                signal("-CONT", &frozen).await?;
                led?;
                Ok(())
            })
            .await;
            scale(before).await?;
            outcome?;
            let events = case.cluster.events(&case.names.namespace, &case.names.pipeline).await?;
            let created = events.iter().filter(|event| event.starts_with("TopicsCreated")).count();
            assert_eq!(created, 1, "{events:?}");
            Ok(())
        },
    )
    .await;
}

/// The operator that holds the Lease.
async fn leader(case: &Case) -> Result<String> {
    let leases = case.cluster.api::<Lease>(OPERATOR_NAMESPACE);
    let leases = leases.list(&ListParams::default()).await?;
    let mut holders = leases
        .iter()
        .filter_map(|lease| lease.spec.as_ref()?.holder_identity.clone());
    holders.next().context("nobody holds the Lease")
}

#[tokio::test]
async fn a_consumer_is_killed() {
    with_pipeline(
        "no-consumer",
        |_| {},
        async |case| {
            survives(case, async || {
                let group = case.names.group(contract::Source::Sms);
                let marker = format!("{}={group}", env::KAFKA_CONSUMER_GROUP);
                let pids = processes(&marker)?;
                ensure!(!pids.is_empty(), "no process of this machine reads for {group}");
                signal("-KILL", &pids).await?;
                eventually("the consumer runs again", SOON, async || {
                    let again = processes(&marker)?;
                    Ok(again.iter().any(|pid| !pids.contains(pid)).then_some(()))
                })
                .await
            })
            .await
        },
    )
    .await;
}

#[tokio::test]
async fn the_broker_is_killed() {
    with_pipeline(
        "no-broker",
        |_| {},
        async |case| {
            survives(case, async || {
                services::kafka::kill9(0)?;
                tokio::time::sleep(Duration::from_secs(3)).await;
                tokio::task::spawn_blocking(|| services::kafka::start(0)).await?
            })
            .await
        },
    )
    .await;
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn signal(signal: &str, pids: &[u32]) -> Result<()> {
    let mut kill = tokio::process::Command::new("kill");
    let sent = kill.arg(signal).args(pids.iter().map(u32::to_string)).status().await?;
    ensure!(sent.success(), "{pids:?} did not get the signal {signal}");
    Ok(())
}

/// Processes of this machine with a variable in their environment: those in pods, too.
fn processes(variable: &str) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").context("list processes")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process may end while it is looked at.
        let environment = std::fs::read(Path::new("/proc").join(entry.file_name()).join("environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == variable.as_bytes())
        {
            found.push(pid);
        }
    }
    Ok(found)
}
