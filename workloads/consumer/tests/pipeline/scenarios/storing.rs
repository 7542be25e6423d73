//! The plain way.

use crate::{load::Load, stage::Stage, stored::Stored};
use anyhow::{Result, ensure};
use contract::{Source, metric};
use sqlx::Executor;
use std::time::Instant;

/// One reader over all topics, as in a development environment.
pub(crate) async fn all_sources_are_stored(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    for source in Source::ALL {
        load.upload(source, 40, 25).await?;
    }
    let reader = stage.start_ready(&Source::ALL).await?;
    stage.until_no_lag(&Source::ALL).await?;
    let stored = Stored::of(&stage)?;
    stored.ensure_exactly(&load.expected).await?;
    for source in Source::ALL {
        let labels = format!(r#"outcome="stored",source="{source}""#);
        ensure!(
            reader.metric(metric::CONSUMER_RECORDS, &labels).await? == 1_000.0,
            "{source} is not counted"
        );
    }
    ensure!(reader.metric(metric::CONSUMER_RECORDS, "dead_lettered").await? == 0.0);
    ensure!(reader.metric(metric::CONSUMER_PARTITIONS, "").await? == 20.0);

    let mut connection = stored.connection().await?;
    let row: (String, String, i64, String) = sqlx::query_as(
        "SELECT sender, user_id, (raw->>'threadId')::bigint, to_char(event_time, 'YYYY_MM') FROM sms \
         WHERE raw->>'id' = 'record-7'",
    )
    .fetch_one(&mut connection)
    .await?;
    ensure!(
        (row.0.as_str(), row.1.as_str(), row.2) == ("AX-BANKIN", "user-0", 7),
        "{row:?}"
    );
    let month: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM sms_{}", row.3))
        .fetch_one(&mut connection)
        .await?;
    ensure!(month > 0, "rows of this month are in the month's partition");
    let phones: Vec<String> = sqlx::query_scalar("SELECT phones FROM contacts LIMIT 1")
        .fetch_one(&mut connection)
        .await?;
    ensure!(phones == ["+911234567890", "+15550100"], "{phones:?}");
    let document = &stored.documents(Source::Contacts).await?[0];
    ensure!(
        document.get_document("raw")?.get_array("phones")?.len() == 2,
        "{document}"
    );

    // What comes next is stored, too, and SIGTERM loses nothing of it.
    load.upload(Source::Sms, 400, 25).await?;
    reader.terminate().await?;
    let reader = stage.start_ready(&Source::ALL).await?;
    stage.until_no_lag(&Source::ALL).await?;
    stored.ensure_exactly(&load.expected).await?;
    reader.terminate().await
}

/// Nothing is there yet, and all of them create it.
pub(crate) async fn many_replicas_start_at_once(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Events, 20, 50).await?;
    let readers = (0..6)
        .map(|_| stage.start(&[Source::Events], &[]))
        .collect::<Result<Vec<_>>>()?;
    for reader in &readers {
        reader.until_ready().await?;
    }
    stage.until_no_lag(&[Source::Events]).await?;
    Stored::of(&stage)?.ensure_exactly(&load.expected).await
}

/// A device whose clock is half a year ahead; then time catches up with it.
pub(crate) async fn a_month_takes_its_rows_from_the_default_partition(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    let mut ahead = crate::load::record(Source::Sms, 1);
    ahead["timestamp"] = "2031-05-31T23:59:59.999999Z".into();
    let mut after = crate::load::record(Source::Sms, 2);
    after["timestamp"] = "2031-06-01T00:00:00Z".into();
    load.upload_records(Source::Sms, "user", vec![ahead, after]).await?;
    let _reader = stage.start_ready(&[Source::Sms]).await?;
    stage.until_no_lag(&[Source::Sms]).await?;

    let stored = Stored::of(&stage)?;
    let mut connection = stored.connection().await?;
    let places = "SELECT tableoid::regclass::text FROM sms ORDER BY event_time";
    let before: Vec<String> = sqlx::query_scalar(places).fetch_all(&mut connection).await?;
    ensure!(before == ["sms_default", "sms_default"], "{before:?}");
    let create = "SELECT create_month('sms', '2031-05-15')";
    ensure!(
        sqlx::query_scalar::<_, bool>(create).fetch_one(&mut connection).await?,
        "the month was missing"
    );
    ensure!(
        !sqlx::query_scalar::<_, bool>(create).fetch_one(&mut connection).await?,
        "the month is there"
    );
    let after: Vec<String> = sqlx::query_scalar(places).fetch_all(&mut connection).await?;
    ensure!(after == ["sms_2031_05", "sms_default"], "{after:?}");
    stored.ensure_exactly(&load.expected).await
}

/// Whoever reads meanwhile sees every row; and what a phone has kept for years is in nobody's way.
pub(crate) async fn a_month_is_created_a_few_rows_at_a_time(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    let at = |number: u64, time: &str| {
        let mut record = crate::load::record(Source::Sms, number);
        record["timestamp"] = time.into();
        record
    };
    // Five of one moment, which no step can divide.
    let times = (0..20).map(|number: u64| format!("2031-05-{:02}T00:00:00Z", 1 + number.saturating_sub(4)));
    let ahead = times.zip(0..).map(|(time, number)| at(number, &time)).collect();
    load.upload_records(Source::Sms, "user", ahead).await?;
    let past = (100..130).map(|number| at(number, "2019-12-31T12:00:00Z")).collect();
    load.upload_records(Source::Sms, "user", past).await?;
    let reader = stage.start_ready(&[Source::Sms]).await?;
    stage.until_no_lag(&[Source::Sms]).await?;

    let stored = Stored::of(&stage)?;
    let mut connection = stored.connection().await?;
    let places = "SELECT tableoid::regclass::text, count(*) FROM sms GROUP BY 1 ORDER BY 1";
    let before: Vec<(String, i64)> = sqlx::query_as(places).fetch_all(&mut connection).await?;
    let counts = |counts: &[(&str, i64)]| -> Vec<(String, i64)> {
        counts
            .iter()
            .map(|(table, count)| ((*table).to_owned(), *count))
            .collect()
    };
    ensure!(before == counts(&[("sms_default", 20), ("sms_past", 30)]), "{before:?}");

    // Somebody who writes holds it up for a moment, and is not held up for longer.
    let mut writing = stored.connection().await?;
    writing.execute("BEGIN; LOCK TABLE sms IN ROW EXCLUSIVE MODE").await?;
    let create = "SELECT create_month('sms', '2031-05-01', 6)";
    let refused = sqlx::query_scalar::<_, bool>(create).fetch_one(&mut connection).await;
    let code = refused
        .err()
        .and_then(|error| Some(error.as_database_error()?.code()?.into_owned()));
    ensure!(code.as_deref() == Some("55P03"), "{code:?}");
    writing.execute("COMMIT").await?;

    let mut steps = Vec::new();
    while sqlx::query_scalar::<_, bool>(create).fetch_one(&mut connection).await? {
        ensure!(stored.count(Source::Sms).await? == 50, "a row is out of sight");
        let moved: i64 = sqlx::query_scalar("SELECT count(*) FROM sms_2031_05")
            .fetch_one(&mut connection)
            .await?;
        steps.push(moved);
    }
    ensure!(steps == [11, 18, 20], "{steps:?}");
    let after: Vec<(String, i64)> = sqlx::query_as(places).fetch_all(&mut connection).await?;
    ensure!(after == counts(&[("sms_2031_05", 20), ("sms_past", 30)]), "{after:?}");
    stored.ensure_exactly(&load.expected).await?;
    reader.terminate().await
}

/// How fast one reader works off a backlog.
pub(crate) async fn rate_of_a_backlog(stage: Stage) -> Result<()> {
    let mut load = Load::new(&stage)?;
    load.upload(Source::Sms, 2_000, 50).await?;
    load.upload(Source::Events, 1, 50_000).await?;
    for (what, sources, records, mongodb) in [
        ("sms, both stores", &[Source::Sms], 100_000_u32, "*"),
        ("events, PostgreSQL only", &[Source::Events], 50_000, "contacts"),
    ] {
        let changes = [
            (contract::env::MONGODB_ENABLED_SOURCES, mongodb.to_owned()),
            (
                contract::env::KAFKA_CONSUMER_GROUP,
                format!("{}-{}", stage.name, sources[0]),
            ),
        ];
        let started = Instant::now();
        let reader = stage.start(sources, &changes)?;
        let stored = Stored::of(&stage)?;
        reader.until_ready().await?;
        let ready = started.elapsed();
        let labels = format!(r#"outcome="stored",source="{}""#, sources[0]);
        crate::wait::until(
            "all records are stored",
            std::time::Duration::from_secs(300),
            async || {
                let count = reader.metric(metric::CONSUMER_RECORDS, &labels).await?;
                Ok((count != f64::from(records)).then(|| format!("{count} of {records}")))
            },
        )
        .await?;
        let seconds = (started.elapsed() - ready).as_secs_f64();
        println!(
            "       {what}: {records} records in {seconds:.1} s, {:.0} a second; start {:.1} s; {:.2} s in PostgreSQL, {:.2} s in MongoDB",
            f64::from(records) / seconds,
            ready.as_secs_f64(),
            reader
                .metric(&format!("{}_sum", metric::CONSUMER_WRITE_DURATION), "postgres")
                .await?,
            reader
                .metric(&format!("{}_sum", metric::CONSUMER_WRITE_DURATION), "mongodb")
                .await?,
        );
        ensure!(stored.count(sources[0]).await? == u64::from(records));
    }
    Ok(())
}
