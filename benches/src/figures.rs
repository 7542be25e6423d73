//! The results of a benchmark: ratios of two things measured in the same run, and figures with a bound.

use anyhow::Result;
use serde_json::{Map, Value, json};
use std::io::Write;

/// The results of one run.
#[derive(Debug)]
pub struct Figures {
    bench: &'static str,
    ratios: Vec<Ratio>,
    figures: Vec<Figure>,
}

/// How much better the first is than the second; more is better.
#[derive(Debug)]
struct Ratio {
    what: String,
    ours: f64,
    theirs: f64,
    ratio: f64,
    floor: f64,
    goal: f64,
}

#[derive(Debug)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    bound: Bound,
}

/// Where a figure is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtMost(most) => value <= most,
            Bound::AtLeast(least) => value >= least,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::AtMost(most) => write!(f, "≤ {most}"),
            Bound::AtLeast(least) => write!(f, "≥ {least}"),
        }
    }
}

impl Figures {
    /// No results yet of the benchmark with this name.
    pub fn new(bench: &'static str) -> Figures {
        Figures {
            bench,
            ratios: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// Adds a result and its bound.
    pub fn add(&mut self, what: impl Into<String>, value: f64, unit: &'static str, bound: Bound) {
        self.figures.push(Figure {
            what: what.into(),
            value,
            unit,
            bound,
        });
    }

    /// Adds both sides of a comparison in which more is better: the ratio is ours ÷ theirs.
    pub fn compare_rates(&mut self, what: impl Into<String>, ours: f64, theirs: f64, floor: f64, goal: f64) {
        self.ratios.push(Ratio {
            what: what.into(),
            ours,
            theirs,
            ratio: ours / theirs,
            floor,
            goal,
        });
    }

    /// Adds both sides of a comparison in which less is better: the ratio is theirs ÷ ours.
    pub fn compare_costs(&mut self, what: impl Into<String>, ours: f64, theirs: f64, floor: f64, goal: f64) {
        self.ratios.push(Ratio {
            what: what.into(),
            ours,
            theirs,
            ratio: theirs / ours,
            floor,
            goal,
        });
    }

    /// A table, and one line of JSON as the last.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn show(&self) -> Result<()> {
        let mut out = std::io::stdout();
        writeln!(out, "{}\n{}", self.table(), self.json())?;
        Ok(())
    }

    fn table(&self) -> String {
        let mut lines = Vec::new();
        if !self.ratios.is_empty() {
            lines.push(format!(
                "{:<38} {:>12} {:>12} {:>8} {:>8} {:>8}",
                "ratio", "ours", "theirs", "ratio", "floor", "goal"
            ));
        }
        lines.extend(self.ratios.iter().map(|ratio| {
            let missed = if ratio.ratio < ratio.floor { "  missed" } else { "" };
            format!(
                "{:<38} {:>12} {:>12} {:>8} {:>8} {:>8}{missed}",
                ratio.what,
                rounded(ratio.ours),
                rounded(ratio.theirs),
                rounded(ratio.ratio),
                rounded(ratio.floor),
                rounded(ratio.goal)
            )
        }));
        if !self.figures.is_empty() {
            lines.push(format!("{:<38} {:>12} {:>12} unit", "figure", "value", "bound"));
        }
        lines.extend(self.figures.iter().map(|figure| {
            let missed = if figure.bound.holds(figure.value) {
                ""
            } else {
                "  missed"
            };
            format!(
                "{:<38} {:>12} {:>12} {}{missed}",
                figure.what,
                rounded(figure.value),
                figure.bound.to_string(),
                figure.unit
            )
        }));
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let ratios = self.ratios.iter().map(|ratio| {
            let value = json!({
                "ours": rounded(ratio.ours), "theirs": rounded(ratio.theirs), "ratio": rounded(ratio.ratio),
                "floor": rounded(ratio.floor), "goal": rounded(ratio.goal),
            });
            (ratio.what.clone(), value)
        });
        let figures = self.figures.iter().map(|figure| {
            let (name, bound) = match figure.bound {
                Bound::AtMost(most) => ("at_most", most),
                Bound::AtLeast(least) => ("at_least", least),
            };
            let mut value = json!({"value": rounded(figure.value), "unit": figure.unit});
            value[name] = json!(bound);
            (figure.what.clone(), value)
        });
        json!({
            "bench": self.bench,
            "ratios": ratios.collect::<Map<_, _>>(),
            "figures": figures.collect::<Map<_, _>>(),
        })
    }
}

/// Three decimals are more than any measurement here is good for.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The middle one of some measurements of the same: machines are noisy.
pub fn median(mut measured: Vec<f64>) -> f64 {
    measured.sort_by(f64::total_cmp);
    measured.get(measured.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_every_result_with_its_bound_and_people_see_what_was_missed() {
        let mut figures = Figures::new("operator");
        figures.compare_costs("drain time", 60.0, 100.0, 1.333, 1.667);
        figures.add("build-up", 93.123_456, "s", Bound::AtMost(240.0));
        figures.add("writes at rest", 3.0, "requests", Bound::AtMost(0.0));
        figures.add("single patches", 0.95, "of steps", Bound::AtLeast(0.9));
        let expected = json!({
            "bench": "operator",
            "ratios": {
                "drain time": {"ours": 60.0, "theirs": 100.0, "ratio": 1.667, "floor": 1.333, "goal": 1.667},
            },
            "figures": {
                "build-up": {"value": 93.123, "unit": "s", "at_most": 240.0},
                "writes at rest": {"value": 3.0, "unit": "requests", "at_most": 0.0},
                "single patches": {"value": 0.95, "unit": "of steps", "at_least": 0.9},
            },
        });
        assert_eq!(figures.json(), expected);
        let table = figures.table();
        let missed: Vec<bool> = table.lines().map(|line| line.ends_with("missed")).collect();
        assert_eq!(missed, [false, false, false, false, true, false], "{table}");
    }
}
