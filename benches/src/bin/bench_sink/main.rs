//! How fast the consumer writes, beside what the stores' own tools make of the same records.
//!
//! PostgreSQL: batches with the ledger in the same transaction, as many at a time as the consumer writes by default and
//! one at a time, against one `psql \copy` of the same rows into the same empty table.
//! MongoDB: batches against bare unordered insertions of the same documents. Both sides take turns.
//!
//! `cargo xtask bench sink` builds what this program needs; it starts services of its own.

mod documents;
mod records;
mod rows;

use anyhow::Result;
use benches::{figures::Figures, own_services};
use clap::Parser;
use host::progress::Progress;
use services::Running;
use std::process::ExitCode;

/// Measures how fast the consumer writes.
#[derive(Debug, Parser)]
struct Arguments {
    /// Fewer records, and each side only once
    #[arg(long)]
    quick: bool,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// How often each side writes.
    rounds: usize,
    /// Batches for PostgreSQL.
    rows: usize,
    /// Batches for MongoDB.
    documents: usize,
}

const WHOLE: Extent = Extent {
    rounds: 5,
    rows: 60,
    documents: 4,
};
const QUICK: Extent = Extent {
    rounds: 1,
    rows: 8,
    documents: 1,
};

fn main() -> ExitCode {
    let extent = if Arguments::parse().quick { QUICK } else { WHOLE };
    own_services::bench("sink", 1, async |running, progress| {
        measure(running, progress, extent).await
    })
}

async fn measure(running: &Running, progress: &Progress, extent: Extent) -> Result<Figures> {
    let mut figures = Figures::new("sink");
    let rates = rows::measure(running, progress, extent).await?;
    figures.compare_rates("rows into PostgreSQL, /s", rates.ours, rates.theirs, 0.6, 0.85);
    let alone = "the same, one write at a time, /s";
    figures.compare_rates(alone, rates.ours_alone, rates.theirs, 0.6, 0.85);
    let (ours, theirs) = documents::measure(running, progress, extent).await?;
    figures.compare_rates("documents into MongoDB, /s", ours, theirs, 0.7, 0.9);
    Ok(figures)
}
