//! How many tests there were and how they ended.

use std::fmt;

use anyhow::Result;

/// Sums over all test binaries and checks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl Totals {
    /// Adds what a line of a test binary's output says about its own totals.
    pub(crate) fn read(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }

    /// Counts something that is no test binary's, and shows it as one line of a test binary.
    pub(crate) fn check(&mut self, name: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("test check::{name} ... ok");
            }
            Err(error) => {
                self.failed += 1;
                println!("test check::{name} ... FAILED\n{error:#}");
            }
        }
    }

    /// Adds those of others.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Tests that were run.
    pub(crate) fn run(&self) -> usize {
        self.passed + self.failed
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_binaries_are_added() {
        let mut totals = Totals::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 10 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            totals.read(line);
        }
        totals.add(&Totals { passed: 1, failed: 0 });
        assert_eq!(totals, Totals { passed: 13, failed: 3 });
        assert_eq!(totals.to_string(), "13 passed, 3 failed");
    }

    #[test]
    fn checks_count_like_tests() {
        let mut totals = Totals::default();
        totals.check("one", Ok(()));
        totals.check("two", Err(anyhow::anyhow!("reason")));
        assert_eq!((totals.passed, totals.failed, totals.run()), (1, 1, 2));
    }
}
