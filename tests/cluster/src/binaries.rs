//! The cluster's own programs, built from the Go modules beside this crate and kept in the cache.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use host::progress::{Progress, Step};
use serde::{Deserialize, Serialize};

const KUBERNETES: Module = Module {
    name: "kubernetes",
    packages: &[
        ".",
        "./pause",
        "./coredns",
        "helm.sh/helm/v3/cmd/helm",
        "sigs.k8s.io/metrics-server/cmd/metrics-server",
    ],
    reports_version_of: "k8s.io/kubernetes",
    links: &[("kubectl", "kubernetes")],
};

/// The programs of a cluster: a folder with `kubernetes`, `kubectl`, `coredns`, `helm`, `metrics-server` and
/// `pause`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// The folder, for a `PATH`: it has `kubectl` and `helm`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn kubernetes(&self) -> PathBuf {
        self.folder.join("kubernetes")
    }

    pub(crate) fn kubectl(&self) -> PathBuf {
        self.folder.join("kubectl")
    }

    pub(crate) fn coredns(&self) -> PathBuf {
        self.folder.join("coredns")
    }

    pub(crate) fn helm(&self) -> PathBuf {
        self.folder.join("helm")
    }

    pub(crate) fn metrics_server(&self) -> PathBuf {
        self.folder.join("metrics-server")
    }

    pub(crate) fn pause(&self) -> PathBuf {
        self.folder.join("pause")
    }
}

/// Builds Kubernetes, kubectl, CoreDNS, Helm and the metrics server, unless the cache has them. Needs Go, but not root.
pub fn prepare_kubernetes(progress: &Progress) -> Result<Binaries> {
    Ok(Binaries {
        folder: KUBERNETES.prepare(progress)?,
    })
}

/// A Go module of this repository and what is built of it.
struct Module {
    /// Its folder, and its entry in the cache.
    name: &'static str,
    packages: &'static [&'static str],
    /// The dependency whose version the binaries report as theirs.
    reports_version_of: &'static str,
    /// Other names of its binaries.
    links: &'static [(&'static str, &'static str)],
}

impl Module {
    fn prepare(&self, progress: &Progress) -> Result<PathBuf> {
        if let Some(built) = self.built()? {
            return Ok(built);
        }
        progress.run(format!("building {} from Go modules", self.name), |step| {
            host::cache::entry(&self.cache_name(), &self.key()?, |folder| self.build(folder, step))
        })
    }

    fn built(&self) -> Result<Option<PathBuf>> {
        let folder = host::cache::dir().join(self.cache_name()).join(self.key()?);
        Ok(folder.is_dir().then_some(folder))
    }

    fn build(&self, folder: &Path, step: &Step) -> Result<()> {
        let log = folder.join("build.log");
        let mut build = self.go();
        build.args(["build", "-v", "-trimpath", "-buildvcs=false"]);
        // The linker leaves it out: not writing it spares a sixth of the time.
        build.arg("-gcflags=all=-dwarf=false");
        build.arg(format!("-ldflags={}", self.linker_flags()?));
        build
            .arg("-o")
            .arg(format!("{}/", folder.display()))
            .args(self.packages);
        let finished = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !finished.load(Ordering::Relaxed) {
                    step.update(&format!("{} packages compiled", compiled_packages(&log)));
                    thread::park_timeout(Duration::from_secs(1));
                }
            });
            let result = host::run(&mut build, &log);
            finished.store(true, Ordering::Relaxed);
            result
        })?;
        for (link, target) in self.links {
            symlink(target, folder.join(link)).with_context(|| format!("link {link} to {target}"))?;
        }
        Ok(())
    }

    /// What the result depends on: the module's own files, Go's version and the flags.
    fn key(&self) -> Result<String> {
        let version = self.go().arg("version").output().context(GO_IS_MISSING)?;
        if !version.status.success() {
            bail!("{GO_IS_MISSING}: {}", String::from_utf8_lossy(&version.stderr).trim());
        }
        let mut parts = vec![
            version.stdout,
            self.linker_flags()?.into_bytes(),
            self.packages.join(" ").into_bytes(),
        ];
        for file in files_below(&self.folder())? {
            parts.push(file.as_os_str().as_encoded_bytes().to_owned());
            let path = self.folder().join(&file);
            parts.push(fs::read(&path).with_context(|| format!("read {}", path.display()))?);
        }
        Ok(host::cache::key_of(
            &parts.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        ))
    }

    fn linker_flags(&self) -> Result<String> {
        let dependency = self.reports_version_of;
        let path = self.folder().join("go.mod");
        let requirements = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let version = required_version(&requirements, dependency)
            .with_context(|| format!("{} does not require {dependency}", path.display()))?;
        let mut numbers = version.trim_start_matches('v').split('.');
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let package = "k8s.io/component-base/version";
        Ok(format!(
            "-s -w -X {package}.gitVersion={version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor} \
             -X {package}.gitTreeState=clean"
        ))
    }

    fn go(&self) -> Command {
        let mut go = Command::new("go");
        // The go.mod at hand with the Go at hand: neither is changed or fetched on the way.
        go.current_dir(self.folder())
            .env("GOFLAGS", "-mod=readonly")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off");
        go
    }

    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.name)
    }

    fn cache_name(&self) -> String {
        format!("cluster-{}", self.name)
    }
}

const GO_IS_MISSING: &str = "building the embedded cluster needs Go 1.26 or newer as `go` in PATH (https://go.dev/dl)";

/// The lines of `go build -v` so far, one for each package; a log that is not there yet has none.
fn compiled_packages(log: &Path) -> usize {
    fs::read_to_string(log).map_or(0, |log| log.lines().filter(|line| !line.starts_with("go: ")).count())
}

/// The version in a `require` line of a go.mod.
fn required_version<'a>(requirements: &'a str, dependency: &str) -> Option<&'a str> {
    requirements.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        line.strip_prefix(dependency)?
            .strip_prefix(' ')?
            .split_whitespace()
            .next()
    })
}

/// Every file below `folder`, relative to it, in a fixed order.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(current) = pending.pop() {
        for entry in fs::read_dir(&current).with_context(|| format!("list {}", current.display()))? {
            let path = entry.with_context(|| format!("list {}", current.display()))?.path();
            if path.is_dir() {
                pending.push(path);
            } else {
                files.push(path.strip_prefix(folder).unwrap_or(&path).to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_required_one() {
        let requirements =
            "module x\n\nrequire (\n\tk8s.io/kubernetes-extra v9.9.9\n\tk8s.io/kubernetes v1.34.4 // pinned\n)\n";
        assert_eq!(required_version(requirements, "k8s.io/kubernetes"), Some("v1.34.4"));
        assert_eq!(
            required_version("require k8s.io/kubernetes v1.2.3\n", "k8s.io/kubernetes"),
            Some("v1.2.3")
        );
        assert_eq!(required_version(requirements, "k8s.io/kubectl"), None);
    }

    #[test]
    fn kubernetes_reports_its_own_version() {
        let flags = KUBERNETES.linker_flags().unwrap();
        assert!(flags.contains("version.gitVersion=v1.34."), "{flags}");
        assert!(
            flags.contains("version.gitMajor=1 ") && flags.contains("version.gitMinor=34 "),
            "{flags}"
        );
    }

    #[test]
    fn files_are_found_in_subfolders_in_order() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        for file in ["c", "a", "b/z"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        assert_eq!(
            files_below(folder.path()).unwrap(),
            ["a", "b/z", "c"].map(PathBuf::from)
        );
    }
}
