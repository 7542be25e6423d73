//! The one developer's command: `cargo xtask help` lists what it does.
//!
//! - [`demo`], [`test`]: the two commands of the README, and [`bench`]; all use an [`environment`]
//! - [`environment`]: builds everything in [`parallel`], brings up a [`cluster`], the data services and the operator's
//!   [`chart`], and takes down what was not there before
//! - [`binaries`], [`images`]: what runs in the pods
//! - [`generate`]: files made from the operator's types and the chart's values
//! - [`toolchain`], [`interrupt`], [`foreground`], [`lock`], [`workspace`]: the machine and the checkout

mod bench;
mod binaries;
mod chart;
mod cluster;
mod demo;
mod environment;
mod foreground;
mod generate;
mod images;
mod interrupt;
mod lock;
mod parallel;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use host::progress::Progress;

use crate::binaries::Binaries;
use crate::environment::Brokers;
use crate::images::Images;
use crate::lock::Lock;
use crate::toolchain::Needs;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Builds, tests and demonstrates SyncPipeline"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Test(test::Test),
    Bench(bench::Bench),
    /// Writes the definitions, their copies in the chart, the API reference and the table of the chart's values
    Gen {
        /// Only say whether they are up to date
        #[arg(long)]
        check: bool,
    },
    /// Builds the images and prints their references
    Images {
        /// Load them into a cluster that is up
        #[arg(long, value_enum)]
        load: Option<Loadable>,
        /// Compile them for speed, to publish them: takes a quarter of an hour
        #[arg(long, conflicts_with = "load")]
        release: bool,
    },
    /// The embedded cluster
    Cluster {
        #[command(subcommand)]
        action: ClusterAction,
    },
    /// Kafka, PostgreSQL and the MongoDB protocol
    Services {
        #[command(subcommand)]
        action: ServicesAction,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Loadable {
    Kind,
    Embedded,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum ClusterAction {
    /// Starts it, or repairs the one that is there
    Up,
    /// Stops it and leaves nothing of it behind
    Down,
    /// Says what runs
    Status,
}

#[derive(Debug, Subcommand)]
enum ServicesAction {
    /// Starts them, or those that do not run
    Up(ServicesUp),
    /// Stops them and removes their data
    Down,
    /// Says what runs
    Status,
}

#[derive(Debug, Args)]
struct ServicesUp {
    /// Kafka brokers to start
    #[arg(long, value_enum, default_value_t)]
    brokers: Brokers,
    /// Address to listen on: the embedded cluster's node if it is up, or else the loopback
    #[arg(long)]
    address: Option<std::net::IpAddr>,
}

fn main() -> ExitCode {
    let outcome = interrupt::listen().and_then(|()| run(Cli::parse().command));
    match outcome {
        _ if interrupt::by_user() => {
            eprintln!("Stopped on request.");
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let progress = Progress::new();
    match command {
        Command::Demo(demo) => demo::run(&demo),
        Command::Test(test) => test::run(&test),
        Command::Bench(bench) => bench::run(&bench),
        Command::Gen { check } => {
            toolchain::ensure(Needs::default())?;
            let binaries = progress.run("cargo build", Binaries::build)?;
            generate::run(&binaries, check, &progress)
        }
        Command::Images { load, release } => build_images(load, release, &progress),
        Command::Cluster { action } => manage_cluster(action, &progress),
        Command::Services { action } => manage_services(action, &progress),
    }
}

fn build_images(load: Option<Loadable>, release: bool, progress: &Progress) -> Result<()> {
    let docker = matches!(load, Some(Loadable::Kind));
    let programs = if docker { vec!["docker", "kind"] } else { vec![] };
    toolchain::ensure(Needs {
        images: !docker,
        programs,
        ..Needs::default()
    })?;
    let binaries = progress.run("cargo build", |step| match release {
        true => Binaries::build_release(step, &images::NAMES),
        false => Binaries::build(step),
    })?;
    let images = if docker {
        Images::docker(&binaries, None, progress)?
    } else {
        Images::archives(&binaries, progress)?
    };
    match load {
        Some(Loadable::Kind) => cluster::load_kind(&images, progress)?,
        Some(Loadable::Embedded) => cluster::load_embedded(&images, progress)?,
        None => {}
    }
    for (_, image) in images.iter() {
        let archive = image
            .archive
            .as_ref()
            .map(|archive| format!(" {}", archive.display()))
            .unwrap_or_default();
        println!("{} {}{archive}", image.reference, image.size());
    }
    Ok(())
}

fn manage_cluster(action: ClusterAction, progress: &Progress) -> Result<()> {
    match action {
        ClusterAction::Up => {
            let _lock = Lock::take()?;
            toolchain::ensure(Needs {
                embedded_cluster: true,
                ..Needs::default()
            })?;
            let cluster = embedded_cluster::up(progress)?;
            println!("export KUBECONFIG={}", cluster.kubeconfig.display());
        }
        ClusterAction::Down => {
            let _lock = Lock::take()?;
            embedded_cluster::down(progress)?;
        }
        ClusterAction::Status => print!("{}", embedded_cluster::status()?),
    }
    Ok(())
}

fn manage_services(action: ServicesAction, progress: &Progress) -> Result<()> {
    match action {
        ServicesAction::Up(up) => {
            let _lock = Lock::take()?;
            toolchain::ensure(Needs {
                services: true,
                ..Needs::default()
            })?;
            let node = embedded_cluster::running().map(|cluster| cluster.node_address.into());
            let address = up.address.or(node).unwrap_or(std::net::Ipv4Addr::LOCALHOST.into());
            services::prepare(progress)?;
            environment::services_up(up.brokers, address, progress)?;
            print_services()?;
        }
        ServicesAction::Down => {
            let _lock = Lock::take()?;
            environment::services_down(progress)?;
        }
        ServicesAction::Status => print_services()?,
    }
    Ok(())
}

fn print_services() -> Result<()> {
    let services = services::status()?;
    if services.is_empty() {
        println!("the data services are not up");
    }
    services.iter().for_each(|service| println!("{service}"));
    Ok(())
}
