//! Which test targets of the workspace need what.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::{foreground, workspace};

/// Integration tests that are given a cluster with the operator in it, and data services.
const ON_ENVIRONMENT: &str = "it";

/// Rounds of faults in the data path: ten, or as many as it is told.
const ROUNDS: &str = "rounds";

/// The integration tests of the workspace. What needs more than the checkout says `test = false` in its manifest, so
/// that a plain `cargo test` leaves it out.
#[derive(Debug)]
pub(crate) struct Targets(Vec<Target>);

impl Targets {
    pub(crate) fn of_workspace() -> Result<Self> {
        let mut command = workspace::cargo();
        command.args(["metadata", "--no-deps", "--locked", "--format-version", "1"]);
        let metadata: Metadata =
            serde_json::from_str(&foreground::output(&mut command)?).context("read what `cargo metadata` prints")?;
        let targets = metadata.packages.into_iter().flat_map(|package| package.targets);
        let mut targets: Vec<Target> = targets
            .filter(|target| target.kind.iter().any(|kind| kind == "test"))
            .collect();
        targets.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self(targets))
    }

    /// Arguments of cargo test for what needs nothing but the checkout.
    pub(crate) fn unit(&self) -> Vec<String> {
        let tests = self
            .0
            .iter()
            .filter(|target| target.test)
            .flat_map(|target| arguments(&target.name));
        ["--lib".to_owned(), "--bins".to_owned()]
            .into_iter()
            .chain(tests)
            .collect()
    }

    /// Arguments of cargo test for those that start what they need themselves. It runs one after the other.
    pub(crate) fn on_real_parts(&self) -> Vec<String> {
        let own = self
            .0
            .iter()
            .filter(|target| !target.test && target.name != ON_ENVIRONMENT);
        own.flat_map(|target| arguments(&target.name)).collect()
    }

    /// Arguments of cargo test for the rounds of faults alone.
    pub(crate) fn rounds(&self) -> [String; 2] {
        arguments(ROUNDS)
    }

    /// Arguments of cargo test for what is given an environment.
    pub(crate) fn on_environment(&self) -> [String; 2] {
        arguments(ON_ENVIRONMENT)
    }
}

fn arguments(test: &str) -> [String; 2] {
    ["--test".to_owned(), test.to_owned()]
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    /// Whether a plain `cargo test` runs it.
    test: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_says_what_needs_more_than_the_checkout() {
        let target = |name: &str, test| Target {
            name: name.to_owned(),
            kind: vec!["test".to_owned()],
            test,
        };
        let targets = Targets(vec![
            target("cluster", false),
            target("interrupt", true),
            target("it", false),
        ]);
        assert_eq!(targets.unit(), ["--lib", "--bins", "--test", "interrupt"]);
        assert_eq!(targets.on_real_parts(), arguments("cluster"));
        assert_eq!(targets.on_environment(), arguments("it"));
    }
}
