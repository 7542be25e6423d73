//! Trials as a table.

use super::trial::Outcome;

const COLUMNS: usize = 7;
const HEADER: [&str; COLUMNS] = [
    "scaler",
    "behind for",
    "most waited",
    "pod-seconds",
    "changes",
    "reversals",
    "most pods",
];

/// A line for each outcome, by name, below a header.
pub fn table(outcomes: &[(&str, &Outcome)]) -> String {
    let row = |(name, outcome): &(&str, &Outcome)| {
        [
            (*name).to_owned(),
            format!("{:.1} s", outcome.behind.as_secs_f64()),
            format!("{:.0}", outcome.most_waiting()),
            format!("{:.0}", outcome.pod_seconds),
            outcome.changes.len().to_string(),
            outcome.reversals().to_string(),
            outcome.most.to_string(),
        ]
    };
    let rows: Vec<[String; COLUMNS]> = std::iter::once(HEADER.map(str::to_owned))
        .chain(outcomes.iter().map(row))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(|row| line(row) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn columns_are_aligned() {
        let outcome = Outcome {
            behind: Duration::from_millis(12_340),
            pod_seconds: 4321.4,
            most: 16,
            ..Outcome::default()
        };
        assert_eq!(
            table(&[("operator", &outcome)]),
            "scaler    behind for  most waited  pod-seconds  changes  reversals  most pods\n\
             operator      12.3 s            0         4321        0          0         16\n"
        );
    }
}
