//! Offsets → how long ago the next unread message arrived. Pure.
//!
//! Kafka keeps a time with each message, but asking for it is a read of the message. When the end of a partition was
//! where is known from the readings: between two of them messages arrived evenly, as far as can be told.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::Duration;

/// Time between two points at least: no need for more than a second's exactness.
const SPACING: Duration = Duration::from_secs(1);
/// Points that are kept; when there are more, every second of them goes, and the others are twice as far apart.
const MOST: usize = 64;

/// How long ago a message arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// About so long.
    About(Duration),
    /// It was there before anybody looked.
    AtLeast(Duration),
}

impl Delay {
    /// The time, exact or as a lower bound.
    pub const fn lower_bound(self) -> Duration {
        match self {
            Delay::About(time) | Delay::AtLeast(time) => time,
        }
    }
}

impl Ord for Delay {
    fn cmp(&self, other: &Delay) -> Ordering {
        let rank = |delay: &Delay| (delay.lower_bound(), matches!(delay, Delay::AtLeast(_)));
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for Delay {
    fn partial_cmp(&self, other: &Delay) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// When the end of one partition was where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    points: VecDeque<(Duration, i64)>,
    spacing: Duration,
}

impl Default for Ends {
    fn default() -> Ends {
        Ends {
            points: VecDeque::new(),
            spacing: SPACING,
        }
    }
}

impl Ends {
    /// Takes in where the end is at `now`, a time since any fixed moment that never goes back.
    pub fn look(&mut self, now: Duration, end: i64) {
        if self.points.back().is_some_and(|(_, last)| end < *last) {
            // The topic was made anew.
            *self = Ends::default();
        }
        let count = self.points.len();
        let before_last = count.checked_sub(2).and_then(|at| self.points.get(at)).copied();
        let replaces = |last: &(Duration, i64)| match before_last {
            // While nothing arrives, two points say it: since when, and until when.
            Some((_, before)) if before == last.1 && last.1 == end => true,
            // One that is too near to the one before it makes room for the newest.
            Some((at, _)) => last.0 < at + self.spacing,
            None => false,
        };
        if self.points.back().is_some_and(replaces) {
            self.points.pop_back();
        }
        self.points.push_back((now, end));
        if self.points.len() > MOST {
            let last = self.points.pop_back();
            let mut number = 0;
            self.points.retain(|_| {
                number += 1;
                number % 2 == 1
            });
            self.points.extend(last);
            self.spacing = self.spacing.saturating_mul(2);
        }
    }

    /// Forgets what came before the message at `next`, the first that is not read: nobody asks for it again.
    pub fn forget(&mut self, next: i64) {
        while self.points.get(1).is_some_and(|(_, end)| *end <= next) {
            self.points.pop_front();
        }
        if self.points.len() <= MOST / 4 {
            self.spacing = SPACING;
        }
    }

    /// How long ago the message at `next` arrived, the first that is not read; none where everything is read.
    pub fn delay(&self, now: Duration, next: i64) -> Option<Delay> {
        let (_, last) = *self.points.back()?;
        if next >= last {
            return Some(Delay::About(Duration::ZERO));
        }
        // The last point at which the message was not there, and the first at which it was.
        let after = self.points.iter().position(|(_, end)| *end > next)?;
        let (to, end) = self.points[after];
        let Some(before) = after.checked_sub(1) else {
            return Some(Delay::AtLeast(now.saturating_sub(to)));
        };
        let (from, begin) = self.points[before];
        let part = (next - begin) as f64 / (end - begin) as f64;
        let arrived = from + to.saturating_sub(from).mul_f64(part);
        Some(Delay::About(now.saturating_sub(arrived)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn between_two_looks_messages_arrived_evenly() {
        let mut ends = Ends::default();
        ends.look(seconds(0), 0);
        ends.look(seconds(10), 100);
        assert_eq!(ends.delay(seconds(12), 50), Some(Delay::About(seconds(7))));
        assert_eq!(ends.delay(seconds(12), 100), Some(Delay::About(seconds(0))));
        assert_eq!(Ends::default().delay(seconds(12), 1), None);
    }

    #[test]
    fn a_time_without_messages_is_not_spread_over_those_that_came_after() {
        let mut ends = Ends::default();
        for second in 0..=100 {
            ends.look(seconds(second), 10);
        }
        ends.look(seconds(101), 20);
        assert_eq!(ends.delay(seconds(103), 10), Some(Delay::About(seconds(3))));
        assert_eq!(
            ends.delay(seconds(103), 15),
            Some(Delay::About(Duration::from_millis(2500)))
        );
    }

    #[test]
    fn a_day_of_single_messages_is_no_less_exact_than_the_first_minute() {
        let mut ends = Ends::default();
        for quarter in 0..4 * 86_400 {
            let end = quarter / 40;
            ends.look(Duration::from_millis(250 * quarter), end as i64);
            ends.forget(end as i64 - 1);
        }
        let now = seconds(86_400);
        ends.look(now, 8640);
        ends.look(now + seconds(1), 9000);
        let delay = ends.delay(now + seconds(3), 8640).unwrap().lower_bound();
        assert!(delay <= seconds(4), "{delay:?}");
    }

    #[test]
    fn what_was_there_before_the_first_look_is_at_least_as_old() {
        let mut ends = Ends::default();
        ends.look(seconds(5), 100);
        assert_eq!(ends.delay(seconds(9), 3), Some(Delay::AtLeast(seconds(4))));
    }

    #[test]
    fn a_topic_made_anew_begins_anew() {
        let mut ends = Ends::default();
        ends.look(seconds(0), 1000);
        ends.look(seconds(10), 5);
        assert_eq!(ends.delay(seconds(11), 2), Some(Delay::AtLeast(seconds(1))));
    }

    proptest! {
        #[test]
        fn an_even_stream_is_told_within_a_thirtieth_of_what_was_seen(
            rate in 1..1000i64, looks in 2..3000u64, part in 0.0..1.0f64,
        ) {
            let mut ends = Ends::default();
            for quarter in 0..looks {
                ends.look(Duration::from_millis(250 * quarter), rate * quarter as i64);
            }
            prop_assert!(ends.points.len() <= MOST);
            let now = Duration::from_millis(250 * (looks - 1));
            let next = ((rate * (looks as i64 - 1)) as f64 * part) as i64;
            let truth = now.as_secs_f64() * (1.0 - next as f64 / (rate * (looks as i64 - 1)) as f64);
            let told = ends.delay(now, next).unwrap().lower_bound().as_secs_f64();
            prop_assert!((told - truth).abs() <= now.as_secs_f64() / 30.0 + 0.001, "{} is {}", told, truth);
        }
    }
}
