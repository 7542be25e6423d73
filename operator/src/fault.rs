//! Places at which a test lets the operator end, as if it were killed there: only in builds with debug assertions.
//!
//! The annotation says after which step, and when it was written: an operator that was started later goes on.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use kube::ResourceExt;

use crate::api::SyncPipeline;

/// Annotation with the name of a step and a time, `Applied 2030-01-01T00:00:00Z`.
pub const ANNOTATION: &str = "syncpipeline.dev/fault-after";

static STARTED: LazyLock<DateTime<Utc>> = LazyLock::new(Utc::now);

/// Remembers when this process was started.
pub fn started() {
    LazyLock::force(&STARTED);
}

/// A step of a pass, after which it may be cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Spec and Secrets are understood, nothing was written.
    Resolved,
    /// The record says which topics are about to be created.
    TopicsExpected,
    /// The topics are there, the record does not know their ids.
    TopicsCreated,
    /// The record knows them.
    TopicsRecorded,
    /// The finalizer is set or taken away.
    Held,
    /// Every object is applied.
    Applied,
    /// The status is written.
    Reported,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Step; 7] = [
        Step::Resolved,
        Step::TopicsExpected,
        Step::TopicsCreated,
        Step::TopicsRecorded,
        Step::Held,
        Step::Applied,
        Step::Reported,
    ];
}

/// Ends the process where the object asks for it.
pub fn after(step: Step, object: &SyncPipeline) {
    if !cfg!(debug_assertions) {
        return;
    }
    let asked = object.annotations().get(ANNOTATION);
    if asked.is_some_and(|asked| is_meant(asked, step, *STARTED)) {
        tracing::warn!(?step, "ending, as the test asks");
        std::process::exit(137);
    }
}

fn is_meant(asked: &str, step: Step, started: DateTime<Utc>) -> bool {
    let asked = asked.split_once(' ');
    asked.is_some_and(|(name, time)| {
        let written = DateTime::parse_from_rfc3339(time);
        name == format!("{step:?}") && written.is_ok_and(|written| started < written)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_step_that_is_named_and_only_an_operator_that_was_there_before() {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let (before, after) = (time("2030-01-01T00:00:00Z"), time("2030-01-01T00:00:02Z"));
        let asked = "Applied 2030-01-01T00:00:01Z";
        assert!(is_meant(asked, Step::Applied, before));
        assert!(!is_meant(asked, Step::Applied, after));
        assert!(!is_meant(asked, Step::Held, before));
        assert!(!is_meant("Applied", Step::Applied, before));
    }
}
