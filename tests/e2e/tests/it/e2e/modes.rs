//! Kinds of scaling other than the ladder, on the whole pipeline.

use crate::tools::{operator_binary, output, output_of};
use crate::world::{ANSWERED, Case, SOON, with_pipeline};
use ::e2e::eventually::eventually;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use operator::api::SyncPipeline;
use operator::api::spec::{Consumer, ReplicaBounds, Scaling, ScalingType, ScheduleSpec, Topic};
use serde_json::json;

/// One upload after the other for a few seconds.
const PHASES: &str = "some:4s@10x1";

#[tokio::test]
async fn readers_come_from_nothing_and_are_as_many_as_partitions() {
    with_pipeline("modes", bring, async |case| {
        has_replicas(case, "events", 2).await?;
        has_replicas(case, "common", 2).await?;
        // Nothing has arrived yet.
        has_replicas(case, "sms", 0).await?;
        let generator = case.traffic(PHASES, None).await?;
        has_replicas(case, "sms", 1).await?;
        let (_, receipts) = case.answered(&generator, ANSWERED).await?;
        case.all_stored_once(&receipts).await?;
        has_replicas(case, "sms", 0).await?;

        let mut more = case.pipeline.clone();
        more.spec.topics[0].partitions = Some(3);
        case.cluster.apply(&more).await?;
        has_replicas(case, "events", 3).await?;

        let events = case.cluster.events(&case.names.namespace, &case.names.pipeline).await?;
        for told in [
            "ScaledUp: sms 0 → 1: ",
            "ScaledDown: sms 1 → 0: nothing has arrived for 5 s",
            "ScaledUp: events 2 → 3: one for each of 3 partitions",
            "ScaledUp: common 1 → 2: scheduled from \"* * * * *\" until \"0 0 29 2 *\" in Asia/Kolkata",
        ] {
            assert!(
                events.iter().any(|event| event.starts_with(told)),
                "no {told:?} in {events:#?}"
            );
        }
        replayed(case).await
    })
    .await;
}

/// What the scaler of the SMS readers saw leads to the same decisions once more.
async fn replayed(case: &Case) -> Result<()> {
    let name = format!("{}-trace", case.names.deployment("sms"));
    let arguments = [
        "get",
        "configmap",
        &name,
        "--namespace",
        &case.names.namespace,
        "--output=yaml",
    ];
    let binary = operator_binary()?;
    // It is written once a minute.
    let report = eventually("the trace has the way down", SOON, async || {
        let map = output("kubectl", &arguments).await?;
        let report = output_of(&binary, &["replay", "-"], &map).await?;
        ensure!(
            report.contains("  sms  1 → 0  Idle: nothing has arrived for 5 s"),
            "{report}"
        );
        Ok(Some(report))
    })
    .await?;
    assert!(report.contains("  sms  0 → 1  Arrivals: "), "{report}");
    assert!(
        report.ends_with(" looks, 0 of them decided differently then\n"),
        "{report}"
    );
    Ok(())
}

/// Readers of SMS that may be none, a reader of events for each of two partitions, and two of the rest by schedule.
fn bring(pipeline: &mut SyncPipeline) {
    let topic: Topic = serde_json::from_value(json!({"name": "events_log", "partitions": 2})).unwrap();
    pipeline.spec.topics = vec![topic];
    let sms = consumer(pipeline, "sms");
    sms.component.replicas = Some(ReplicaBounds { min: 0, max: 2 });
    sms.scaling.type_ = ScalingType::Drain;
    sms.scaling.trace = Some(true);
    let common = consumer(pipeline, "common");
    common.component.replicas = Some(ReplicaBounds { min: 1, max: 2 });
    // From the last minute until the next leap day.
    common.scaling.schedules = Some(vec![ScheduleSpec {
        start: "* * * * *".to_owned(),
        end: "0 0 29 2 *".to_owned(),
        time_zone: "Asia/Kolkata".to_owned(),
        min_replicas: 2,
    }]);
    let events = consumer(pipeline, "events");
    events.component.replicas = Some(ReplicaBounds { min: 1, max: 4 });
    events.scaling = Scaling {
        type_: ScalingType::PerPartition,
        ..Scaling::default()
    };
}

fn consumer<'a>(pipeline: &'a mut SyncPipeline, name: &str) -> &'a mut Consumer {
    let mut consumers = pipeline.spec.consumers.iter_mut();
    consumers.find(|consumer| consumer.name == name).unwrap()
}

async fn has_replicas(case: &Case, component: &str, wanted: i32) -> Result<()> {
    let deployments = case.cluster.api::<Deployment>(&case.names.namespace);
    let name = case.names.deployment(component);
    eventually(&format!("{wanted} replicas of {component}"), SOON, async || {
        let found = deployments.get(&name).await?.spec.replicas;
        let found = found.context("no replicas")?;
        ensure!(found == wanted, "{found} replicas");
        Ok(Some(()))
    })
    .await
}
