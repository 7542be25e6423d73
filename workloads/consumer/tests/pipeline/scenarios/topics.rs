//! Topics that are not what they were.

use crate::{
    load::Load,
    stage::{PARTITIONS, Stage},
    stored::Stored,
    wait,
};
use anyhow::{Result, ensure};
use contract::Source;
use std::time::Duration;

/// The process says so and ends; the next one reads the new topic from its start, whatever Kafka still has of the old
/// one's commits, and what the old one brought stays.
pub(crate) async fn a_recreated_topic_is_read_from_its_start(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 20, 25).await?;
    let mut reader = stage.start_ready(&[Source::Sms]).await?;
    stage.until_no_lag(&[Source::Sms]).await?;

    let topic = stage.topic(Source::Sms);
    stage.delete_topic(&topic).await?;
    wait::until("the topic is created again", Duration::from_secs(30), async || {
        stage.create_topic(&topic, PARTITIONS).await.map(|()| None)
    })
    .await?;
    let status = reader.until_ended(Duration::from_secs(90)).await?;
    ensure!(!status.success(), "{status}");
    let log = reader.log()?;
    ensure!(log.contains(&format!("topic {topic} was recreated")), "{log}");

    let mut load_again = Load::new(&stage)?;
    load_again.expected = load.expected;
    let more = (0..500)
        .map(|number| crate::load::record(Source::Sms, 10_000 + number))
        .collect();
    load_again.upload_records(Source::Sms, "user", more).await?;
    // The last commit of a reader of the old topic, which Kafka takes for the new one: they share their name.
    stage.commit_end(&[Source::Sms]).await?;
    let reader = stage.start_ready(&[Source::Sms]).await?;
    wait::until(
        "the new topic's records are stored",
        Duration::from_secs(60),
        async || {
            let count = Stored::of(&stage)?.count(Source::Sms).await?;
            Ok((count != 1_000).then(|| count.to_string()))
        },
    )
    .await?;
    Stored::of(&stage)?.ensure_exactly(&load_again.expected).await?;
    reader.terminate().await
}
