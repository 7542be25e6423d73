//! Trials as a picture: load, lag and replicas over time, one below the other.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::trial::{Outcome, Sample};

/// Width and height, in pixels.
const SIZE: (u32, u32) = (1000, 780);
/// Colours of the outcomes, in their order.
const COLOURS: [RGBColor; 4] = [
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x94, 0x67, 0xbd),
];

/// A picture that cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("the chart cannot be drawn: {0}")]
pub struct ChartError(String);

/// Draws outcomes of the same load, by name, as SVG.
pub fn svg(outcomes: &[(&str, &Outcome)]) -> Result<String, ChartError> {
    let mut picture = String::new();
    {
        let root = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(wrong)?;
        let panels = root.split_evenly((3, 1));
        let first = &outcomes[..outcomes.len().min(1)];
        panel(&panels[0], "records per second that arrive", first, |sample| {
            sample.rate
        })?;
        panel(&panels[1], "records that wait", outcomes, |sample| sample.lag)?;
        panel(&panels[2], "replicas", outcomes, |sample| f64::from(sample.wanted))?;
        root.present().map_err(wrong)?;
    }
    Ok(picture)
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    what: &str,
    outcomes: &[(&str, &Outcome)],
    value: impl Fn(&Sample) -> f64,
) -> Result<(), ChartError> {
    let all = || outcomes.iter().flat_map(|(_, outcome)| &outcome.samples);
    let most = all().map(&value).fold(1.0, f64::max) * 1.05;
    let seconds = outcomes
        .iter()
        .map(|(_, outcome)| outcome.samples.len())
        .max()
        .unwrap_or(1);
    let minutes = seconds as f64 / 60.0;
    let mut chart = ChartBuilder::on(area)
        .caption(what, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(32)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..minutes, 0.0..most)
        .map_err(wrong)?;
    chart
        .configure_mesh()
        .x_desc("minutes")
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(wrong)?;
    for ((name, outcome), colour) in outcomes.iter().zip(COLOURS) {
        let points = outcome.samples.iter().enumerate();
        let points = points.map(|(second, sample)| (second as f64 / 60.0, value(sample)));
        let line = LineSeries::new(points, colour.stroke_width(2));
        let drawn = chart.draw_series(line).map_err(wrong)?;
        if outcomes.len() > 1 {
            let key = move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2));
            drawn.label(*name).legend(key);
        }
    }
    if outcomes.len() > 1 {
        let mut labels = chart.configure_series_labels();
        labels
            .border_style(BLACK)
            .background_style(WHITE.mix(0.8))
            .draw()
            .map_err(wrong)?;
    }
    Ok(())
}

fn wrong(error: impl std::error::Error) -> ChartError {
    ChartError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_lines_and_its_name() {
        let sample = |wanted| Sample {
            rate: 10.0,
            lag: 5.0,
            wanted,
        };
        let outcome = Outcome {
            samples: vec![sample(1), sample(2), sample(2)],
            ..Outcome::default()
        };
        let picture = svg(&[("one", &outcome), ("other", &outcome)]).unwrap();
        assert!(picture.starts_with("<svg"), "{}", &picture[..40]);
        for words in [
            "records per second",
            "records that wait",
            "replicas",
            "one",
            "other",
            "minutes",
        ] {
            assert!(picture.contains(words), "{words}");
        }
        // A line for the load, and lag and replicas of each; axes and legends are lines too.
        assert!(picture.matches("<polyline").count() >= 5);
    }

    #[test]
    fn without_outcomes_the_axes_are_drawn() {
        assert!(svg(&[]).unwrap().contains("replicas"));
    }
}
