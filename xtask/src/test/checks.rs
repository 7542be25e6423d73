//! What is checked about the checkout besides its tests.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use host::progress::Progress;

use crate::binaries::Binaries;
use crate::test::monitoring;
use crate::test::totals::Totals;
use crate::{foreground, generate, workspace};

const CARGO_DENY: &str = "0.20.2";

type Check = fn(&Progress) -> Result<()>;

/// Checks that need the programs, which they build, or next to nothing.
pub(crate) fn of_programs(totals: &mut Totals, progress: &Progress) -> Result<()> {
    let checks: [(&str, Check); 3] = [
        ("format", format),
        ("generated files", generated),
        ("alerts and dashboard", monitoring::check),
    ];
    run(&checks, totals, progress)
}

/// Checks of what the workspace depends on.
pub(crate) fn of_dependencies(totals: &mut Totals, progress: &Progress) -> Result<()> {
    run(&[("licences and sources", dependencies)], totals, progress)
}

/// Checks of the sources, which have them compiled once more.
pub(crate) fn of_sources(totals: &mut Totals, progress: &Progress) -> Result<()> {
    run(&[("lints", lints)], totals, progress)
}

/// Runs checks; one that fails does not keep the others from being run.
fn run(checks: &[(&str, Check)], totals: &mut Totals, progress: &Progress) -> Result<()> {
    for (name, check) in checks {
        let outcome = check(progress);
        host::interrupt::check()?;
        totals.check(name, outcome);
    }
    Ok(())
}

fn format(_: &Progress) -> Result<()> {
    foreground::run(workspace::cargo().args(["fmt", "--all", "--check"]))
}

fn generated(progress: &Progress) -> Result<()> {
    let binaries = progress.run("cargo build", Binaries::build)?;
    generate::run(&binaries, true, progress)
}

fn lints(_: &Progress) -> Result<()> {
    // Tests that need more than a machine with Rust are no part of all targets.
    for targets in [
        &["--all-targets"][..],
        &[
            "--test",
            "it",
            "--test",
            "kafka_security",
            "--test",
            "kafka_states",
            "--test",
            "rounds",
        ],
    ] {
        let mut clippy = workspace::cargo();
        clippy
            .args(["clippy", "--workspace", "--locked", "--quiet"])
            .args(targets);
        foreground::run(clippy.args(["--", "--deny", "warnings"]))?;
    }
    Ok(())
}

fn dependencies(progress: &Progress) -> Result<()> {
    let arguments = [
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ];
    foreground::run(
        Command::new(cargo_deny(progress)?)
            .args(arguments)
            .current_dir(workspace::root()),
    )
}

fn cargo_deny(progress: &Progress) -> Result<PathBuf> {
    let entry = host::cache::entry("cargo-deny", CARGO_DENY, |folder| {
        progress.run("install cargo-deny", |_| {
            // It fills the cores when the programs, which more waits for, leave one idle.
            let mut command = workspace::in_background(&workspace::cargo());
            // Outside the checkout, whose cargo configuration is not for tools; unoptimised, as it runs for a second.
            command
                .args([
                    "install",
                    "cargo-deny",
                    "--locked",
                    "--debug",
                    "--version",
                    CARGO_DENY,
                    "--root",
                ])
                .arg(folder);
            host::run(
                command.current_dir("/").env_remove("CARGO_TARGET_DIR"),
                &host::state::log_dir().join("tools.log"),
            )
        })
    })?;
    Ok(entry.join("bin/cargo-deny"))
}
