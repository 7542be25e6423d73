//! The main job: a burst, the way up, and the way down.

use crate::world::{ANSWERED, show, with_pipeline};
use ::e2e::reaction::{median, wrong_steps};
use std::time::Duration;

/// How old the lag may be that a step up answers, and how long lag may ask in vain. Far more than is promised: a
/// test tells whether lag is answered, and prints how fast.
const DELAY: Duration = Duration::from_secs(15);
const IN_VAIN: Duration = Duration::from_secs(60);

/// The burst is more than two cores can store while it lasts.
const PHASES: &str = "calm:5s@6,burst:14s@900x4,drain:5s@2x1,calm:20s@5x1";

#[tokio::test]
async fn consumers_climb_with_the_lag_and_come_down_and_nothing_is_lost() {
    with_pipeline(
        "scaling",
        |pipeline| pipeline.spec.daily_active_users = 50_000,
        async |case| {
            let recorder = case.record();
            let generator = case.traffic(PHASES, None).await?;
            let (progress, receipts) = case.answered(&generator, ANSWERED).await?;
            show(&format!(
                "traffic: {:?}, withheld {}",
                progress.total, progress.withheld
            ));
            let recording = case.back_at_least(&recorder).await?;
            case.all_stored_once(&receipts).await?;

            let mut times = Vec::new();
            for (consumer, reaction) in recording.reactions(&case.names, case.pipeline.spec.daily_active_users) {
                show(&format!(
                    "measured: {consumer} above {}: {:?} (lag asked for {:?})",
                    reaction.threshold, reaction.took, reaction.waited
                ));
                times.extend(reaction.took);
                assert!(
                    reaction.took.is_some() || reaction.waited < IN_VAIN,
                    "{consumer}: a lag above {} for {:?} was not answered",
                    reaction.threshold,
                    reaction.waited
                );
            }
            for (consumer, topics) in case.names.topics_by_consumer() {
                let ladder = case.ladder(consumer);
                let history = recording.history(consumer);
                show(&format!("{consumer}: {history:?}"));
                ladder
                    .judge(&history)
                    .unwrap_or_else(|problem| panic!("{consumer}: {problem}; {history:?}"));
                let wrong = wrong_steps(&ladder, &topics, &recording.samples, recording.changes(consumer), DELAY);
                assert!(
                    wrong.is_empty(),
                    "{consumer}: steps to another rung than the lag asked for: {wrong:?}"
                );
            }
            let count = times.len();
            let median = median(times).unwrap();
            show(&format!("measured: reaction to lag, median of {count}: {median:?}"));
            check_decisions(&case.status().await?);
            let events = case.cluster.events(&case.names.namespace, &case.names.pipeline).await?;
            for consumer in case.names.topics_by_consumer().into_keys() {
                for reason in ["ScaledUp", "ScaledDown"] {
                    let start = format!("{reason}: {consumer} ");
                    assert!(
                        events.iter().any(|event| event.starts_with(&start)),
                        "no Event {start:?} in {events:#?}"
                    );
                }
            }
            Ok(())
        },
    )
    .await;
}

/// The status says what was decided last, and why.
fn check_decisions(status: &operator::api::SyncPipelineStatus) {
    for component in status
        .components
        .iter()
        .filter(|component| component.kind == "consumer")
    {
        let decision = component
            .last_decision
            .as_ref()
            .unwrap_or_else(|| panic!("{} has no decision", component.name));
        assert_eq!(decision.to, component.min, "{}: {decision:?}", component.name);
        assert!(
            decision.from > decision.to && !decision.reason.is_empty() && !decision.message.is_empty(),
            "{decision:?}"
        );
    }
}
