//! `operator replay`: a trace, decided once more.

use std::path::{Path, PathBuf};

use clap::Args;
use operator::simulate::of_pipeline;
use operator::trace::line::{Line, Rules};
use operator::{trace, validate};

use super::{Failure, Outcome, lines_of, print, read};

/// A trace, and by which policy.
#[derive(Args)]
pub(crate) struct Replay {
    /// A trace: the ConfigMap PIPELINE-COMPONENT-trace as kubectl prints it in YAML or JSON, or lines of one; `-` reads
    /// standard input.
    file: PathBuf,
    /// Print every other decision too, not only those that change replicas, now or then.
    #[arg(long)]
    all: bool,
    /// File with one SyncPipeline whose policy is tried in place of the one in the trace.
    #[arg(long)]
    policy_of: Option<PathBuf>,
}

/// Prints what is decided now, and where it was decided differently then.
pub(crate) fn run(arguments: &Replay) -> Outcome {
    let lines = lines_of(&arguments.file)?;
    let other = match &arguments.policy_of {
        Some(file) => Some(policy_of(file, &lines)?),
        None => None,
    };
    let replayed = trace::replay::replay(&lines, other.as_ref());
    print(&trace::replay::report(&replayed, arguments.all))
}

/// The policy that the consumer of a trace has in a SyncPipeline.
fn policy_of(file: &Path, lines: &[Line]) -> Result<Rules, Failure> {
    let traced = lines.iter().find_map(|line| match line {
        Line::Policy(rules) => Some(rules),
        Line::Look(_) => None,
    });
    let traced = traced.ok_or("the trace names no component: it has no line with a policy")?;
    let pipeline = validate::validate(&read(file)?)?;
    Ok(Rules {
        policy: of_pipeline::policy_of(&pipeline, &traced.component)?,
        ..*traced.clone()
    })
}
