//! Records a second that arrive, second by second.

use std::f64::consts::TAU;
use std::str::FromStr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::api::duration;

/// How the load goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// The same all the time.
    Constant,
    /// More from a moment on.
    Step {
        /// When.
        at: Duration,
        /// How many times the base.
        factor: f64,
    },
    /// Evenly more from one moment to another, and as much from then on.
    Ramp {
        /// From when.
        from: Duration,
        /// Until when.
        to: Duration,
        /// How many times the base at the end.
        factor: f64,
    },
    /// Up and down.
    Sine {
        /// Time between two tops.
        period: Duration,
        /// Part of the base that is added at the top and taken away at the bottom, 0 to 1.
        amplitude: f64,
    },
    /// More for a while.
    Spike {
        /// From when.
        at: Duration,
        /// For how long.
        length: Duration,
        /// How many times the base.
        factor: f64,
    },
}

/// A load: a shape around a base.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Records a second without the shape.
    pub base: f64,
    /// How it goes.
    pub shape: Shape,
    /// Each second is at most this part more or less than the shape says, 0 to 1.
    pub noise: f64,
    /// How long it goes on.
    pub length: Duration,
}

/// A shape that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no shape of a load: it is constant, step:AT:FACTOR, ramp:FROM:TO:FACTOR, sine:PERIOD:AMPLITUDE or \
     spike:AT:LENGTH:FACTOR, with times such as 90s or 5m, factors from 0 and an amplitude of 0 to 1"
)]
pub struct NoShape(String);

impl FromStr for Shape {
    type Err = NoShape;

    fn from_str(text: &str) -> Result<Shape, NoShape> {
        let time = |text: &str| duration::parse(text).ok();
        let factor = |text: &str| {
            text.parse()
                .ok()
                .filter(|factor: &f64| factor.is_finite() && *factor >= 0.0)
        };
        let parts: Vec<&str> = text.split(':').collect();
        let read = || {
            Some(match *parts.as_slice() {
                ["constant"] => Shape::Constant,
                ["step", at, by] => Shape::Step {
                    at: time(at)?,
                    factor: factor(by)?,
                },
                ["ramp", from, to, by] => Shape::Ramp {
                    from: time(from)?,
                    to: time(to).filter(|to| time(from).is_some_and(|from| from < *to))?,
                    factor: factor(by)?,
                },
                ["sine", period, amplitude] => Shape::Sine {
                    period: time(period).filter(|period| !period.is_zero())?,
                    amplitude: factor(amplitude).filter(|amplitude| *amplitude <= 1.0)?,
                },
                ["spike", at, length, by] => Shape::Spike {
                    at: time(at)?,
                    length: time(length)?,
                    factor: factor(by)?,
                },
                _ => return None,
            })
        };
        read().ok_or_else(|| NoShape(text.to_owned()))
    }
}

impl Load {
    /// Records that arrive in each second.
    pub fn seconds(&self, seed: u64) -> Vec<f64> {
        let mut random = StdRng::seed_from_u64(seed);
        let seconds = 0..self.length.as_secs();
        let mut of_second = |second| {
            let noise = if self.noise > 0.0 {
                random.random_range(-self.noise..=self.noise)
            } else {
                0.0
            };
            self.base * self.shape.factor(Duration::from_secs(second)) * (1.0 + noise)
        };
        seconds.map(&mut of_second).collect()
    }
}

impl Shape {
    /// How many times the base arrive at a moment.
    fn factor(&self, now: Duration) -> f64 {
        match *self {
            Shape::Constant => 1.0,
            Shape::Step { at, factor } if now >= at => factor,
            Shape::Ramp { from, to, factor } => {
                let done = now.saturating_sub(from).as_secs_f64() / to.saturating_sub(from).as_secs_f64();
                1.0 + (factor - 1.0) * done.clamp(0.0, 1.0)
            }
            Shape::Sine { period, amplitude } => {
                1.0 + amplitude * (TAU * now.as_secs_f64() / period.as_secs_f64()).sin()
            }
            Shape::Spike { at, length, factor } if now >= at && now < at + length => factor,
            Shape::Step { .. } | Shape::Spike { .. } => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(shape: Shape) -> Vec<f64> {
        let load = Load {
            base: 10.0,
            shape,
            noise: 0.0,
            length: Duration::from_secs(5),
        };
        load.seconds(1)
    }

    #[test]
    fn each_shape_goes_as_it_says() {
        let second = Duration::from_secs;
        assert_eq!(seconds(Shape::Constant), [10.0; 5]);
        let step = Shape::Step {
            at: second(2),
            factor: 3.0,
        };
        assert_eq!(seconds(step), [10.0, 10.0, 30.0, 30.0, 30.0]);
        let ramp = Shape::Ramp {
            from: second(1),
            to: second(3),
            factor: 2.0,
        };
        assert_eq!(seconds(ramp), [10.0, 10.0, 15.0, 20.0, 20.0]);
        let spike = Shape::Spike {
            at: second(1),
            length: second(2),
            factor: 5.0,
        };
        assert_eq!(seconds(spike), [10.0, 50.0, 50.0, 10.0, 10.0]);
        let sine = Shape::Sine {
            period: second(4),
            amplitude: 0.5,
        };
        let rounded: Vec<i64> = seconds(sine).into_iter().map(|rate| rate.round() as i64).collect();
        assert_eq!(rounded, [10, 15, 10, 5, 10]);
    }

    #[test]
    fn a_shape_is_read_or_the_error_says_what_there_is() {
        let second = Duration::from_secs;
        assert_eq!("constant".parse(), Ok(Shape::Constant));
        let step = Shape::Step {
            at: second(90),
            factor: 2.5,
        };
        assert_eq!("step:90s:2.5".parse(), Ok(step));
        let spike = Shape::Spike {
            at: second(60),
            length: second(30),
            factor: 10.0,
        };
        assert_eq!("spike:1m:30s:10".parse(), Ok(spike));
        for wrong in [
            "",
            "step",
            "step:1m",
            "step:1m:-1",
            "step:1m:x",
            "ramp:2m:1m:3",
            "sine:0s:1",
            "sine:1m:2",
            "wave:1m",
        ] {
            let error = wrong.parse::<Shape>().unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("{wrong:?} is no shape")),
                "{error}"
            );
        }
    }

    #[test]
    fn noise_stays_within_its_bounds_and_is_the_same_for_the_same_seed() {
        let load = Load {
            base: 100.0,
            shape: Shape::Constant,
            noise: 0.2,
            length: Duration::from_secs(1000),
        };
        let seconds = load.seconds(7);
        assert!(seconds.iter().all(|rate| (80.0..=120.0).contains(rate)));
        assert_eq!(seconds, load.seconds(7));
        assert_ne!(seconds, load.seconds(8));
    }
}
