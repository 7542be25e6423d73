use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use super::{Daemon, Identity, StopSignal};
use crate::{interrupt, log_tail, packages, state};

/// How to start a [`Daemon`].
#[derive(Debug)]
pub struct DaemonSpec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    user: Option<User>,
    log: PathBuf,
    stop_signal: StopSignal,
}

/// A user of this machine, as daemons run as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// The number of its main group.
    pub gid: u32,
}

impl User {
    /// The user of this name.
    pub fn named(name: &str) -> Result<Self> {
        let number = |what: &str| -> Result<u32> {
            let output = Command::new("id").args([what, name]).output().context("run id")?;
            if !output.status.success() {
                bail!("there is no user {name}");
            }
            Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
        };
        Ok(Self {
            uid: number("-u")?,
            gid: number("-g")?,
        })
    }
}

impl DaemonSpec {
    /// A daemon called `name`, unique in a state folder, that runs `program` (a path, or a name in `PATH`).
    pub fn new(name: &str, program: impl AsRef<OsStr>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.as_ref().into(),
            args: Vec::new(),
            env: Vec::new(),
            folder: None,
            user: None,
            log: state::log_dir().join(format!("{name}.log")),
            stop_signal: StopSignal::default(),
        }
    }

    /// Adds arguments. Every user of the machine can read them: nothing secret belongs here.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds one argument; see [`DaemonSpec::args`].
    #[must_use]
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    /// Sets a variable of its environment, which only its own user can read.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it in `folder`.
    #[must_use]
    pub fn current_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Runs it as another user, which only root may.
    pub fn user(mut self, name: &str) -> Result<Self> {
        self.user = Some(User::named(name)?);
        Ok(self)
    }

    /// Appends its output to `path` instead of `<state>/log/<name>.log`.
    #[must_use]
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = path.into();
        self
    }

    /// What [`Daemon::stop`] sends first.
    #[must_use]
    pub fn stop_signal(mut self, signal: StopSignal) -> Self {
        self.stop_signal = signal;
        self
    }

    /// Starts the daemon, unless one of this name runs already: that is an error.
    pub fn spawn(self) -> Result<Daemon> {
        interrupt::check()?;
        if let Some(running) = Daemon::find(&self.name) {
            bail!("{} is running already, as process {}", self.name, running.pid());
        }
        let program = packages::find(&self.program)
            .with_context(|| format!("start {}: there is no program {}", self.name, self.program.display()))?;
        let (out, err) = open_log(&self.log)?;
        // The shell waits for its pid file to be written, and ends by itself if that never happens; then it becomes
        // the program, and stays the same process.
        let mut command = Command::new("setsid");
        command
            .args(["sh", "-c", r#"read -r go && exec "$@" </dev/null"#, "sh"])
            .arg(program)
            .args(&self.args);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(out).stderr(err);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if let Some(User { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        let mut child = command.spawn().with_context(|| format!("start {}", self.name))?;
        let start = || -> Result<Daemon> {
            let identity = Identity::of(i32::try_from(child.id()).context("read a process id")?)?;
            let daemon = Daemon {
                name: self.name.clone(),
                identity,
                stop_signal: self.stop_signal,
                log: self.log,
            };
            daemon.remember()?;
            let mut gate = child.stdin.take().context("there is no pipe to the daemon")?;
            gate.write_all(b"go\n").with_context(|| {
                format!(
                    "start {}; the end of its log:\n{}",
                    self.name,
                    log_tail(daemon.log_path())
                )
            })?;
            Ok(daemon)
        };
        let started = start();
        if started.is_err() {
            drop(child.stdin.take());
        }
        // Collected as soon as it ends: a process that its parent never collects keeps its number.
        thread::spawn(move || child.wait());
        started
    }
}

fn open_log(path: &Path) -> Result<(File, File)> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    let out = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    let err = out.try_clone().context("share the log between output and errors")?;
    Ok((out, err))
}
