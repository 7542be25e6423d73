//! The live table: redrawn in place on a terminal, a few plain lines now and then elsewhere.

use contract::Source;
use e2e::pipeline::Names;
use generator::tally::Progress;
use operator::api::SyncPipelineStatus;
use operator::api::status::ComponentStatus;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

/// Plain lines come this often.
const PLAIN: Duration = Duration::from_secs(5);
/// Terminal codes: cursor up, clear the line, cut lines at the right edge, wrap them again.
const UP: &str = "\x1b[A";
const CLEAR: &str = "\x1b[2K";
const CUT: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// What is known at one moment.
pub(crate) struct View<'a> {
    pub(crate) names: &'a Names,
    pub(crate) status: &'a SyncPipelineStatus,
    pub(crate) traffic: &'a Progress,
    pub(crate) lag: &'a BTreeMap<String, i64>,
    pub(crate) rows: Option<&'a BTreeMap<Source, i64>>,
}

/// Draws views.
pub(crate) struct Live {
    terminal: bool,
    drawn: usize,
    began: Instant,
    last: Option<Instant>,
}

impl Live {
    pub(crate) fn new() -> Live {
        Live {
            terminal: std::io::stdout().is_terminal(),
            drawn: 0,
            began: Instant::now(),
            last: None,
        }
    }

    /// Shows the view, in place of the one before.
    pub(crate) fn draw(&mut self, view: &View<'_>) {
        if !self.terminal {
            if self.last.is_none_or(|last| last.elapsed() >= PLAIN) {
                self.last = Some(Instant::now());
                let time = self.began.elapsed().as_secs_f64();
                self.write(&format!("[{time:>6.1}s] {}", plain(view)));
            }
            return;
        }
        let lines = table(view);
        let mut text = CUT.to_owned();
        text.push_str(&UP.repeat(self.drawn));
        for line in &lines {
            let _ = writeln!(text, "{CLEAR}{line}");
        }
        text.push_str(WRAP);
        self.drawn = lines.len();
        self.write(&text);
    }

    /// The last view stays.
    pub(crate) fn end(&mut self) {
        self.drawn = 0;
        self.write("\n");
    }

    fn write(&self, text: &str) {
        // Nobody is left to be told when standard output is closed.
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(text.as_bytes());
        let _ = output.flush();
    }
}

fn headline(view: &View<'_>) -> String {
    let Progress {
        phase,
        elapsed_seconds,
        total,
        in_flight,
        finished,
        ..
    } = view.traffic;
    let phase = if *finished { "after the traffic" } else { phase };
    format!(
        "{phase}, {elapsed_seconds:.0} s: {} uploads sent, {} accepted, {} retried, {in_flight} in flight; {} records accepted, {} rows stored",
        total.sent,
        total.accepted,
        total.retried,
        total.records,
        view.rows.map_or(0, |rows| rows.values().sum()),
    )
}

fn table(view: &View<'_>) -> Vec<String> {
    let mut lines = vec![
        headline(view),
        format!(
            "{:<26} {:>8} {:>14} {:>9} {:>9}  {}",
            "topic", "lag", "rung", "replicas", "rows", "last decision"
        ),
    ];
    for source in &view.names.sources {
        let topic = view.names.topic(*source);
        let consumer = Names::consumer(*source);
        let component = component(view.status, consumer);
        let shown = |text: Option<String>| text.unwrap_or_else(|| "?".to_owned());
        lines.push(format!(
            "{:<26} {:>8} {:>14} {:>9} {:>9}  {}",
            topic,
            shown(view.lag.get(&topic).map(i64::to_string)),
            shown(component.map(rung)),
            shown(component.map(|component| format!("{}/{}", component.ready, component.wanted))),
            shown(view.rows.and_then(|rows| rows.get(source)).map(i64::to_string)),
            component
                .map(|component| decision(consumer, component))
                .unwrap_or_default(),
        ));
    }
    lines.push(view.status.summary.clone());
    lines
}

fn plain(view: &View<'_>) -> String {
    let mut text = headline(view);
    text.push('\n');
    for (consumer, topics) in view.names.topics_by_consumer() {
        let lag: Vec<String> = topics
            .iter()
            .map(|topic| format!("{topic} {}", view.lag.get(topic).map_or("?".to_owned(), i64::to_string)))
            .collect();
        let _ = write!(text, "           {consumer}: lag {}", lag.join(", "));
        if let Some(component) = component(view.status, consumer) {
            let ComponentStatus { ready, wanted, .. } = component;
            let _ = write!(
                text,
                "; rung {}; {ready}/{wanted} ready; {}",
                rung(component),
                decision(consumer, component)
            );
        }
        text.push('\n');
    }
    text
}

fn component<'a>(status: &'a SyncPipelineStatus, name: &str) -> Option<&'a ComponentStatus> {
    status.components.iter().find(|component| component.name == name)
}

/// Wanted replicas among the rungs, as `[2 4 (6) 8]`.
fn rung(component: &ComponentStatus) -> String {
    let mut rungs = component.rungs.clone();
    rungs.dedup();
    let shown = rungs.iter().map(|rung| {
        if *rung == component.wanted {
            format!("({rung})")
        } else {
            rung.to_string()
        }
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(" "))
}

fn decision(consumer: &str, component: &ComponentStatus) -> String {
    match &component.last_decision {
        Some(decision) => format!("{consumer} {} → {}: {}", decision.from, decision.to, decision.message),
        None => component.message.clone(),
    }
}
