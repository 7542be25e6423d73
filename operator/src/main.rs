//! The operator's command line.

mod cli;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use operator::leader::Candidate;
use operator::plan::Settings;
use operator::run::Options;
use operator::{manifest, run};

#[derive(Parser)]
#[command(name = "operator", version, about = "The SyncPipeline operator")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator.
    Run {
        #[command(flatten)]
        images: Images,
        /// Port of health and metrics.
        #[arg(long, env = "SYNCPIPELINE_PORT", default_value_t = contract::port::OPERATOR)]
        port: u16,
        /// Namespaces to look after, separated by commas; all when left out.
        #[arg(long, env = "SYNCPIPELINE_WATCH_NAMESPACES", value_delimiter = ',')]
        watch_namespaces: Vec<String>,
        /// Lease by which one of several operators is chosen.
        #[arg(long, env = "SYNCPIPELINE_LEASE_NAME", default_value = "syncpipeline-operator")]
        lease_name: String,
        /// Its namespace. Without it there is no election: only for an operator that is known to be the only one.
        #[arg(long, env = "POD_NAMESPACE")]
        lease_namespace: Option<String>,
        /// Name in the election; the pod's name, so that a container that is started again is the same candidate.
        #[arg(long, env = "POD_NAME", default_value_t = format!("operator-{}", std::process::id()))]
        identity: String,
    },
    /// Print the CustomResourceDefinition as YAML.
    Crd,
    /// Print the topics and objects that a SyncPipeline would become.
    Plan {
        /// File with one SyncPipeline.
        file: PathBuf,
        /// Print instead what would change in the cluster of the present context, and end with 1 if anything would.
        #[arg(long)]
        diff: bool,
        #[command(flatten)]
        images: Images,
    },
    /// Show what the policy of a consumer would do under a load, in a model, beside KEDA in its place.
    Simulate(cli::simulate::Simulate),
    /// Decide once more from what a scaler saw, and print the decisions.
    Replay(cli::replay::Replay),
}

/// Images of the workloads that name none.
#[derive(Args)]
struct Images {
    /// Image of producers.
    #[arg(
        long,
        env = "SYNCPIPELINE_IMAGE_PRODUCER",
        default_value = "syncpipeline/producer:0.1.0"
    )]
    producer_image: String,
    /// Image of consumers.
    #[arg(
        long,
        env = "SYNCPIPELINE_IMAGE_CONSUMER",
        default_value = "syncpipeline/consumer:0.1.0"
    )]
    consumer_image: String,
    /// Namespace that may read the metrics of pods which serve nothing else.
    #[arg(long, env = "SYNCPIPELINE_MONITORING_NAMESPACE", default_value = "monitoring")]
    monitoring_namespace: String,
}

impl Images {
    fn settings(self) -> Settings {
        Settings {
            producer_image: self.producer_image,
            consumer_image: self.consumer_image,
            monitoring_namespace: self.monitoring_namespace,
        }
    }
}

/// Exit codes of `plan --diff`, as of `kubectl diff`: something would change, and it could not be found out.
const DIFFERENT: u8 = 1;
const FAILED: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run {
            images,
            port,
            watch_namespaces,
            lease_name,
            lease_namespace,
            identity,
        } => {
            log_as_json();
            let options = Options {
                settings: images.settings(),
                port,
                namespaces: watch_namespaces.into_iter().filter(|name| !name.is_empty()).collect(),
                candidate: lease_namespace.map(|namespace| Candidate {
                    lease: lease_name,
                    namespace,
                    identity,
                }),
            };
            run::run(options).await.map_err(Into::into)
        }
        Command::Crd => print_definition(),
        Command::Simulate(arguments) => cli::simulate::run(&arguments),
        Command::Replay(arguments) => cli::replay::run(&arguments),
        Command::Plan {
            file,
            diff: false,
            images,
        } => cli::plan::print_plan(&file, &images.settings()),
        Command::Plan {
            file,
            diff: true,
            images,
        } => match cli::plan::print_difference(&file, &images.settings()).await {
            Ok(true) => return ExitCode::from(DIFFERENT),
            Ok(false) => Ok(()),
            Err(error) => {
                eprintln!("operator: {error}");
                return ExitCode::from(FAILED);
            }
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("operator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn log_as_json() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,krafka=warn"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .init();
}

fn print_definition() -> cli::Outcome {
    cli::print(&manifest::render(&operator::api::definition()?)?)
}
