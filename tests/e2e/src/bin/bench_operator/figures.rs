//! The results, for people and for programs.

use anyhow::Result;
use serde_json::{Map, Value, json};
use std::io::Write;

/// The results of one run.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

#[derive(Debug)]
struct Figure {
    what: &'static str,
    value: f64,
    unit: &'static str,
    at_most: f64,
}

impl Figures {
    /// Adds a result and the most that it may be.
    pub(crate) fn add(&mut self, what: &'static str, value: f64, unit: &'static str, at_most: f64) {
        self.0.push(Figure {
            what,
            value,
            unit,
            at_most,
        });
    }

    /// A table, and one line of JSON as the last.
    pub(crate) fn show(&self) -> Result<()> {
        let mut out = std::io::stdout();
        writeln!(out, "{}\n{}", self.table(), self.json())?;
        Ok(())
    }

    fn table(&self) -> String {
        let mut lines = vec![format!("{:<38} {:>10} {:>10} unit", "figure", "value", "at most")];
        lines.extend(self.0.iter().map(|figure| {
            let exceeded = if figure.value > figure.at_most {
                "  exceeded"
            } else {
                ""
            };
            format!(
                "{:<38} {:>10} {:>10} {}{exceeded}",
                figure.what,
                rounded(figure.value),
                figure.at_most,
                figure.unit
            )
        }));
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let figures = self.0.iter().map(|figure| {
            let value = json!({
                "value": rounded(figure.value), "unit": figure.unit, "at_most": figure.at_most,
            });
            (figure.what.to_owned(), value)
        });
        json!({"bench": "operator", "ratios": {}, "figures": figures.collect::<Map<_, _>>()})
    }
}

/// Three decimals are more than any measurement here is good for.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_every_figure_with_its_bound() {
        let mut figures = Figures::default();
        figures.add("build-up", 93.123_456, "s", 240.0);
        figures.add("writes at rest", 3.0, "requests", 0.0);
        let expected = json!({"bench": "operator", "ratios": {}, "figures": {
            "build-up": {"value": 93.123, "unit": "s", "at_most": 240.0},
            "writes at rest": {"value": 3.0, "unit": "requests", "at_most": 0.0},
        }});
        assert_eq!(figures.json(), expected);
        let table = figures.table();
        let exceeded: Vec<bool> = table.lines().map(|line| line.ends_with("exceeded")).collect();
        assert_eq!(exceeded, [false, false, true], "{table}");
    }
}
