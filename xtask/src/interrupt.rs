//! Ctrl-C: the first one ends what runs and lets the command tear down what it started, the second one aborts at once.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What a shell reports for a command that was ended by Ctrl-C.
pub(crate) const EXIT_CODE: u8 = 130;

/// Process groups that [`crate::foreground`] runs; the terminal's own Ctrl-C does not reach them.
static GROUPS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

static BY_USER: AtomicBool = AtomicBool::new(false);

/// Begins to listen; before this, Ctrl-C simply ends the process.
pub(crate) fn listen() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("listen for Ctrl-C")?;
    thread::Builder::new()
        .name("interrupt".into())
        .spawn(move || {
            let mut first = true;
            for _ in signals.forever() {
                if !first {
                    groups().iter().for_each(|group| signal_group(*group, Signal::KILL));
                    std::process::exit(EXIT_CODE.into());
                }
                first = false;
                eprintln!("\nStopping what was started; Ctrl-C again aborts at once and leaves it.");
                BY_USER.store(true, Ordering::SeqCst);
                end_children();
            }
        })
        .context("listen for Ctrl-C")?;
    Ok(())
}

/// Whether the user has asked for an end.
pub(crate) fn by_user() -> bool {
    BY_USER.load(Ordering::SeqCst)
}

/// Ends every command that runs now and keeps new ones from starting, until [`host::interrupt::clear`].
pub(crate) fn end_children() {
    host::interrupt::request();
    groups().iter().for_each(|group| signal_group(*group, Signal::INT));
    for child in children_in_session() {
        signal_process(child, Signal::TERM);
    }
}

/// Registers a process group while it lives: it gets the signal that this process gets.
pub(crate) struct Group(i32);

impl Group {
    pub(crate) fn of(pid: u32) -> Self {
        let group = pid.cast_signed();
        groups().insert(group);
        // Asked to stop between the start of the process and its registration.
        if host::interrupt::check().is_err() {
            signal_group(group, Signal::INT);
        }
        Self(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        groups().remove(&self.0);
    }
}

fn groups() -> MutexGuard<'static, BTreeSet<i32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

// A process that is gone already needs no signal.
fn signal_group(group: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group) {
        let _ = kill_process_group(group, signal);
    }
}

fn signal_process(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Builds and other commands that run to their end: all descendants but daemons, which have sessions of their own,
/// and but the registered groups.
fn children_in_session() -> Vec<i32> {
    let processes = all_processes();
    let own = getpid().as_raw_pid();
    // Not from `getsid`: in a PID namespace whose session began outside it the number is 0, for /proc as well.
    let Some(session) = processes
        .iter()
        .find(|process| process.pid == own)
        .map(|process| process.session)
    else {
        return Vec::new();
    };
    let mut family = BTreeSet::from([own]);
    let registered = groups().clone();
    loop {
        let known = family.len();
        for process in &processes {
            let kin = family.contains(&process.parent) && process.session == session;
            if kin && !registered.contains(&process.group) {
                family.insert(process.pid);
            }
        }
        if family.len() == known {
            break;
        }
    }
    family.remove(&own);
    family.into_iter().collect()
}

struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
}

fn all_processes() -> Vec<Process> {
    let Ok(folders) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    folders
        .flatten()
        .filter_map(|folder| folder.file_name().to_str()?.parse().ok())
        .filter_map(|pid| parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// `pid (command) state parent group session ...`, where the command may hold spaces and parentheses.
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let (_, after_command) = stat.rsplit_once(") ")?;
    let mut fields = after_command.split(' ').skip(1).map(|field| field.parse().ok());
    Some(Process {
        pid,
        parent: fields.next()??,
        group: fields.next()??,
        session: fields.next()??,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_command_name_cannot_confuse_the_parser() {
        let process = parse_stat(7, "7 (a) R 1 (b) S 3 4 5 0 -1").unwrap();
        assert_eq!(
            (process.pid, process.parent, process.group, process.session),
            (7, 3, 4, 5)
        );
    }

    #[test]
    fn children_are_found_and_daemons_are_not() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mut daemon = Command::new("setsid");
        let mut daemon = daemon
            .args(["sh", "-c", "echo; exec sleep 60"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its first byte comes from within its own session.
        std::io::Read::read_exact(daemon.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let found = children_in_session();
        assert!(found.contains(&child.id().cast_signed()), "{found:?}");
        assert!(!found.contains(&daemon.id().cast_signed()), "{found:?}");
        for child in [&mut child, &mut daemon] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
