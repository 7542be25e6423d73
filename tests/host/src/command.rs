use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::interrupt;

const TAIL_LINES: usize = 25;
const TAIL_BYTES: u64 = 16 * 1024;

/// Runs `command` to its end with its output appended to `log`; the error of a failure shows the log's end.
///
/// The command has no standard input, so a program that asks a question fails instead of waiting for ever.
/// The error names the program only, never its arguments.
pub fn run(command: &mut Command, log: &Path) -> Result<()> {
    run_with_input(command, &[], log)
}

/// Like [`run`], with `input` as its standard input: the way to hand over a secret that arguments would show.
pub fn run_with_input(command: &mut Command, input: &[u8], log: &Path) -> Result<()> {
    interrupt::check()?;
    if let Some(parent) = log.parent() {
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("open {}", log.display()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(file.try_clone().context("share the log with the command")?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("run {program}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A command that ended before it read everything says why by its status and its log.
        let _ = pipe.write_all(input);
    }
    let status = child.wait().with_context(|| format!("wait for {program}"))?;
    if !status.success() {
        // Ctrl-C reaches the command too: its end is then no failure of its own.
        interrupt::check()?;
        bail!(
            "{program} failed with {status}; the end of {}:\n{}",
            log.display(),
            log_tail(log)
        );
    }
    Ok(())
}

/// The last lines of a log, indented to be shown inside an error; says so when there are none.
pub fn log_tail(log: &Path) -> String {
    let tail = match read_tail(log) {
        Ok(tail) => tail,
        Err(error) => return format!("    (cannot be read: {error})"),
    };
    let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "    (empty)".to_owned();
    }
    let start = lines.len().saturating_sub(TAIL_LINES);
    lines[start..]
        .iter()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn read_tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    Ok(String::from_utf8_lossy(&tail).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_end_of_the_log_but_no_argument() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("deep/er.log");
        let script = "for i in $(seq 40); do echo line $i; done; exit 3 # secret";
        let error = run(Command::new("sh").args(["-c", script]), &log)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("sh failed with exit status: 3; the end of "),
            "{error}"
        );
        assert!(error.ends_with("    line 39\n    line 40"), "{error}");
        assert!(!error.contains("line 15\n") && error.contains("line 16\n"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn input_reaches_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        run_with_input(&mut Command::new("cat"), b"secret\n", &log).unwrap();
        run(&mut Command::new("cat"), &log).unwrap();
        assert_eq!(
            fs::read_to_string(&log).unwrap(),
            "secret\n",
            "without input there is none to wait for"
        );
        run_with_input(&mut Command::new("true"), &[b'x'; 1 << 20], &log).unwrap();
    }

    #[test]
    fn logs_are_appended() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        run(Command::new("echo").arg("one"), &log).unwrap();
        run(Command::new("echo").arg("two"), &log).unwrap();
        assert_eq!(fs::read_to_string(log).unwrap(), "one\ntwo\n");
    }
}
