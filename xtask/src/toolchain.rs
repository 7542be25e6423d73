//! Programs that must be there before anything is built, checked all at once.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::workspace;

/// What building the workspace needs: native libraries of Kafka's client and the tools to compile them.
const FOR_CARGO: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("c++", "g++"),
    ("make", "make"),
    ("perl", "perl"),
    ("pkg-config", "pkg-config"),
    ("/usr/include/openssl/ssl.h", "libssl-dev"),
    ("/usr/include/zlib.h", "zlib1g-dev"),
];

/// What images without a container engine need.
const FOR_IMAGES: &[(&str, &str)] = &[("buildah", "buildah"), ("strip", "binutils")];

/// Go modules that are built, each with the Go it asks for.
const GO_MODULES: [&str; 2] = ["tests/cluster/kubernetes/go.mod", "tests/services/ferretdb/go.mod"];

/// From this Go on, an older one fetches the one that a module asks for, unless it was told to stay local.
const FIRST_GO_THAT_FETCHES: (u32, u32) = (1, 21);

/// What a command is going to do, and so what it needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// The embedded cluster: Linux and root.
    pub(crate) embedded_cluster: bool,
    /// Kafka, PostgreSQL and the MongoDB protocol.
    pub(crate) services: bool,
    /// Images built by buildah.
    pub(crate) images: bool,
    /// Programs that only the user can provide.
    pub(crate) programs: Vec<&'static str>,
}

/// Installs what the package manager has, and names everything else that is missing in one error.
pub(crate) fn ensure(needs: Needs) -> Result<()> {
    let mut problems = Vec::new();
    if needs.embedded_cluster && !cfg!(target_os = "linux") {
        problems.push("the embedded cluster runs on Linux only; use --cluster kind or --cluster current".to_owned());
    } else if needs.embedded_cluster && !host::is_root() {
        problems.push("the embedded cluster needs root; use sudo, --cluster kind or --cluster current".to_owned());
    }
    if needs.embedded_cluster || needs.services {
        problems.extend(go_problem());
    }
    let absent = needs
        .programs
        .iter()
        .filter(|program| host::packages::find(Path::new(program)).is_none());
    problems.extend(absent.map(|program| format!("{program} is not in PATH")));
    if cfg!(target_os = "linux") {
        let mut packages = FOR_CARGO.to_vec();
        packages.extend(needs.images.then_some(FOR_IMAGES).into_iter().flatten());
        if needs.embedded_cluster {
            packages.extend(embedded_cluster::PACKAGES);
        }
        if needs.services {
            packages.extend(services::PACKAGES);
        }
        problems.extend(
            host::packages::ensure(&packages)
                .err()
                .map(|error| format!("{error:#}")),
        );
    }
    if !problems.is_empty() {
        bail!("this cannot be done here yet:\n  - {}", problems.join("\n  - "));
    }
    Ok(())
}

fn go_problem() -> Option<String> {
    let modules = GO_MODULES
        .iter()
        .filter_map(|module| fs::read_to_string(workspace::path(module)).ok());
    let (major, minor) = modules.filter_map(|module| wanted_go(&module)).max()?;
    let wanted = format!("Go {major}.{minor} or newer is needed (https://go.dev/dl)");
    let Some(go) = host::packages::find(Path::new("go")) else {
        return Some(format!("{wanted}: there is no `go` in PATH"));
    };
    let output = Command::new(go)
        .args(["env", "GOVERSION", "GOTOOLCHAIN"])
        .current_dir("/")
        .output()
        .ok()?;
    let output = String::from_utf8_lossy(&output.stdout);
    let mut lines = output.lines();
    let (text, toolchain) = (lines.next()?, lines.next().unwrap_or("local"));
    let version = go_version(text)?;
    let fetches = version >= FIRST_GO_THAT_FETCHES && toolchain != "local";
    (version < (major, minor) && !fetches).then(|| format!("{wanted}: `go` is {text}"))
}

/// The version in a module's line `go 1.24.0`.
fn wanted_go(module: &str) -> Option<(u32, u32)> {
    module.lines().find_map(|line| numbers(line.strip_prefix("go ")?))
}

/// `go1.24.5` → (1, 24); a development version has no number and is taken as new enough.
fn go_version(text: &str) -> Option<(u32, u32)> {
    numbers(text.strip_prefix("go")?)
}

fn numbers(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_are_compared_as_numbers() {
        assert_eq!(go_version("go1.24.5"), Some((1, 24)));
        assert_eq!(go_version("go1.9"), Some((1, 9)));
        assert!(go_version("go1.9") < go_version("go1.24"));
        assert_eq!(go_version("go1.26rc1"), Some((1, 26)));
        assert_eq!(go_version("devel go1.27-abc"), None);
        assert_eq!(
            wanted_go("module m\n\ngo 1.24.0\n\ngodebug default=go1.24\n"),
            Some((1, 24))
        );
        for module in GO_MODULES {
            assert!(
                wanted_go(&fs::read_to_string(workspace::path(module)).unwrap()).is_some(),
                "{module}"
            );
        }
    }

    #[test]
    fn a_program_that_only_the_user_can_provide_is_named() {
        let needs = Needs {
            programs: vec!["no-such-program", "sh"],
            ..Needs::default()
        };
        let error = ensure(needs).unwrap_err().to_string();
        assert!(
            error.contains("no-such-program is not in PATH") && !error.contains("sh is not"),
            "{error}"
        );
    }
}
