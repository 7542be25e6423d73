//! The MongoDB protocol.

use super::{Extent, records};
use anyhow::{Result, ensure};
use benches::figures::median;
use consumer::{
    batch::{Batch, Row},
    collected::Collected,
    config::{MongodbConfig, MongodbServer},
    sink::mongodb::{Mongodb, document},
};
use contract::Source;
use host::progress::Progress;
use mongodb::{
    Client, Database,
    bson::{Document, doc},
    options::{AuthMechanism, ClientOptions, Credential, ServerAddress},
};
use services::Running;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const DATABASE: &str = "bench_sink";

/// Documents a second: ours and theirs.
pub(crate) async fn measure(running: &Running, progress: &Progress, extent: Extent) -> Result<(f64, f64)> {
    let server = &running.mongodb;
    let (host, port) = (server.address.ip().to_string(), server.address.port());
    let config = MongodbConfig {
        server: MongodbServer::Host {
            host: host.clone(),
            port,
            tls: false,
        },
        database: DATABASE.to_owned(),
        username: Some(server.username.clone()),
        password: Some(server.password.clone()),
        auth_mechanism: Some("PLAIN".to_owned()),
        auth_source: Some("$external".to_owned()),
        sources: BTreeSet::from([Source::Sms]),
        max_pool_size: 100,
        min_pool_size: 0,
        server_selection_timeout: Duration::from_secs(15),
        connect_timeout: Duration::from_secs(10),
        operation_timeout: Duration::from_secs(60),
        wait_queue_timeout: Duration::from_secs(60),
        retry_writes: true,
    };
    let mongodb = Mongodb::new(&config, &config.sources).await?;
    let credential = Credential::builder()
        .username(server.username.clone())
        .password(server.password.clone())
        .mechanism(AuthMechanism::Plain)
        .source("$external".to_owned())
        .build();
    let options = ClientOptions::builder()
        .hosts(vec![ServerAddress::Tcp { host, port: Some(port) }])
        .credential(credential)
        .build();
    let database = Client::with_options(options)?.database(DATABASE);
    let collected = records::collected(&records::topic(0), extent.documents)?;
    let senders: Vec<_> = collected.iter().map(Collected::senders).collect();
    let with_senders = collected.iter().zip(&senders);
    let batches: Vec<Batch> = with_senders
        .flat_map(|(collected, senders)| collected.batches(senders))
        .collect();
    let batches: Vec<Vec<&Row>> = batches.iter().map(|batch| batch.rows.iter().collect()).collect();
    let count = extent.documents * records::BATCH;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..extent.rounds {
        let step = progress.step(format!("MongoDB, round {}", round + 1));
        empty(&database).await?;
        let our_rate = count as f64 / write(&mongodb, &batches).await?;
        stored(&database, count).await?;
        empty(&database).await?;
        let their_rate = count as f64 / insert(&database, &batches).await?;
        stored(&database, count).await?;
        step.done(&format!("{our_rate:.0}/s and {their_rate:.0}/s"));
        ours.push(our_rate);
        theirs.push(their_rate);
    }
    Ok((median(ours), median(theirs)))
}

/// Seconds that the consumer's writer takes for all batches.
async fn write(mongodb: &Mongodb, batches: &[Vec<&Row<'_>>]) -> Result<f64> {
    let began = Instant::now();
    for rows in batches {
        let refused = mongodb.write(Source::Sms, rows).await?;
        ensure!(refused.is_empty(), "{} documents were refused", refused.len());
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Seconds of one unordered insertion a batch, of documents that are there already.
async fn insert(database: &Database, batches: &[Vec<&Row<'_>>]) -> Result<f64> {
    let batches: Vec<Vec<Document>> = batches
        .iter()
        .map(|rows| rows.iter().map(|row| document::of(row)).collect())
        .collect();
    let collection = database.collection::<Document>(Source::Sms.name());
    let began = Instant::now();
    for documents in &batches {
        collection.insert_many(documents).ordered(false).await?;
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn empty(database: &Database) -> Result<()> {
    Ok(database.collection::<Document>(Source::Sms.name()).drop().await?)
}

async fn stored(database: &Database, count: usize) -> Result<()> {
    let stored = database
        .collection::<Document>(Source::Sms.name())
        .count_documents(doc! {})
        .await?;
    ensure!(stored == count as u64, "{stored} of {count} documents are stored");
    Ok(())
}
