//! The rounds, one after the other.

use crate::Arguments;
use crate::accounts::Accounts;
use crate::backups::Backups;
use crate::faults::World;
use crate::load::{self, Load};
use crate::messages::Messages;
use crate::plan::Round;
use crate::poison::Poison;
use crate::recovery;
use crate::stage::{BROKERS, Stage};
use crate::stores::{Stored, Stores};
use crate::verdict::{Evidence, Verdict};
use anyhow::{Context, Result, ensure};
use contract::Source;
use futures::future::try_join_all;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

/// Rounds between two looks at everything.
const LOOK: u64 = 10;
/// Longest wait for the first upload.
const START: Duration = Duration::from_secs(120);
/// Tries to look at both stores and Kafka while nothing changes: a producer may have had something in hand.
const LOOKS: u32 = 10;

/// Brings everything up, plays, and judges. What was started is for others to stop.
pub(crate) async fn play(arguments: &Arguments) -> Result<()> {
    let began = Instant::now();
    let options = services::Options {
        brokers: BROKERS,
        address: Ipv4Addr::LOCALHOST.into(),
    };
    let running = tokio::task::spawn_blocking(move || services::up_apart(&options)).await??;
    let stage = Arc::new(Stage::set(&running).await?);
    stage.workloads.iter().try_for_each(|workload| workload.start())?;
    let load = Load::start(&stage, arguments.seed)?;
    let poison = Poison::start(&stage, arguments.seed)?;
    load::until_each_accepts(&load, 1, START).await?;
    recovery::again(&stage, &load, &poison, &[]).await?;
    let backups = Backups::default();
    backups.make().await?;
    println!("everything is up after {:.1} s", began.elapsed().as_secs_f64());
    let world = World {
        stage: &stage,
        load: &load,
        poison: &poison,
        backups: &backups,
    };
    let mut judge = Judge {
        stores: Stores::of(&running),
        messages: Messages::default(),
    };
    let mut outcome = Outcome::default();
    let last = arguments.first + arguments.rounds;
    for number in arguments.first..last {
        let round = Round::of(arguments.seed, number - 1);
        outcome
            .play(&world, &round)
            .await
            .with_context(|| format!("round {number} of seed {}: {}", arguments.seed, described(&round)))?;
        let is_last = number + 1 == last;
        if is_last || (number + 1 - arguments.first).is_multiple_of(LOOK) {
            load.pause().await?;
            poison.pause().await?;
            let looking = Instant::now();
            let verdict = judge
                .look(&world)
                .await
                .with_context(|| format!("after round {number} of seed {}", arguments.seed))?;
            println!(
                "after round {number}: {verdict} ({:.1} s)",
                looking.elapsed().as_secs_f64()
            );
            load.resume();
            poison.resume();
        }
    }
    println!("{outcome}");
    Ok(())
}

fn described(round: &Round) -> String {
    let faults: Vec<String> = round.faults.iter().map(ToString::to_string).collect();
    faults.join(" + ")
}

/// Sums over all rounds.
#[derive(Debug, Default)]
struct Outcome {
    rounds: u32,
    restarts: u32,
    longest: Duration,
    all: Duration,
}

impl Outcome {
    async fn play(&mut self, world: &World<'_>, round: &Round) -> Result<()> {
        // Under load, and the first one was made at the start.
        if round.backed_up && self.rounds > 0 {
            world.backups.make().await?;
        }
        let begun = Instant::now();
        try_join_all(round.faults.iter().map(|fault| fault.happen(world))).await?;
        let undone = Instant::now();
        let restarts = recovery::again(world.stage, world.load, world.poison, &round.faults).await?;
        let recovered = undone.elapsed();
        self.rounds += 1;
        self.restarts += restarts;
        self.longest = self.longest.max(recovered);
        self.all += recovered;
        let ended = match restarts {
            0 => String::new(),
            restarts => format!(", {restarts} ended by themselves"),
        };
        println!(
            "round {:>3}: {}{}; lasted {:.1} s, alive again after {:.1} s{ended}",
            round.number + 1,
            if round.backed_up { "backup; " } else { "" },
            described(round),
            undone.duration_since(begun).as_secs_f64(),
            recovered.as_secs_f64()
        );
        Ok(())
    }
}

struct Judge {
    stores: Stores,
    messages: Messages,
}

impl Judge {
    /// Holds everything against everything, while nothing is written.
    async fn look(&mut self, world: &World<'_>) -> Result<Verdict> {
        for _ in 0..LOOKS {
            let ends = recovery::until_all_is_stored(world.stage).await?;
            let accounts = Accounts::read(&self.stores, &world.stage.topics);
            let (rows, documents, accounts) = tokio::try_join!(self.rows(), self.documents(), accounts)?;
            block_in_place(|| self.messages.read_on(world.stage))?;
            // Else something was written after the ledger had been looked at.
            if self.messages.ends() == ends {
                recovery::until_accounts_balance(world.stage).await?;
                return self.judge(world, &rows, &documents, &accounts);
            }
        }
        anyhow::bail!("something is still being written to Kafka")
    }

    fn judge(
        &self,
        world: &World<'_>,
        rows: &BTreeMap<Source, Vec<Stored>>,
        documents: &BTreeMap<Source, Vec<Stored>>,
        accounts: &Accounts,
    ) -> Result<Verdict> {
        let sent = world.load.sent();
        ensure!(
            sent.wrong.is_empty(),
            "uploads were answered wrongly: {:#?}",
            sent.wrong
        );
        let evidence = Evidence {
            sent: &sent.records,
            along: &world.poison.along(),
            receipts: &sent.receipts,
            topics: &world.stage.topics,
            messages: &self.messages,
            rows,
            documents,
            accounts,
        };
        let verdict = Verdict::of(&evidence);
        ensure!(verdict.is_good(), "{verdict}");
        evidence.prove_that_it_could_fail()?;
        println!(
            "uploads: {}, tried again {} times, {} given up, {} sent twice, {} answered as before",
            sent.uploads, sent.retries, sent.unknown, sent.repeats, sent.replays
        );
        Ok(verdict)
    }

    async fn rows(&self) -> Result<BTreeMap<Source, Vec<Stored>>> {
        let all =
            Source::ALL.map(|source| async move { Ok::<_, anyhow::Error>((source, self.stores.rows(source).await?)) });
        Ok(try_join_all(all).await?.into_iter().collect())
    }

    async fn documents(&self) -> Result<BTreeMap<Source, Vec<Stored>>> {
        let all = Source::ALL
            .map(|source| async move { Ok::<_, anyhow::Error>((source, self.stores.documents(source).await?)) });
        Ok(try_join_all(all).await?.into_iter().collect())
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome {
            rounds,
            restarts,
            longest,
            all,
        } = self;
        write!(
            f,
            "{rounds} rounds; alive again after {:.1} s on average, {:.1} s at most; workloads that ended by themselves: {restarts}",
            all.as_secs_f64() / f64::from((*rounds).max(1)),
            longest.as_secs_f64()
        )
    }
}
