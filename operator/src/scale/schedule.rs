//! The hour → how many there are to be at least. Pure.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Timelike, Utc};
use chrono_tz::Tz;
use croner::Cron;

use super::decide::Reason;
use super::floor::Floor;

/// Times at which there are so many replicas at least.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    start: Cron,
    end: Cron,
    zone: Tz,
    replicas: i32,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Schedule {
            start,
            end,
            zone,
            replicas,
        } = self;
        write!(f, "at least {replicas} between {start} and {end}, {zone}")
    }
}

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// No cron expression.
    #[error("is no cron expression of five fields (minute, hour, day of month, month, day of week): {0}")]
    Start(String),
    /// The same of the end.
    #[error("is no cron expression of five fields (minute, hour, day of month, month, day of week): {0}")]
    End(String),
    /// No such zone.
    #[error("is no time zone of the IANA database, as Asia/Kolkata or UTC")]
    Zone,
    /// Nothing lies between a time and itself.
    #[error("is the same as start, so that there is nothing between them")]
    Empty,
}

impl InvalidSchedule {
    /// The field that is wrong.
    pub const fn field(&self) -> &'static str {
        match self {
            InvalidSchedule::Start(_) => "start",
            InvalidSchedule::End(_) | InvalidSchedule::Empty => "end",
            InvalidSchedule::Zone => "timeZone",
        }
    }
}

impl Schedule {
    /// At least `replicas` from each time of `start` until the next one of `end`, both of them cron expressions on the
    /// clocks of `zone`.
    pub fn new(start: &str, end: &str, zone: &str, replicas: i32) -> Result<Schedule, InvalidSchedule> {
        let zone = Tz::from_str(zone).map_err(|_| InvalidSchedule::Zone)?;
        let start = parse(start).map_err(InvalidSchedule::Start)?;
        let end = parse(end).map_err(InvalidSchedule::End)?;
        if start == end {
            return Err(InvalidSchedule::Empty);
        }
        Ok(Schedule {
            start,
            end,
            zone,
            replicas,
        })
    }

    /// Whether the last start is later than the last end.
    fn holds(&self, now: DateTime<Utc>) -> bool {
        // Whole seconds: a time that is now is the last one.
        let now = now.with_nanosecond(0).unwrap_or(now).with_timezone(&self.zone);
        let last = |cron: &Cron| cron.find_previous_occurrence(&now, true).ok();
        // One that was never to be is earlier than any other.
        last(&self.start) > last(&self.end)
    }
}

fn parse(text: &str) -> Result<Cron, String> {
    // Seconds and names as @daily would be another language than that of Kubernetes' own schedules.
    if text.split_whitespace().count() != 5 {
        return Err(format!("{text:?}"));
    }
    let cron = Cron::from_str(text).map_err(|error| format!("{text:?}: {error}"))?;
    match cron.find_next_occurrence(&Utc::now(), false) {
        Ok(_) => Ok(cron),
        Err(_) => Err(format!("{text:?} never occurs")),
    }
}

/// The highest of the floors that hold at a moment.
pub fn floor(schedules: &[Schedule], now: DateTime<Utc>) -> Option<Floor> {
    let holding = schedules.iter().filter(|schedule| schedule.holds(now));
    let highest = holding.max_by_key(|schedule| schedule.replicas)?;
    let (start, end) = (highest.start.as_str(), highest.end.as_str());
    Some(Floor {
        replicas: highest.replicas,
        reason: Reason::Schedule,
        message: format!("scheduled from {start:?} until {end:?} in {}", highest.zone),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str, schedules: &[Schedule]) -> Option<i32> {
        floor(schedules, time.parse().unwrap()).map(|floor| floor.replicas)
    }

    #[test]
    fn between_start_and_end_on_the_clocks_of_the_zone() {
        let office = Schedule::new("0 8 * * 1-5", "0 20 * * 1-5", "Asia/Kolkata", 6).unwrap();
        let at = |time| at(time, std::slice::from_ref(&office));
        // 08:00 there is 02:30 UTC; 2026-11-20 was a Friday.
        assert_eq!(at("2026-11-20T02:29:59Z"), None);
        assert_eq!(at("2026-11-20T02:30:00Z"), Some(6));
        assert_eq!(at("2026-11-20T14:29:59Z"), Some(6));
        assert_eq!(at("2026-11-20T14:30:00Z"), None);
        assert_eq!(at("2026-11-21T06:00:00Z"), None, "a Saturday");
    }

    #[test]
    fn a_night_goes_over_midnight_and_clocks_may_change_in_it() {
        let night = Schedule::new("0 22 * * *", "0 6 * * *", "Europe/Berlin", 3).unwrap();
        let at = |time| at(time, std::slice::from_ref(&night));
        // Winter time began there on 2026-10-25 at 01:00 UTC.
        assert_eq!(at("2026-10-24T19:59:00Z"), None);
        assert_eq!(at("2026-10-24T20:00:00Z"), Some(3));
        assert_eq!(at("2026-10-25T04:59:00Z"), Some(3));
        assert_eq!(at("2026-10-25T05:00:00Z"), None);
        assert_eq!(at("2026-10-25T20:59:00Z"), None);
        assert_eq!(at("2026-10-25T21:00:00Z"), Some(3));
    }

    #[test]
    fn the_highest_that_holds_counts() {
        let schedules = [
            Schedule::new("0 8 * * *", "0 20 * * *", "UTC", 4).unwrap(),
            Schedule::new("0 12 * * *", "0 13 * * *", "UTC", 9).unwrap(),
        ];
        assert_eq!(at("2026-11-20T12:30:00Z", &schedules), Some(9));
        assert_eq!(at("2026-11-20T13:30:00Z", &schedules), Some(4));
        assert_eq!(at("2026-11-20T07:30:00Z", &schedules), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |start, end, zone| {
            let invalid = Schedule::new(start, end, zone, 1).unwrap_err();
            format!("{} {invalid}", invalid.field())
        };
        assert!(wrong("8 o'clock", "0 9 * * *", "UTC").starts_with("start is no cron expression of five fields"));
        assert!(wrong("0 8 * * *", "0 25 * * *", "UTC").starts_with("end is no cron expression of five fields"));
        assert!(wrong("0 8 30 2 *", "0 9 * * *", "UTC").ends_with("never occurs"));
        assert!(wrong("@daily", "0 9 * * *", "UTC").starts_with("start is no cron"));
        assert!(wrong("0 8 * * *", "0 9 * * *", "Bombay").starts_with("timeZone is no time zone"));
        assert!(wrong("0 8 * * *", "0 8 * * *", "UTC").starts_with("end is the same as start"));
    }
}
