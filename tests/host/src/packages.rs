//! Programs of the operating system.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::{is_root, run, state};

/// Says that services of new packages must not be started; read by Debian's package scripts.
const START_POLICY: &str = "/usr/sbin/policy-rc.d";

/// Where programs are that a user's `PATH` may lack.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The program as a path: a name is looked up in `PATH` and the system's folders, a path must be executable.
pub fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return is_executable(program).then(|| program.to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| is_executable(candidate))
}

/// Makes sure that programs are there: pairs of a program (a name or a path; a path may be any file) and the
/// Debian package that brings it.
///
/// Missing packages are installed where that is possible (Debian's package manager, as root), without starting
/// their services; else one error names all of them.
pub fn ensure(wanted: &[(&str, &str)]) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let absent = missing(wanted);
    if absent.is_empty() {
        return Ok(());
    }
    if !is_root() || find(Path::new("apt-get")).is_none() {
        bail!("{}; install them and run this again", describe(&absent));
    }
    install(&absent)?;
    let still = missing(&absent);
    if !still.is_empty() {
        bail!("{}, although the packages are installed", describe(&still));
    }
    Ok(())
}

fn missing<'a>(wanted: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let present = |program: &Path| find(program).is_some() || (program.is_absolute() && program.exists());
    wanted
        .iter()
        .copied()
        .filter(|(program, _)| !present(Path::new(program)))
        .collect()
}

fn describe(absent: &[(&str, &str)]) -> String {
    let names: Vec<String> = absent
        .iter()
        .map(|(program, package)| format!("{program} (Debian package {package})"))
        .collect();
    format!("programs are missing: {}", names.join(", "))
}

fn install(absent: &[(&str, &str)]) -> Result<()> {
    let log = state::log_dir().join("packages.log");
    let mut packages: Vec<&str> = absent.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        // Another package manager may be at work, as unattended upgrades are: wait for it.
        command
            .args(["-qq", "-o", "DPkg::Lock::Timeout=300"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let _policy = NoServices::begin()?;
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(&packages);
    // The lists may be old or absent: refresh them only if the packages cannot be had without.
    if run(&mut apt(&args), &log).is_err() {
        run(&mut apt(&["update"]), &log).context("refresh the package lists")?;
        run(&mut apt(&args), &log).with_context(|| format!("install {}", packages.join(", ")))?;
    }
    Ok(())
}

/// While it lives, new packages do not start their services; a policy that the machine has already is kept.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        let policy = Path::new(START_POLICY);
        if policy.exists() && !is_ours(policy) {
            return Ok(Self { ours: false });
        }
        fs::write(policy, POLICY).with_context(|| format!("write {START_POLICY}"))?;
        let this = Self { ours: true };
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755)).context("make the policy executable")?;
        Ok(this)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            // Nothing useful can be done here, and the next installation removes it.
            let _ = fs::remove_file(START_POLICY);
        }
    }
}

const POLICY: &str = "#!/bin/sh\n# Written by SyncPipeline while it installs packages; safe to remove.\nexit 101\n";

fn is_ours(policy: &Path) -> bool {
    fs::read_to_string(policy).is_ok_and(|content| content == POLICY)
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        let shell = find(Path::new("sh")).unwrap();
        assert!(shell.is_absolute());
        assert_eq!(find(&shell), Some(shell));
        assert_eq!(
            find(Path::new("/etc/passwd")),
            None,
            "a file that cannot be run is no program"
        );
        assert_eq!(find(Path::new("no-such-program")), None);
    }

    #[test]
    fn what_is_there_needs_no_package() {
        ensure(&[("sh", "no-such-package"), ("/etc/passwd", "no-such-package")]).unwrap();
    }

    #[test]
    fn everything_that_is_missing_is_named() {
        let absent = missing(&[("sh", "dash"), ("no-such-program", "one"), ("/no/such/file", "two")]);
        assert_eq!(
            describe(&absent),
            "programs are missing: no-such-program (Debian package one), /no/such/file (Debian package two)"
        );
    }
}
