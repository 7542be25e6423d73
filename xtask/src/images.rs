//! Images of the operator and the workloads, from one Containerfile: by buildah out of binaries that cargo has built,
//! or by Docker where there is one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use host::progress::Progress;

use crate::binaries::Binaries;
use crate::{foreground, workspace};

/// Everything that is built; each is a target of the Containerfile and a binary of the workspace.
pub(crate) const NAMES: [&str; 5] = ["operator", "producer", "consumer", "generator", STAND_IN];

/// What stands for a vendor's image in the end-to-end tests.
const STAND_IN: &str = "stand-in";

const CONTAINERFILE: &str = "workloads/Containerfile";
const REPOSITORY: &str = "localhost/syncpipeline";
const LARGEST: u64 = 40_000_000;

/// An image that can be loaded into a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The reference pods use; its tag is a hash of the content, so a stale image is never run.
    pub(crate) reference: String,
    /// The OCI archive, where buildah made one.
    pub(crate) archive: Option<PathBuf>,
    /// How much the image holds, in bytes.
    size: u64,
}

/// The images of one build.
#[derive(Clone, Debug)]
pub(crate) struct Images(BTreeMap<&'static str, Image>);

impl Image {
    /// Its size, as a person reads it.
    pub(crate) fn size(&self) -> String {
        megabytes(self.size)
    }
}

impl Images {
    /// Reference of the image of this name.
    pub(crate) fn reference(&self, name: &str) -> Result<&str> {
        Ok(&self
            .0
            .get(name)
            .with_context(|| format!("there is no image {name}"))?
            .reference)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &Image)> {
        self.0.iter().map(|(name, image)| (*name, image))
    }

    /// Builds archives with buildah, which needs no container engine; what is unchanged is not built again.
    pub(crate) fn archives(binaries: &Binaries, progress: &Progress) -> Result<Self> {
        Self::build(progress, |name| archive(name, binaries))
    }

    /// Builds images with Docker and names them `<registry>/<name>`. On Linux it is given the binaries that cargo
    /// has built; those of another system would not run in a container, and the Containerfile compiles its own.
    pub(crate) fn docker(binaries: &Binaries, registry: Option<&str>, progress: &Progress) -> Result<Self> {
        let registry = registry.unwrap_or(REPOSITORY);
        let binaries = cfg!(target_os = "linux").then_some(binaries);
        Self::build(progress, |name| docker(name, binaries, registry))
    }

    fn build(progress: &Progress, build: impl Fn(&'static str) -> Result<Image>) -> Result<Self> {
        let step = progress.step("images");
        let mut images = BTreeMap::new();
        for name in NAMES {
            step.update(name);
            let image = build(name).with_context(|| format!("build image {name}"))?;
            let (size, most) = (image.size(), megabytes(LARGEST));
            ensure!(image.size <= LARGEST, "image {name} has {size}, more than {most}");
            images.insert(name, image);
        }
        let sizes: Vec<String> = images
            .iter()
            .map(|(name, image)| format!("{name} {}", image.size()))
            .collect();
        step.done(&sizes.join(", "));
        Ok(Self(images))
    }

    /// Pushes what Docker built to the registry in its name.
    pub(crate) fn push(&self, progress: &Progress) -> Result<()> {
        progress.run("push images", |step| {
            self.0.values().try_for_each(|image| {
                step.update(&image.reference);
                host::run(
                    Command::new("docker").args(["push", "--quiet", &image.reference]),
                    &log(),
                )
            })
        })
    }
}

fn folder() -> PathBuf {
    workspace::target().join("images")
}

fn log() -> PathBuf {
    host::state::log_dir().join("images.log")
}

/// A folder with nothing but the stripped binary: what takes the place of the Containerfile's stage `binaries`.
fn stage(name: &str, binaries: &Binaries) -> Result<PathBuf> {
    let stage = folder().join(name);
    host::state::remove(&stage)?;
    fs::create_dir_all(&stage).with_context(|| format!("create {}", stage.display()))?;
    let mut strip = Command::new("strip");
    strip
        .arg("--strip-all")
        .arg("-o")
        .arg(stage.join(name))
        .arg(binaries.path(name)?);
    host::run(&mut strip, &log())?;
    Ok(stage)
}

fn archive(name: &'static str, binaries: &Binaries) -> Result<Image> {
    let stage = stage(name, binaries)?;
    let binary = fs::read(stage.join(name)).context("read a staged binary")?;
    let containerfile = fs::read(workspace::path(CONTAINERFILE)).with_context(|| format!("read {CONTAINERFILE}"))?;
    let tag = host::cache::key_of(&[&binary, &containerfile]);
    let reference = format!("{REPOSITORY}/{name}:{tag}");
    let archive = folder().join(format!("{name}-{tag}.tar"));
    if !archive.exists() {
        remove_archives(name)?;
        buildah(name, &stage, &reference, &archive)?;
    }
    Ok(Image {
        reference,
        archive: Some(archive),
        size: binary.len() as u64,
    })
}

fn buildah(name: &str, stage: &Path, reference: &str, archive: &Path) -> Result<()> {
    // Nothing is run and nothing but the binaries is read, so the build's own context is empty.
    let context = folder().join("empty");
    fs::create_dir_all(&context).context("create an empty folder")?;
    let partial = archive.with_extension("partial");
    host::state::remove(&partial)?;
    let store = folder().join("store");
    let mut command = Command::new("buildah");
    command
        .args(["--storage-driver", "vfs", "--root"])
        .arg(store.join("root"))
        .arg("--runroot")
        .arg(store.join("run"))
        .args([
            "build",
            "--isolation",
            "chroot",
            "--timestamp",
            "0",
            "--pull=never",
            "--target",
            name,
        ])
        .arg(format!("--build-context=binaries={}", stage.display()))
        .arg(format!("--tag=oci-archive:{}:{reference}", partial.display()))
        .arg("--file")
        .arg(workspace::path(CONTAINERFILE))
        .arg(context);
    host::run(&mut command, &log())?;
    fs::rename(&partial, archive).with_context(|| format!("finish {}", archive.display()))
}

fn remove_archives(name: &str) -> Result<()> {
    let prefix = format!("{name}-");
    for file in fs::read_dir(folder()).context("list built images")?.flatten() {
        if file.file_name().to_string_lossy().starts_with(&prefix) {
            host::state::remove(&file.path())?;
        }
    }
    Ok(())
}

fn docker(name: &'static str, binaries: Option<&Binaries>, registry: &str) -> Result<Image> {
    let id_file = folder().join(format!("{name}.id"));
    fs::create_dir_all(folder()).context("create the folder of images")?;
    let mut command = Command::new("docker");
    command
        .env("DOCKER_BUILDKIT", "1")
        .args(["build", "--quiet", "--target", name, "--iidfile"])
        .arg(&id_file);
    if let Some(binaries) = binaries {
        command.arg(format!("--build-context=binaries={}", stage(name, binaries)?.display()));
    }
    command
        .arg("--file")
        .arg(workspace::path(CONTAINERFILE))
        .arg(workspace::root());
    host::run(&mut command, &log())?;
    let id = fs::read_to_string(&id_file).context("read the id of a built image")?;
    let id = id.trim().trim_start_matches("sha256:");
    let Some(tag) = id.get(..16) else {
        bail!("docker build gave image {name} the id {id:?}")
    };
    let size = foreground::output(Command::new("docker").args(["image", "inspect", "--format", "{{.Size}}", id]))?;
    let size: u64 = size
        .trim()
        .parse()
        .with_context(|| format!("read the size of image {name}"))?;
    let reference = format!("{registry}/{name}:{tag}");
    foreground::output(Command::new("docker").args(["tag", id, &reference]))?;
    Ok(Image {
        reference,
        archive: None,
        size,
    })
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Instructions of each stage, by the stage's name.
    fn stages() -> BTreeMap<String, Vec<String>> {
        let mut stages = BTreeMap::<String, Vec<String>>::new();
        let mut current = String::new();
        for line in fs::read_to_string(workspace::path(CONTAINERFILE)).unwrap().lines() {
            if line.starts_with("FROM ") {
                current = line.rsplit(' ').next().unwrap().to_owned();
            }
            if !line.trim().is_empty() && !line.starts_with('#') {
                stages.entry(current.clone()).or_default().push(line.to_owned());
            }
        }
        stages
    }

    #[test]
    fn an_image_is_one_static_binary_run_by_nobody() {
        let stages = stages();
        for name in NAMES.into_iter().filter(|name| *name != STAND_IN) {
            assert_eq!(
                stages[name],
                [
                    format!("FROM scratch AS {name}"),
                    format!("COPY --from=binaries --chmod=0555 /{name} /{name}"),
                    "USER 65532:65532".to_owned(),
                    format!("ENTRYPOINT [\"/{name}\"]"),
                ]
            );
        }
        let mut names: Vec<&str> = stages.keys().map(String::as_str).collect();
        names.retain(|name| !NAMES.contains(name));
        assert_eq!(names, ["binaries"], "every target is built");
    }

    #[test]
    fn sizes_are_decimal_megabytes() {
        assert_eq!(megabytes(11_349_000), "11.3 MB");
        assert_eq!(megabytes(LARGEST), "40.0 MB");
    }
}
