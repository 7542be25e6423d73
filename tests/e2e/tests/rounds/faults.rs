//! Does the worst, and undoes it.

use crate::backups::Backups;
use crate::load::Load;
use crate::plan::{Fault, Leaving, Step};
use crate::poison::Poison;
use crate::recovery;
use crate::relay::{Relay, Way};
use crate::stage::Stage;
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// What faults happen to.
pub(crate) struct World<'a> {
    pub(crate) stage: &'a Arc<Stage>,
    pub(crate) load: &'a Load,
    pub(crate) poison: &'a Poison,
    pub(crate) backups: &'a Backups,
}

impl Fault {
    /// From its beginning to the moment when all is as it should be again, but for what has to recover by itself.
    pub(crate) async fn happen(&self, world: &World<'_>) -> Result<()> {
        let stage = world.stage;
        match self {
            Fault::ProducerKilled { which, away } => {
                let producer = &stage.producers()[*which];
                producer.kill9().await?;
                sleep(*away).await;
                producer.start()
            }
            Fault::ConsumerKilled { which, away } => {
                let consumer = &stage.consumers()[*which];
                consumer.kill9().await?;
                sleep(*away).await;
                consumer.start()
            }
            Fault::BrokerKilled { which, away } => {
                let which = *which;
                blocking(move || services::kafka::kill9(which)).await?;
                sleep(*away).await;
                blocking(move || services::kafka::start(which)).await
            }
            Fault::PostgresKilled { away } => {
                blocking(services::postgres::kill9).await?;
                sleep(*away).await;
                blocking(services::postgres::start).await
            }
            Fault::MongodbKilled { away } => {
                blocking(services::ferretdb::kill9).await?;
                sleep(*away).await;
                blocking(services::ferretdb::start).await
            }
            Fault::KafkaCut { which, way, away } => cut(&stage.to_kafka, which, *way, *away).await,
            Fault::PostgresCut { which, way, away } => cut(&stage.to_postgres, which, *way, *away).await,
            Fault::MongodbCut { which, way, away } => cut(&stage.to_mongodb, which, *way, *away).await,
            Fault::Restored { older, quiet, away } => {
                if *quiet {
                    world.load.pause().await?;
                    world.poison.pause().await?;
                    recovery::until_all_is_stored(stage).await?;
                }
                blocking(services::postgres::kill9).await?;
                sleep(*away).await;
                world.backups.restore(*older).await
            }
            Fault::Storm { steps } => {
                for step in steps {
                    step.happen(stage).await.with_context(|| format!("{step:?}"))?;
                }
                Ok(())
            }
        }
    }
}

impl Step {
    async fn happen(&self, stage: &Stage) -> Result<()> {
        let consumer = &stage.consumers()[self.which];
        match self.how {
            Leaving::Terminated => consumer.terminate().await?,
            Leaving::Killed => consumer.kill9().await?,
            Leaving::Frozen => {
                consumer.freeze(true)?;
                sleep(self.away).await;
                return consumer.freeze(false);
            }
        }
        sleep(self.away).await;
        consumer.start()
    }
}

async fn cut(relays: &[Relay], which: &[usize], way: Way, away: Duration) -> Result<()> {
    which.iter().for_each(|number| relays[*number].set(way));
    sleep(away).await;
    which.iter().for_each(|number| relays[*number].set(Way::Open));
    Ok(())
}

pub(crate) async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    spawn_blocking(work).await.context("the work panicked")?
}
