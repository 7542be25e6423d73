//! What is being done, how far it is and how long it took: spinners on a terminal, plain lines in a log.
//!
//! All of it goes to standard error, so that standard output stays a command's result.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// A plain log repeats news of a running step at most this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// The steps of one command. Clones are the same thing; steps may run in several threads.
#[derive(Clone, Debug)]
pub struct Progress {
    start: Instant,
    output: Output,
}

#[derive(Clone, Debug)]
enum Output {
    Terminal(MultiProgress),
    Plain(Arc<Mutex<Lines>>),
}

/// Something that takes a while. Dropped without [`Step::done`] or [`Step::fail`], it counts as stopped.
#[derive(Debug)]
pub struct Step {
    progress: Progress,
    what: String,
    start: Instant,
    bar: Option<ProgressBar>,
    last_news: Mutex<Instant>,
    ended: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Spinners where standard error is a terminal, plain lines else.
    pub fn new() -> Self {
        let output = if std::io::stderr().is_terminal() {
            Output::Terminal(MultiProgress::new())
        } else {
            Output::Plain(Arc::new(Mutex::new(Lines::StandardError)))
        };
        Self {
            start: Instant::now(),
            output,
        }
    }

    /// Begins a step.
    pub fn step(&self, what: impl Into<String>) -> Step {
        let what = what.into();
        let bar = match &self.output {
            Output::Terminal(bars) => {
                let bar = bars.add(ProgressBar::new_spinner());
                bar.set_style(spinner_style());
                bar.set_message(what.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                Some(bar)
            }
            Output::Plain(_) => {
                self.line(&format!("{what} ..."));
                None
            }
        };
        let now = Instant::now();
        Step {
            progress: self.clone(),
            what,
            start: now,
            bar,
            last_news: Mutex::new(now),
            ended: false,
        }
    }

    /// Runs `work` as a step, which ends as `work` does.
    pub fn run<T>(&self, what: impl Into<String>, work: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
        let step = self.step(what);
        let result = work(&step);
        match &result {
            Ok(_) => step.done(""),
            // The whole error is the command's to show, once.
            Err(error) => step.fail(first_line(&error.to_string())),
        }
        result
    }

    /// Writes one line with the time since the command began, above what is running.
    pub fn line(&self, text: &str) {
        let line = format!("[{:>6.1}s] {text}", self.start.elapsed().as_secs_f64());
        match &self.output {
            Output::Terminal(bars) => bars.suspend(|| eprintln!("{line}")),
            Output::Plain(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).write(&line),
        }
    }

    #[cfg(test)]
    fn collected() -> (Self, Arc<Mutex<Lines>>) {
        let lines = Arc::new(Mutex::new(Lines::Collected(Vec::new())));
        (
            Self {
                start: Instant::now(),
                output: Output::Plain(Arc::clone(&lines)),
            },
            lines,
        )
    }
}

impl Step {
    /// Says how far the step is. A plain log shows this only now and then.
    pub fn update(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {detail}", self.what));
            return;
        }
        let mut last = self.last_news.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= PLAIN_INTERVAL {
            *last = Instant::now();
            self.progress.line(&format!("{}: {detail}", self.what));
        }
    }

    /// The step succeeded; `detail` may be empty.
    pub fn done(mut self, detail: &str) {
        self.end("done", detail);
    }

    /// The step failed.
    pub fn fail(mut self, reason: &str) {
        self.end("FAILED", reason);
    }

    fn end(&mut self, outcome: &str, detail: &str) {
        self.ended = true;
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let separator = if detail.is_empty() { "" } else { ", " };
        let took = self.start.elapsed().as_secs_f64();
        self.progress
            .line(&format!("{}: {outcome}{separator}{detail} ({took:.1}s)", self.what));
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.end("stopped", "");
        }
    }
}

#[derive(Debug)]
enum Lines {
    StandardError,
    #[cfg(test)]
    Collected(Vec<String>),
}

impl Lines {
    fn write(&mut self, line: &str) {
        match self {
            // Nobody is left to be told when standard error is closed.
            Self::StandardError => drop(writeln!(std::io::stderr(), "{line}")),
            #[cfg(test)]
            Self::Collected(lines) => lines.push(line.to_owned()),
        }
    }
}

fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}").unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    fn texts(lines: &Mutex<Lines>) -> Vec<String> {
        let Lines::Collected(lines) = &*lines.lock().unwrap() else {
            unreachable!()
        };
        // Without times, which differ from run to run.
        let text = |line: &String| line.split_once("] ").unwrap().1.split(" (").next().unwrap().to_owned();
        lines.iter().map(text).collect()
    }

    #[test]
    fn plain_lines_say_what_and_how_it_ended() {
        let (progress, lines) = Progress::collected();
        progress.step("etcd").done("3 members");
        progress.run("kafka", |_| Ok(())).unwrap();
        progress
            .run("postgres", |_| -> Result<()> { bail!("no disk\nlog: ...") })
            .unwrap_err();
        drop(progress.step("operator"));
        assert_eq!(
            texts(&lines),
            [
                "etcd ...",
                "etcd: done, 3 members",
                "kafka ...",
                "kafka: done",
                "postgres ...",
                "postgres: FAILED, no disk",
                "operator ...",
                "operator: stopped"
            ]
        );
    }

    #[test]
    fn plain_lines_do_not_repeat_every_update() {
        let (progress, lines) = Progress::collected();
        let step = progress.step("build");
        for percent in 0..100 {
            step.update(&format!("{percent} %"));
        }
        step.done("");
        assert_eq!(texts(&lines), ["build ...", "build: done"]);
    }
}
