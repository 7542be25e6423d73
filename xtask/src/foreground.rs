//! Commands whose output is the user's to see.
//!
//! Each has a process group of its own, so that Ctrl-C reaches it exactly once: through [`crate::interrupt`].

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use crate::interrupt::Group;

/// Runs a command to its end; its output goes where this process's goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = name_of(command);
    let status = wait(&name, command.stdin(Stdio::null()).process_group(0), |_| Ok(()))?;
    succeeded(&name, status)
}

/// Runs a command to its end and shows its standard output line by line, each also given to `on_line`.
pub(crate) fn run_reading(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<ExitStatus> {
    let name = name_of(command);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    wait(&name, command, |child| {
        let Some(output) = child.stdout.take() else {
            return Ok(());
        };
        for line in BufReader::new(output).split(b'\n') {
            let line = line.with_context(|| format!("read the output of {name}"))?;
            let line = String::from_utf8_lossy(&line);
            writeln!(std::io::stdout(), "{line}").context("write to standard output")?;
            on_line(&line);
        }
        Ok(())
    })
}

/// Runs a command to its end and returns its standard output; its standard error is part of a failure's error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    host::interrupt::check()?;
    let name = name_of(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {name}"))?;
    if !output.status.success() {
        host::interrupt::check()?;
        bail!(
            "{name} failed with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("read the output of {name}"))
}

fn wait(
    name: &str,
    command: &mut Command,
    read: impl FnOnce(&mut std::process::Child) -> Result<()>,
) -> Result<ExitStatus> {
    host::interrupt::check()?;
    let mut child = command.spawn().with_context(|| format!("run {name}"))?;
    let _group = Group::of(child.id());
    let read = read(&mut child);
    let status = child.wait().with_context(|| format!("wait for {name}"))?;
    host::interrupt::check()?;
    read.map(|()| status)
}

fn succeeded(name: &str, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("{name} failed with {status}");
    }
    Ok(())
}

/// The program and its first argument: enough to know it by, and no value of an option.
fn name_of(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default();
    let first = command
        .get_args()
        .next()
        .filter(|arg| !arg.as_encoded_bytes().starts_with(b"-"));
    match first {
        Some(argument) => format!("`{program} {}`", argument.to_string_lossy()),
        None => format!("`{program}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = output(Command::new("ls").arg("/no/such/folder"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("`ls /no/such/folder` failed with exit status: 2: "),
            "{error}"
        );
        assert!(error.contains("No such file"), "{error}");
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "`sh` failed with exit status: 3");
    }

    #[test]
    fn lines_are_read_as_they_come() {
        let mut lines = Vec::new();
        let status = run_reading(Command::new("printf").arg("one\\ntwo"), |line| {
            lines.push(line.to_owned())
        })
        .unwrap();
        assert!(status.success());
        assert_eq!(lines, ["one", "two"]);
    }
}
