//! Lines of a trace → what arrived, for the model. Pure.

use super::line::Line;

/// The longest trace, in seconds: a little more than a month.
const LONGEST: f64 = 32.0 * 24.0 * 3_600.0;

/// Records that arrived in each second of the trace, evenly between two looks at which it was known.
pub fn seconds(lines: &[Line]) -> Vec<f64> {
    let looks = lines.iter().filter_map(|line| match line {
        Line::Look(look) => Some((look.time, look.seen.flow?.produced)),
        Line::Policy(_) => None,
    });
    let looks: Vec<_> = looks.collect();
    let Some((begin, _)) = looks.first().copied() else {
        return vec![];
    };
    let since = |time: chrono::DateTime<chrono::Utc>| (time - begin).as_seconds_f64().max(0.0);
    let mut seconds = vec![];
    // Longer is no trace of ours, and memory for each second of it would be taken.
    let looks: Vec<_> = looks
        .into_iter()
        .take_while(|(time, _)| since(*time) <= LONGEST)
        .collect();
    for pair in looks.windows(2) {
        let ((from, before), (to, after)) = (pair[0], pair[1]);
        // A topic that was made anew begins again.
        let arrived = after.saturating_sub(before).max(0) as f64;
        spread(&mut seconds, since(from), since(to), arrived);
    }
    seconds
}

/// Adds `arrived` records to the seconds between two moments.
fn spread(seconds: &mut Vec<f64>, from: f64, to: f64, arrived: f64) {
    let length = to - from;
    if length <= 0.0 {
        return;
    }
    let (first, last) = (from.floor() as usize, (to.ceil() as usize).max(1) - 1);
    if seconds.len() <= last {
        seconds.resize(last + 1, 0.0);
    }
    for (number, second) in seconds.iter_mut().enumerate().take(last + 1).skip(first) {
        let begin = (number as f64).max(from);
        let end = (number as f64 + 1.0).min(to);
        *second += arrived * (end - begin).max(0.0) / length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::rates::Flow;
    use crate::trace::replay::tests::{look, rules};

    #[test]
    fn what_arrived_between_two_looks_is_spread_over_their_seconds() {
        let with = |second: u32, produced: i64| {
            let Line::Look(mut line) = look(second, 0) else {
                unreachable!()
            };
            line.seen.flow = Some(Flow {
                produced,
                committed: 0,
                expired: 0,
                partitions: 1,
                waiting: 0,
                hottest: 0.0,
                spread: 0.0,
                readers: 1,
                unready: 0,
            });
            Line::Look(line)
        };
        let lines = [
            rules(),
            look(0, 0),
            with(10, 100),
            with(11, 130),
            with(13, 170),
            with(14, 5),
        ];
        assert_eq!(seconds(&lines), [30.0, 20.0, 20.0, 0.0]);
        assert_eq!(seconds(&[rules(), look(0, 5)]), Vec::<f64>::new());
        let Line::Look(mut late) = with(14, 9) else {
            unreachable!()
        };
        late.time += chrono::TimeDelta::days(40_000);
        let spread = seconds(&[with(10, 100), with(11, 130), Line::Look(late)]);
        assert_eq!(spread, [30.0], "no memory for each second of a hundred years");
    }
}
