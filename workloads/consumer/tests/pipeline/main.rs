//! The consumer's process on real Kafka, PostgreSQL and the MongoDB protocol:
//! `cargo test -p consumer --test pipeline [-- SCENARIO …]`.
//!
//! The scenarios share one set of services, each with topics, a group, a schema and a database of its own.

mod load;
mod reader;
mod scenarios;
mod stage;
mod stored;
mod wait;

use anyhow::{Context, Result, bail};
use std::{
    env,
    net::Ipv4Addr,
    process::{Command, ExitCode},
    time::Instant,
};

const INSIDE: &str = "CONSUMER_TEST_INSIDE";

fn main() -> ExitCode {
    let outcome = if env::var_os(INSIDE).is_some() {
        inside()
    } else {
        outside()
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios in a process with an empty state folder, next to whatever else this machine runs.
fn outside() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let status = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .env(host::state::VARIABLE, folder.path())
        .status()?;
    if !status.success() {
        let kept = folder.keep();
        bail!("logs are kept in {}", kept.display());
    }
    Ok(())
}

fn inside() -> Result<()> {
    let wanted: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    runtime::tls::install_provider();
    let tokio = tokio::runtime::Runtime::new()?;
    let outcome = services::up(&services::Options {
        brokers: 1,
        address: Ipv4Addr::LOCALHOST.into(),
    })
    .and_then(|running| tokio.block_on(scenarios(&running, &wanted)));
    let down = services::down();
    outcome?;
    down
}

async fn scenarios(running: &services::Running, wanted: &[String]) -> Result<()> {
    let mut failed = Vec::new();
    let mut ran = 0;
    for (name, scenario) in scenarios::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        ran += 1;
        let started = Instant::now();
        let outcome = async {
            let stage = stage::Stage::set(running, name).await.context("set the stage")?;
            let stored = stored::Stored::of(&stage)?;
            scenario(stage).await?;
            stored.ensure_accounts().await
        }
        .await;
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("test {name} ... ok ({seconds:.1} s)"),
            Err(error) => {
                println!("test {name} ... FAILED ({seconds:.1} s)\n{error:#}");
                failed.push(name);
            }
        }
    }
    if ran == 0 {
        bail!(
            "no scenario of that name; there are: {}",
            scenarios::ALL.map(|(name, _)| name).join(", ")
        );
    }
    // As the standard test harness says it, for whoever adds up the tests of all binaries.
    let outcome = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {outcome}. {} passed; {} failed; 0 ignored",
        ran - failed.len(),
        failed.len()
    );
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
