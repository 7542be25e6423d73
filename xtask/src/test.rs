//! `cargo xtask test`: everything that must be green, on one machine, from nothing.

mod checks;
mod monitoring;
mod targets;
mod totals;

use std::collections::BTreeSet;
use std::sync::mpsc;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use host::progress::Progress;

use crate::cluster::Provider;
use crate::environment::{self, Environment, Options};
use crate::parallel;
use crate::test::targets::Targets;
use crate::test::totals::Totals;
use crate::{foreground, interrupt, toolchain, workspace};

/// Runs tests: those of the groups that are named, or all
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// What to run
    #[arg(value_enum)]
    groups: Vec<Group>,
    #[command(flatten)]
    options: Options,
    /// Leave the cluster and the data services running at the end
    #[arg(long)]
    keep: bool,
    /// Rounds of faults in the data path, where the group `chaos` is named
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Decides what happens in these rounds
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A set of tests that need the same things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Group {
    /// Format, lints, licences, generated files and all tests that need nothing but the checkout
    Unit,
    /// The parts, each on the real thing: embedded cluster, data services, stores
    Cluster,
    /// The operator and whole pipelines
    E2e,
    /// Pipelines whose parts are killed; where it is named, rounds of faults in the data path, too
    Chaos,
    /// The Helm chart
    Chart,
}

impl Group {
    /// The module of the end-to-end tests that holds this group.
    fn module(self) -> Option<&'static str> {
        match self {
            Self::Unit | Self::Cluster => None,
            Self::E2e => Some("e2e::"),
            Self::Chaos => Some("chaos::"),
            Self::Chart => Some("chart::"),
        }
    }
}

pub(crate) fn run(test: &Test) -> Result<()> {
    let all = BTreeSet::from_iter(Group::value_variants().iter().copied());
    let groups = if test.groups.is_empty() {
        all
    } else {
        test.groups.iter().copied().collect()
    };
    let mut totals = Totals::default();
    let outcome = run_groups(test, &groups, &mut totals);
    // An error that is no test's own, as of a cluster that does not come up, must not look like success.
    if let Err(error) = &outcome
        && !interrupt::by_user()
    {
        totals.check("environment", Err(anyhow::anyhow!("{error:#}")));
    }
    println!("{totals}");
    if outcome.is_err() || totals.failed > 0 {
        bail!("the tests failed");
    }
    Ok(())
}

fn run_groups(test: &Test, groups: &BTreeSet<Group>, totals: &mut Totals) -> Result<()> {
    let progress = Progress::new();
    let on_environment: Vec<Group> = groups
        .iter()
        .copied()
        .filter(|group| group.module().is_some())
        .collect();
    let needs_services = groups.contains(&Group::Cluster) || !on_environment.is_empty();
    let mut needs = if needs_services {
        test.options.needs()
    } else {
        toolchain::Needs::default()
    };
    needs.embedded_cluster |= groups.contains(&Group::Cluster);
    toolchain::ensure(needs)?;
    let targets = Targets::of_workspace()?;
    build(test, groups, needs_services, totals, &progress)?;
    unit_and_cluster(groups, &targets, totals, &progress)?;
    if on_environment.is_empty() {
        return Ok(());
    }
    run_on_environment(test, &on_environment, &targets, totals, &progress)?;
    // Without a name all groups are run, and the short form of the rounds is among the parts.
    if test.groups.contains(&Group::Chaos) {
        let (rounds, seed) = (test.rounds.to_string(), test.seed.to_string());
        cargo_test(&targets.rounds(), &["--rounds", &rounds, "--seed", &seed], None, totals)?;
    }
    Ok(())
}

fn run_on_environment(
    test: &Test,
    groups: &[Group],
    targets: &Targets,
    totals: &mut Totals,
    progress: &Progress,
) -> Result<()> {
    environment::with(&test.options, test.keep, progress, |environment| {
        for module in groups.iter().filter_map(|group| group.module()) {
            let before = totals.run();
            cargo_test(
                &targets.on_environment(),
                &[module, "--test-threads=1"],
                Some(environment),
                totals,
            )?;
            if totals.run() == before {
                bail!("no test of {module} was run");
            }
        }
        Ok(())
    })
}

/// Builds the programs, and beside them what later groups need and the checks that need no more than that.
fn build(
    test: &Test,
    groups: &BTreeSet<Group>,
    needs_services: bool,
    totals: &mut Totals,
    progress: &Progress,
) -> Result<()> {
    let unit = groups.contains(&Group::Unit);
    let mut of_dependencies = Totals::default();
    let outcome = parallel::all(vec![
        Box::new(|| {
            if unit {
                checks::of_programs(totals, progress)?;
            }
            Ok(())
        }),
        Box::new(|| {
            if needs_services {
                environment::prepare(&test.options, progress)?;
            }
            Ok(())
        }),
        Box::new(|| {
            if unit {
                checks::of_dependencies(&mut of_dependencies, progress)?;
            }
            Ok(())
        }),
    ]);
    totals.add(&of_dependencies);
    outcome
}

/// Tests of the parts wait more than they compute; what needs no more than the checkout is compiled meanwhile.
fn unit_and_cluster(
    groups: &BTreeSet<Group>,
    targets: &Targets,
    totals: &mut Totals,
    progress: &Progress,
) -> Result<()> {
    let (unit, cluster) = (groups.contains(&Group::Unit), groups.contains(&Group::Cluster));
    let on_environment = groups.iter().any(|group| group.module().is_some());
    if cluster {
        require_nothing_running()?;
    }
    let mut of_parts = Totals::default();
    // Compiling takes cargo's folder for itself: what is run for long is compiled first.
    let (parts_begin, parts_have_begun) = mpsc::channel::<()>();
    let outcome = parallel::all(vec![
        Box::new(|| {
            // Until the other end is gone.
            for () in parts_have_begun {}
            if unit {
                checks::of_sources(totals, progress)?;
                cargo_test(&targets.unit(), &[], None, totals)?;
            }
            if cluster && on_environment {
                compile(&targets.on_environment())?;
            }
            Ok(())
        }),
        Box::new(|| {
            let mut waiting = Some(parts_begin);
            if cluster {
                let targets = targets.on_real_parts();
                cargo_test_saying(&targets, &["--test-threads=1"], None, &mut of_parts, || {
                    drop(waiting.take())
                })?;
            }
            Ok(())
        }),
    ]);
    totals.add(&of_parts);
    if cluster {
        outcome.and(stop_what_tests_left(progress))
    } else {
        outcome
    }
}

/// Tests of the parts stop what they start, unless they are stopped themselves half-way.
fn stop_what_tests_left(progress: &Progress) -> Result<()> {
    // Stopping waits and runs commands, as starting does.
    host::interrupt::clear();
    environment::services_down(progress).and(Provider::Embedded.down(progress))
}

/// Tests of the parts start and kill these on their own.
fn require_nothing_running() -> Result<()> {
    if Provider::Embedded.is_up()? || services::running().is_some() {
        bail!(
            "the group `cluster` starts and stops the embedded cluster and the data services itself; \
             stop them with `cargo xtask cluster down` and `cargo xtask services down`"
        );
    }
    Ok(())
}

/// Compiles tests that are run later.
fn compile(targets: &[String]) -> Result<()> {
    let mut command = workspace::cargo();
    foreground::run(
        command
            .args(["test", "--workspace", "--locked", "--no-run"])
            .args(targets),
    )
}

/// Runs cargo test over the whole workspace, so that everything is compiled with one set of features.
fn cargo_test(
    targets: &[String],
    arguments: &[&str],
    environment: Option<&Environment>,
    totals: &mut Totals,
) -> Result<()> {
    cargo_test_saying(targets, arguments, environment, totals, || ())
}

/// The same, and says when the first test program runs: cargo's folder is free from then on.
fn cargo_test_saying(
    targets: &[String],
    arguments: &[&str],
    environment: Option<&Environment>,
    totals: &mut Totals,
    mut compiled: impl FnMut(),
) -> Result<()> {
    let mut command = workspace::cargo();
    command
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .args(targets)
        .arg("--")
        .args(arguments);
    if let Some(environment) = environment {
        command = environment.command(command)?;
    }
    let failed = totals.failed;
    let status = foreground::run_reading(&mut command, |line| {
        compiled();
        totals.read(line);
    })?;
    if !status.success() && totals.failed == failed {
        totals.check("cargo test", Err(anyhow::anyhow!("it ended with {status}")));
    }
    Ok(())
}
