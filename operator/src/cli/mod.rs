//! The commands that read a file and print: each a file.

pub(crate) mod plan;
pub(crate) mod replay;
pub(crate) mod simulate;

use std::io::{Read as _, Write as _};
use std::path::Path;

use operator::api::{SyncPipeline, rules};
use operator::trace::line::Line;
use operator::{manifest, trace};

pub(crate) type Failure = Box<dyn std::error::Error>;
pub(crate) type Outcome = Result<(), Failure>;

/// Prints a text to its end.
pub(crate) fn print(text: &str) -> Outcome {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// The SyncPipeline in a file, checked as the API server would.
fn read(file: &Path) -> Result<SyncPipeline, Failure> {
    let name = file.display();
    let content = content(file).map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8(content).map_err(|_| format!("{name}: this is no UTF-8 text"))?;
    let written: serde_json::Value = manifest::parse(&text).map_err(|error| format!("{name}: {error}"))?;
    let kind = written["kind"].as_str().unwrap_or("nothing with a kind");
    if kind != "SyncPipeline" {
        return Err(format!("{name}: it holds {kind}; one SyncPipeline is needed").into());
    }
    let object: SyncPipeline = manifest::parse(&text).map_err(|error| format!("{name}: {error}"))?;
    let read = serde_json::to_value(&object)?;
    rules::check(&written, &read).map_err(|error| format!("{name}: {error}"))?;
    Ok(object)
}

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 << 20;

/// What is in a file, or on standard input where it is `-`.
fn content(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = vec![];
    let read = if file.as_os_str() == "-" {
        std::io::stdin().take(LARGEST + 1).read_to_end(&mut content)?
    } else {
        std::fs::File::open(file)?.take(LARGEST + 1).read_to_end(&mut content)?
    };
    if read as u64 > LARGEST {
        return Err(std::io::Error::other(format!("it has more than {} MiB", LARGEST >> 20)));
    }
    Ok(content)
}

/// The lines of a trace.
fn lines_of(file: &Path) -> Result<Vec<Line>, Failure> {
    let name = file.display();
    let content = content(file);
    let content = content.map_err(|error| format!("{name}: {error}"))?;
    let lines = trace::file::lines(&content).map_err(|error| format!("{name}: {error}"))?;
    if lines.is_empty() {
        return Err(format!("{name}: there is no trace in it; a ConfigMap PIPELINE-COMPONENT-trace holds one").into());
    }
    Ok(lines)
}
