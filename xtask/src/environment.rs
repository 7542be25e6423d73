//! Everything a pipeline needs, brought up for one piece of work and taken down again.

use std::env;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use host::progress::Progress;

use crate::binaries::Binaries;
use crate::cluster::{Cluster, Provider};
use crate::images::Images;
use crate::lock::Lock;
use crate::parallel::{self, Work};
use crate::toolchain::Needs;
use crate::{chart, toolchain};

/// Names the image of the generator for the demo and the end-to-end tests.
const GENERATOR_IMAGE: &str = "SYNCPIPELINE_IMAGE_GENERATOR";
/// Names the image that stands for a vendor's in the end-to-end tests.
const STAND_IN_IMAGE: &str = "SYNCPIPELINE_IMAGE_STAND_IN";

/// Names the operator's own binary for the end-to-end tests.
const OPERATOR_BINARY: &str = "SYNCPIPELINE_OPERATOR";

/// Where and how to bring everything up.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Which cluster to use
    #[arg(long, value_enum, default_value_t)]
    pub(crate) cluster: Provider,
    /// Push the images here for --cluster current; without it they must be on the nodes already
    #[arg(long)]
    pub(crate) registry: Option<String>,
    /// Address of this machine that pods can reach, where it is not found by itself
    #[arg(long)]
    pub(crate) services_address: Option<IpAddr>,
    /// Kafka brokers to start
    #[arg(long, value_enum, default_value_t)]
    pub(crate) brokers: Brokers,
}

/// How many Kafka brokers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Brokers {
    /// Enough to see everything work
    #[default]
    #[value(name = "1")]
    One,
    /// Replication as in production
    #[value(name = "3")]
    Three,
}

/// A cluster with the operator in it, and the data services.
#[derive(Debug)]
pub(crate) struct Environment {
    cluster: Cluster,
    images: Images,
    binaries: Binaries,
    /// Whether the cluster goes, with all that is in it, when the work is done.
    pub(crate) temporary: bool,
}

impl Environment {
    /// A command that finds the cluster, its tools and the generator's image in its environment.
    pub(crate) fn command(&self, mut command: Command) -> Result<Command> {
        self.cluster.configure(&mut command);
        command.env(GENERATOR_IMAGE, self.images.reference("generator")?);
        command.env(STAND_IN_IMAGE, self.images.reference("stand-in")?);
        command.env(OPERATOR_BINARY, self.binaries.path("operator")?);
        let helm = self.cluster.helm();
        if let Some(folder) = Path::new(helm.get_program())
            .parent()
            .filter(|folder| folder.is_absolute())
        {
            let path = env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&path));
            command.env("PATH", env::join_paths(folders).context("extend PATH")?);
        }
        Ok(command)
    }

    /// A binary of the workspace, with that environment.
    pub(crate) fn binary(&self, name: &str) -> Result<Command> {
        self.command(Command::new(self.binaries.path(name)?))
    }
}

/// Brings everything up, does `work`, and stops again what was not there before, however the work ends.
pub(crate) fn with(
    options: &Options,
    keep: bool,
    progress: &Progress,
    work: impl FnOnce(&Environment) -> Result<()>,
) -> Result<()> {
    let _lock = Lock::take()?;
    toolchain::ensure(options.needs())?;
    let before = Before {
        cluster: options.cluster.is_up()?,
        services: services::running().is_some(),
    };
    let built = build(options, progress)?;
    let mut installed = None;
    let temporary = !keep && !before.cluster;
    let outcome = bring_up(options, built, &mut installed, progress).and_then(|(cluster, images, binaries)| {
        work(&Environment {
            cluster,
            images,
            binaries,
            temporary,
        })
    });
    if keep {
        return outcome;
    }
    // Stopping waits and runs commands, as starting does.
    host::interrupt::clear();
    let stopped = take_down(options.cluster, before, installed.as_ref(), progress);
    outcome.and(stopped)
}

/// What was running before: it is left running.
#[derive(Clone, Copy, Debug)]
struct Before {
    cluster: bool,
    services: bool,
}

impl Brokers {
    fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Three => 3,
        }
    }
}

impl Options {
    pub(crate) fn needs(&self) -> Needs {
        let docker = self.cluster == Provider::Kind || self.registry.is_some();
        let mut programs = self.cluster.programs().to_vec();
        programs.extend(docker.then_some("docker"));
        Needs {
            embedded_cluster: self.cluster == Provider::Embedded,
            services: true,
            images: !docker,
            programs,
        }
    }
}

/// Builds all that is needed, in parallel: cargo, Go and Maven each leave a core idle now and then.
fn build(options: &Options, progress: &Progress) -> Result<(Binaries, Images)> {
    let mut built = None;
    parallel::all(vec![
        Box::new(|| {
            let binaries = progress.run("cargo build", Binaries::build)?;
            let images = build_images(options, &binaries, progress)?;
            built = Some((binaries, images));
            Ok(())
        }),
        Box::new(|| prepare(options, progress)),
    ])?;
    built.context("cargo build ended without a result")
}

/// Builds the programs of the embedded cluster and the data services.
pub(crate) fn prepare(options: &Options, progress: &Progress) -> Result<()> {
    let embedded = options.cluster == Provider::Embedded;
    let mut works: Vec<Work<'_>> = vec![Box::new(move || services::prepare(progress))];
    if embedded {
        works.push(Box::new(|| embedded_cluster::prepare_kubernetes(progress).map(drop)));
    }
    parallel::all(works)
}

fn build_images(options: &Options, binaries: &Binaries, progress: &Progress) -> Result<Images> {
    match (options.cluster, &options.registry) {
        (Provider::Kind, _) => Images::docker(binaries, None, progress),
        (Provider::Current, Some(registry)) => {
            let images = Images::docker(binaries, Some(registry), progress)?;
            images.push(progress)?;
            Ok(images)
        }
        // On the current cluster's nodes they are by the user's doing: `cargo xtask images` names the same archives.
        (Provider::Embedded, _) | (Provider::Current, None) => Images::archives(binaries, progress),
    }
}

fn bring_up(
    options: &Options,
    built: (Binaries, Images),
    installed: &mut Option<Cluster>,
    progress: &Progress,
) -> Result<(Cluster, Images, Binaries)> {
    let (binaries, images) = built;
    let cluster = options.cluster.up(progress)?;
    let address = options.services_address.unwrap_or(cluster.services_address);
    parallel::all(vec![
        Box::new(|| services_up(options.brokers, address, progress)),
        Box::new(|| {
            cluster.load(&images, progress)?;
            if !chart::is_installed(&cluster)? {
                *installed = Some(cluster.clone());
            }
            chart::install(&cluster, &images, progress)
        }),
        Box::new(|| cluster.wait_for_metrics(progress)),
    ])?;
    Ok((cluster, images, binaries))
}

/// Starts the data services on an address.
pub(crate) fn services_up(brokers: Brokers, address: IpAddr, progress: &Progress) -> Result<()> {
    let options = services::Options {
        brokers: brokers.count(),
        address,
    };
    progress.run("Kafka, PostgreSQL and the MongoDB protocol", |_| {
        services::up(&options).map(drop)
    })
}

/// Stops the data services and removes their data.
pub(crate) fn services_down(progress: &Progress) -> Result<()> {
    progress.run("stop the data services", |_| services::down())
}

/// Stops what was started; a step that fails does not keep the others from being tried.
fn take_down(provider: Provider, before: Before, installed: Option<&Cluster>, progress: &Progress) -> Result<()> {
    let services = if before.services {
        Ok(())
    } else {
        services_down(progress)
    };
    let cluster = match installed {
        _ if !before.cluster => provider.down(progress),
        Some(cluster) => chart::uninstall(cluster, progress),
        None => Ok(()),
    };
    services.and(cluster)
}
