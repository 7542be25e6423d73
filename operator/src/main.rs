//! The operator's command line.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use operator::api::SyncPipeline;
use operator::leader::Candidate;
use operator::plan::{SecretDigests, Settings, plan};
use operator::run::Options;
use operator::{manifest, preview, reconcile, resolve, run, validate};

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
        Command::Plan {
            file,
            diff: false,
            images,
        } => print_plan(&file, &images.settings()),
        Command::Plan {
            file,
            diff: true,
            images,
        } => match print_difference(&file, &images.settings()).await {
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

type Failure = Box<dyn std::error::Error>;
type Outcome = Result<(), Failure>;

fn log_as_json() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,krafka=warn"));
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .init();
}

fn print(text: &str) -> Outcome {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn print_definition() -> Outcome {
    print(&manifest::render(&operator::api::definition()?)?)
}

fn read(file: &std::path::Path) -> Result<SyncPipeline, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(manifest::parse(&text).map_err(|error| format!("{}: {error}", file.display()))?)
}

/// Whether anything would change. The credentials of a pipeline that is there are resolved, so that only a real change
/// of them is one.
async fn print_difference(file: &std::path::Path, settings: &Settings) -> Result<bool, Failure> {
    let client = kube::Client::try_default().await?;
    let mut object = read(file)?;
    let namespace = client.default_namespace().to_owned();
    object.metadata.namespace.get_or_insert(namespace);
    let pipeline = validate::validate(&object)?;
    let live = preview::live(&client, &pipeline.namespace, &pipeline.name).await?;
    let (owner, digests) = match &live {
        Some(live) => (
            reconcile::owner(live),
            resolve::resolve(&client, &object).await?.digests,
        ),
        None => (OwnerReference::default(), SecretDigests::default()),
    };
    let mut plan = plan(&pipeline, settings, &owner, &digests);
    if live.is_none() {
        plan.without_owner();
    }
    let status = live.and_then(|live| live.status).unwrap_or_default();
    let differences = preview::differences(&client, &pipeline.namespace, &pipeline.name, &status, &plan).await?;
    print(&differences)?;
    Ok(!differences.is_empty())
}

fn print_plan(file: &std::path::Path, settings: &Settings) -> Outcome {
    let pipeline = validate::validate(&read(file)?)?;
    let mut plan = plan(
        &pipeline,
        settings,
        &OwnerReference::default(),
        &SecretDigests::default(),
    );
    plan.without_owner();
    let mut out = String::new();
    for topic in &plan.topics {
        out += &format!(
            "# topic {}: {} partitions, {} copies, {:?}\n",
            topic.name, topic.partitions, topic.replication_factor, topic.config
        );
    }
    for account in &plan.accounts {
        out += &format!("---\n{}", manifest::render(account)?);
    }
    for service in &plan.services {
        out += &format!("---\n{}", manifest::render(service)?);
    }
    for deployment in &plan.deployments {
        out += &format!("---\n{}", manifest::render(deployment)?);
    }
    for ingress in &plan.ingresses {
        out += &format!("---\n{}", manifest::render(ingress)?);
    }
    for autoscaler in &plan.autoscalers {
        out += &format!("---\n{}", manifest::render(autoscaler)?);
    }
    for budget in &plan.budgets {
        out += &format!("---\n{}", manifest::render(budget)?);
    }
    for policy in &plan.network_policies {
        out += &format!("---\n{}", manifest::render(policy)?);
    }
    print(&out)
}
