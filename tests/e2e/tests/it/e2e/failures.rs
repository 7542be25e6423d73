//! What goes wrong around a pipeline is said in a condition and an Event, is retried, and disturbs nobody else.

use crate::world::{Case, SOON, with_pipeline};
use ::e2e::eventually::eventually;
use ::e2e::pipeline::{Names, condition, status};
use anyhow::{Result, bail, ensure};
use kube::ResourceExt;
use operator::api::SyncPipeline;

/// A second pipeline beside the test's own.
fn beside(case: &Case, name: &str) -> SyncPipeline {
    let mut pipeline = SyncPipeline::new(name, case.pipeline.spec.clone());
    pipeline.metadata.namespace = case.pipeline.namespace();
    pipeline.spec.kafka.topic_prefix = format!("{}{name}.", case.names.topic_prefix);
    pipeline.spec.kafka.group_prefix = format!("{}{name}.", case.names.group_prefix);
    pipeline
}

/// Waits until the pipeline is not Ready for a reason whose message has all the words, and an Event says the same.
pub(super) async fn fails(case: &Case, pipeline: &SyncPipeline, words: &[&str]) -> Result<()> {
    let names = Names::of(pipeline)?;
    let reason = eventually(
        &format!("{} says why it is not Ready", names.pipeline),
        SOON,
        async || {
            let status = status(&case.cluster, &names).await?;
            let Some((state, reason, message)) = condition(&status, "Ready") else {
                bail!("no condition Ready")
            };
            ensure!(state == "False", "Ready is {state}");
            let missing: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
            ensure!(missing.is_empty(), "{reason}: {message:?} does not say {missing:?}");
            Ok(Some(reason.to_owned()))
        },
    )
    .await?;
    eventually(&format!("an Event says {reason}"), SOON, async || {
        let events = case.cluster.events(&names.namespace, &names.pipeline).await?;
        let said = events
            .iter()
            .any(|event| event.starts_with(&reason) && words.iter().all(|word| event.contains(word)));
        ensure!(said, "Events are {events:?}");
        Ok(Some(()))
    })
    .await
}

async fn transition(case: &Case) -> Result<String> {
    let status = case.status().await?;
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let Some(ready) = ready else {
        bail!("no condition Ready")
    };
    ensure!(ready.status == "True", "{}: {}", ready.reason, ready.message);
    Ok(ready.last_transition_time.0.to_string())
}

#[tokio::test]
async fn a_failure_is_told_and_disturbs_nobody_else() {
    with_pipeline(
        "failures",
        |_| {},
        async |case| {
            let since = transition(case).await?;

            let mut missing = beside(case, "secretless");
            sasl(&mut missing).name = "not-yet-there".to_owned();
            case.cluster.apply(&missing).await?;
            fails(case, &missing, &["not-yet-there"]).await?;

            let mut wrong = beside(case, "wrong-password");
            case.environment
                .secret("wrong-credentials", &case.running.kafka.username, "not the password")
                .await?;
            sasl(&mut wrong).name = "wrong-credentials".to_owned();
            case.cluster.apply(&wrong).await?;
            fails(case, &wrong, &["refused the credentials", "spec.kafka.security.sasl"]).await?;

            let mut unreachable = beside(case, "unreachable");
            // A port of the Service's address on which nothing listens.
            let address = format!("kafka.{}.svc:9999", case.names.namespace);
            unreachable.spec.kafka.bootstrap_servers = vec![address.clone()];
            case.cluster.apply(&unreachable).await?;
            fails(case, &unreachable, &[&address]).await?;

            // The good one goes on, in one piece, and still takes and stores records.
            let generator = case.traffic("calm:3s@10", None).await?;
            let (_, receipts) = case.answered(&generator, SOON).await?;
            case.all_stored_once(&receipts).await?;
            assert_eq!(
                transition(case).await?,
                since,
                "the good pipeline was Ready all the time"
            );

            // What is repaired is picked up without further ado.
            let kafka = &case.running.kafka;
            case.environment
                .secret("not-yet-there", &kafka.username, &kafka.password)
                .await?;
            case.environment
                .secret("wrong-credentials", &kafka.username, &kafka.password)
                .await?;
            for repaired in [&missing, &wrong] {
                let names = Names::of(repaired)?;
                ::e2e::pipeline::wait_ready(&case.cluster, &names, SOON, |_| {}).await?;
            }
            for pipeline in [&missing, &wrong, &unreachable] {
                case.cluster
                    .delete::<SyncPipeline>(&case.names.namespace, &pipeline.name_any(), SOON)
                    .await?;
            }
            Ok(())
        },
    )
    .await;
}

fn sasl(pipeline: &mut SyncPipeline) -> &mut operator::api::spec::CredentialsSecret {
    let security = pipeline.spec.kafka.security.as_mut().unwrap();
    let sasl = security.sasl.as_mut().unwrap();
    sasl.credentials_secret_ref.as_mut().unwrap()
}
