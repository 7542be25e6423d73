//! Reading into a schema of its own: the consumer itself, as a group of its own, from the moment to what was the end when
//! it began. It may be interrupted and goes on where it was.

use super::{RewindError, offsets::Bounds, progress::Progress};
use crate::{
    config::{Config, PostgresConfig, schema_name},
    consume, new_health,
    sink::postgres::{Postgres, ledger::LedgerKey, schema},
    topic::{Partition, Topics},
};
use chrono::{DateTime, Utc};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// How the names of groups end that read into this schema.
fn group_suffix(schema: &str) -> String {
    format!("-{schema}")
}

/// Turns the consumer's settings into those of one that reads into `schema`: no MongoDB, no dead letters, since both
/// have them already, and no port, since this pod's consumer has it.
pub(super) fn prepare(config: &mut Config, schema: &str) -> Result<(), RewindError> {
    let schema = schema_name(schema)?;
    if schema == config.postgres.schema {
        return Err(RewindError::OwnSchema(schema));
    }
    config.group.push_str(&group_suffix(&schema));
    config.postgres.copy_of = Some(mem::replace(&mut config.postgres.schema, schema));
    config.mongodb.sources = BTreeSet::new();
    config.sends_dead_letters = false;
    config.port = 0;
    Ok(())
}

/// Reads until the ledger of the schema is where the topics ended.
pub(super) async fn read(
    config: Config,
    topics: &Topics,
    bounds: &Bounds,
    to: DateTime<Utc>,
    stop: CancellationToken,
) -> Result<(), RewindError> {
    let key = LedgerKey {
        cluster: topics.cluster.clone(),
        group: config.group.clone(),
        mongodb: Arc::default(),
    };
    let postgres = Postgres::new(&config.postgres, config.sources());
    if postgres
        .is_of_a_pipeline(&group_suffix(&config.postgres.schema))
        .await?
    {
        return Err(RewindError::OtherPipeline(config.postgres.schema));
    }
    enter(&config.postgres).await?;
    schema::migrate(&config.postgres).await?;
    let starts: BTreeMap<Partition, i64> = bounds
        .iter()
        .map(|(partition, (from, _))| (partition.clone(), *from))
        .collect();
    let ends: BTreeMap<Partition, i64> = bounds
        .iter()
        .map(|(partition, (_, end))| (partition.clone(), *end))
        .collect();
    postgres.create_ledger(&key, &starts).await?;
    postgres.begin_earlier(&key, &starts).await?;
    postgres.record_rewind(&key, &ends, &starts, to).await?;
    let schema = config.postgres.schema.clone();
    let expired_before = postgres.expired(&key).await?;

    let (health, done) = (new_health(), stop.child_token());
    let mut progress = Progress::new(config.kafka.clone(), &postgres, &key, ends);
    let reading = async {
        let outcome = consume(config, health.clone(), done.clone()).await;
        // Whatever ended it, there is nothing left to watch.
        done.cancel();
        outcome
    };
    let (read, reached) = tokio::join!(reading, progress.watch(&health, &done));
    let expired = match reached {
        true => postgres.expired(&key).await? - expired_before + progress.deleted(),
        false => 0,
    };
    postgres.close().await;
    read?;
    if expired > 0 {
        eprintln!("Kafka had deleted {expired} messages before they were read; they are not in schema {schema}");
    }
    match reached {
        true => println!("schema {schema} holds what came after {to}"),
        false => println!("interrupted: the same command goes on with schema {schema}"),
    }
    Ok(())
}

/// Lets the pipeline know of its copy, before there is anything in it that somebody could want to be erased.
async fn enter(copy: &PostgresConfig) -> Result<(), RewindError> {
    let Some(pipeline) = &copy.copy_of else {
        return Ok(());
    };
    let own = PostgresConfig {
        schema: pipeline.clone(),
        copy_of: None,
        ..copy.clone()
    };
    schema::migrate(&own).await?;
    let postgres = Postgres::new(&own, BTreeSet::new());
    postgres.enter_copy(&copy.schema).await?;
    postgres.close().await;
    Ok(())
}
