//! Reading into a schema of its own: the consumer itself, as a group of its own, from the moment to what was the end when
//! it began. It may be interrupted and goes on where it was.

use super::{RewindError, offsets::Bounds};
use crate::{
    config::{Config, PostgresConfig, schema_name},
    consume,
    sink::postgres::{Postgres, ledger::LedgerKey, schema},
    topic::{Partition, Topics},
};
use chrono::{DateTime, Utc};
use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
    time::Duration,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_secs(1);

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
    if postgres.is_of_a_pipeline(&group_suffix(&config.postgres.schema)).await? {
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
    postgres.record_rewind(&key, &ends, &starts, to).await?;
    let schema = config.postgres.schema.clone();

    let done = stop.child_token();
    let reading = consume(config, done.clone());
    let watching = watch(&postgres, &key, &starts, &ends, &done);
    let (read, reached) = tokio::join!(reading, watching);
    postgres.close().await;
    read?;
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

/// Ends the reading when everything is there; answers whether it is.
async fn watch(
    postgres: &Postgres,
    key: &LedgerKey,
    starts: &BTreeMap<Partition, i64>,
    ends: &BTreeMap<Partition, i64>,
    done: &CancellationToken,
) -> bool {
    let partitions: BTreeSet<Partition> = ends.keys().cloned().collect();
    let sum = |offsets: &BTreeMap<Partition, i64>| offsets.values().sum::<i64>();
    let (all, mut shown) = (sum(ends) - sum(starts), -1);
    while !done.is_cancelled() {
        if let Ok(ledger) = postgres.read_ledger(key, &partitions).await {
            let left: i64 = ends
                .iter()
                .map(|(partition, end)| (end - ledger.get(partition).unwrap_or(&0)).max(0))
                .sum();
            if left != shown {
                eprintln!("{} of {all} messages", all - left);
                shown = left;
            }
            if left == 0 {
                done.cancel();
                return true;
            }
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = done.cancelled() => {}
        }
    }
    false
}
