//! The commands that read a file and print: each a file.

pub(crate) mod plan;
pub(crate) mod replay;
pub(crate) mod simulate;

use std::io::{Read as _, Write as _};
use std::path::Path;

use operator::api::SyncPipeline;
use operator::trace::line::Line;
use operator::{manifest, trace};

pub(crate) type Failure = Box<dyn std::error::Error>;
pub(crate) type Outcome = Result<(), Failure>;

/// Prints a text to its end.
pub(crate) fn print(text: &str) -> Outcome {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// The SyncPipeline in a file.
fn read(file: &Path) -> Result<SyncPipeline, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(manifest::parse(&text).map_err(|error| format!("{}: {error}", file.display()))?)
}

/// The lines of a trace.
fn lines_of(file: &Path) -> Result<Vec<Line>, Failure> {
    let name = file.display();
    let content = if file.as_os_str() == "-" {
        let mut content = vec![];
        std::io::stdin().read_to_end(&mut content).map(|_| content)
    } else {
        std::fs::read(file)
    };
    let content = content.map_err(|error| format!("{name}: {error}"))?;
    Ok(trace::file::lines(&content).map_err(|error| format!("{name}: {error}"))?)
}
