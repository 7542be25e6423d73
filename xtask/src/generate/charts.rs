//! The charts of docs/scaling.md, drawn by `operator simulate`.

use std::process::Command;

use anyhow::Result;

use super::Generated;
use crate::binaries::Binaries;
use crate::{foreground, workspace};

/// The pipeline that they are about.
const PIPELINE: &str = "docs/scaling/charts.yaml";
/// Each chart: its path, the consumer, and the rest of the command line.
const CHARTS: [(&str, &str, &str); 3] = [
    (
        "docs/scaling/ladder.svg",
        "climbing",
        "--load spike:2m:5m:10 --rate 40 --pod-rate 50 --length 20m",
    ),
    (
        "docs/scaling/step.svg",
        "draining",
        "--load spike:2m:5m:10 --rate 50 --pod-rate 50 --keda-threshold 50 --length 20m",
    ),
    (
        "docs/scaling/wave.svg",
        "draining",
        "--load sine:20m:0.8 --rate 400 --pod-rate 50 --keda-threshold 50 --length 40m",
    ),
];

/// Draws all of them.
pub(super) fn draw(binaries: &Binaries) -> Result<Vec<Generated>> {
    let operator = binaries.path("operator")?;
    let draw = |(path, consumer, load): (&'static str, &str, &str)| {
        let mut command = Command::new(operator);
        command.arg("simulate").arg(workspace::path(PIPELINE));
        command.args(["--consumer", consumer]).args(load.split(' '));
        let chart = foreground::output(command.args(["--chart", "-"]))?;
        Ok((path, chart))
    };
    CHARTS.into_iter().map(draw).collect()
}
