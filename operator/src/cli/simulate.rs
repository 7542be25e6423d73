//! `operator simulate`: a policy under a load, in the model.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use operator::api::duration;
use operator::simulate::keda::Keda;
use operator::simulate::load::{Load, Shape};
use operator::simulate::of_pipeline::{Assumed, of_consumer, summary_of};
use operator::simulate::{chart, report, trial};
use operator::trace::arrivals;
use operator::validate;

use super::{Outcome, lines_of, print, read};

/// The longest load: what is drawn has a point for each second.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 3_600);
/// The most messages a second.
const FASTEST: f64 = 1e9;

/// A load, and what the readers are like.
#[derive(Args)]
pub(crate) struct Simulate {
    /// File with one SyncPipeline.
    file: PathBuf,
    /// Name of the consumer.
    #[arg(long)]
    consumer: String,
    /// constant, step:AT:FACTOR, ramp:FROM:TO:FACTOR, sine:PERIOD:AMPLITUDE or spike:AT:LENGTH:FACTOR. Times are since the
    /// beginning; a factor multiplies the rate, 0 is none; a ramp stays where it has come to; an amplitude is a part, 0 to 1.
    #[arg(long, default_value = "step:2m:10")]
    load: Shape,
    /// Messages a second without the shape.
    #[arg(long, default_value_t = 20.0, value_parser = positive, allow_negative_numbers = true)]
    rate: f64,
    /// Each second has at most this part more or less, 0 to 1.
    #[arg(long, default_value_t = 0.1, value_parser = part, allow_negative_numbers = true)]
    noise: f64,
    /// How long it goes on.
    #[arg(long, default_value = "15m", value_parser = length)]
    length: Duration,
    /// Seed of the noise.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A trace, as of `replay`, whose arrivals are the load.
    #[arg(long, conflicts_with_all = ["load", "rate", "noise", "length", "seed"])]
    trace: Option<PathBuf>,
    /// Messages a second that a pod writes.
    #[arg(long, default_value_t = 25.0, value_parser = positive, allow_negative_numbers = true)]
    pod_rate: f64,
    /// How long a pod takes until it reads.
    #[arg(long, default_value = "5s", value_parser = duration::parse)]
    start: Duration,
    /// How long nobody reads when a pod joins or leaves.
    #[arg(long, default_value = "1s", value_parser = duration::parse)]
    rebalance: Duration,
    /// KEDA's lagThreshold.
    #[arg(long, default_value_t = 100.0, value_parser = positive, allow_negative_numbers = true)]
    keda_threshold: f64,
    /// File for a chart of load, lag and replicas, as SVG; `-` prints it in place of the table.
    #[arg(long)]
    chart: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    (number > 0.0 && number <= FASTEST)
        .then_some(number)
        .ok_or_else(|| format!("it must be above 0 and at most {FASTEST}"))
}

fn length(text: &str) -> Result<Duration, String> {
    match duration::parse(text).map_err(|error| error.to_string())? {
        Duration::ZERO => Err("it must be above 0".to_owned()),
        length if length > LONGEST => Err(format!("it must be at most {} h", LONGEST.as_secs() / 3_600)),
        length => Ok(length),
    }
}

fn part(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    (0.0..=1.0)
        .contains(&number)
        .then_some(number)
        .ok_or_else(|| "it must be from 0 to 1".to_owned())
}

/// Prints what became of the load, and draws it.
pub(crate) fn run(arguments: &Simulate) -> Outcome {
    let pipeline = validate::validate(&read(&arguments.file)?)?;
    let load = Load {
        base: arguments.rate,
        shape: arguments.load,
        noise: arguments.noise,
        length: arguments.length,
    };
    let assumed = Assumed {
        pod_rate: arguments.pod_rate,
        start: arguments.start,
        rebalance: arguments.rebalance,
    };
    let seconds = match &arguments.trace {
        Some(file) => match arrivals::seconds(&lines_of(file)?) {
            seconds if seconds.is_empty() => {
                return Err(format!("{}: nothing is known in it of what arrived", file.display()).into());
            }
            seconds if seconds.len() as u64 > LONGEST.as_secs() => {
                return Err(format!("{}: it is of more than a month", file.display()).into());
            }
            seconds => seconds,
        },
        None => load.seconds(arguments.seed),
    };
    let (setting, mut own, keda) = of_consumer(
        &pipeline,
        &arguments.consumer,
        assumed,
        seconds,
        arguments.keda_threshold,
    )?;
    let own = trial::run(&setting, &mut own);
    let keda = trial::run(&setting, &mut Keda::at_odds(keda));
    let name = format!("KEDA, lagThreshold {}", arguments.keda_threshold);
    let outcomes = [("SyncPipeline", &own), (name.as_str(), &keda)];
    if let Some(file) = &arguments.chart {
        let drawn = chart::svg(&outcomes)?;
        if file.as_os_str() == "-" {
            return print(&drawn);
        }
        std::fs::write(file, drawn).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }
    let summary = summary_of(&pipeline, &arguments.consumer)?;
    print(&format!(
        "{}: {summary}\n{}",
        arguments.consumer,
        report::table(&outcomes)
    ))
}
