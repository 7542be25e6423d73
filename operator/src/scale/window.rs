//! The lowest lag within one commit interval: a reader that commits in steps shows a saw-tooth, and only its
//! lower edge says how far behind it is.

use std::collections::VecDeque;
use std::time::Duration;

use super::lag::Lag;

/// Recent lags of one topic.
#[derive(Debug, Clone)]
pub struct Window {
    interval: Duration,
    samples: VecDeque<(Duration, Lag)>,
}

impl Window {
    /// A window of one commit interval.
    pub fn new(interval: Duration) -> Window {
        Window {
            interval,
            samples: VecDeque::new(),
        }
    }

    /// Takes a sample at `now`, a time since any fixed moment. Times never go back.
    pub fn push(&mut self, now: Duration, lag: Lag) {
        self.samples.push_back((now, lag));
        // One sample at or before the window's beginning stays: with it the window is covered.
        while self
            .samples
            .get(1)
            .is_some_and(|(time, _)| *time + self.interval <= now)
        {
            self.samples.pop_front();
        }
    }

    /// The lowest lag within the interval. Unknown while the last sample is, or while the samples do not cover
    /// the interval yet.
    pub fn lowest(&self) -> Lag {
        let (Some((first, _)), Some((last, Lag::Known(_) | Lag::AtLeast(_)))) =
            (self.samples.front(), self.samples.back())
        else {
            return Lag::Unknown;
        };
        if *last < *first + self.interval {
            return Lag::Unknown;
        }
        let mut lowest = i64::MAX;
        let mut exact = true;
        for (_, lag) in &self.samples {
            match lag {
                Lag::Known(lag) => lowest = lowest.min(*lag),
                Lag::AtLeast(lag) => {
                    lowest = lowest.min(*lag);
                    exact = false;
                }
                Lag::Unknown => exact = false,
            }
        }
        if exact {
            Lag::Known(lowest)
        } else {
            Lag::AtLeast(lowest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn batching_alone_does_not_show() {
        let mut window = Window::new(millis(500));
        for (time, lag) in [(0, 0), (250, 90), (500, 180), (750, 2), (1000, 95)] {
            window.push(millis(time), Lag::Known(lag));
        }
        assert_eq!(window.lowest(), Lag::Known(2));
    }

    #[test]
    fn nothing_is_said_before_a_whole_interval_was_seen() {
        let mut window = Window::new(millis(500));
        window.push(millis(0), Lag::Known(900));
        window.push(millis(499), Lag::Known(900));
        assert_eq!(window.lowest(), Lag::Unknown);
        window.push(millis(500), Lag::Known(900));
        assert_eq!(window.lowest(), Lag::Known(900));
    }

    #[test]
    fn an_old_low_is_forgotten_after_one_interval() {
        let mut window = Window::new(millis(500));
        window.push(millis(0), Lag::Known(0));
        for time in [100, 300, 600] {
            window.push(millis(time), Lag::Known(50));
        }
        assert_eq!(window.lowest(), Lag::Known(50));
    }

    #[test]
    fn a_reading_that_fails_now_is_unknown_now() {
        let mut window = Window::new(millis(500));
        window.push(millis(0), Lag::Known(5));
        window.push(millis(600), Lag::Unknown);
        assert_eq!(window.lowest(), Lag::Unknown);
        window.push(millis(700), Lag::Known(5));
        assert_eq!(window.lowest(), Lag::AtLeast(5));
    }
}
