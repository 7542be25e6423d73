//! What a replica has in hand of a key's minute. Pure: the caller says what time it is.

use super::store::Reserved;
use std::time::{Duration, Instant};

/// Two ends of minutes that are as close as this are the same: what is between them is the time that the answers took.
const SAME_MINUTE: Duration = Duration::from_secs(30);

/// Records of one minute, by the clock of PostgreSQL.
#[derive(Debug, Default)]
pub struct Chunk {
    left: u32,
    /// What PostgreSQL had left, at most.
    elsewhere: u32,
    /// When the minute ends, or a little before. None before the first answer.
    ends: Option<Instant>,
}

/// What comes of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// Taken.
    Taken,
    /// PostgreSQL may have as many as are missing.
    Ask {
        /// The missing ones.
        needed: u32,
    },
    /// There are not so many left in this minute.
    Exhausted {
        /// Until the next one.
        wait: Duration,
    },
}

impl Chunk {
    /// Takes `records` at `now`, all or none.
    pub fn take(&mut self, records: u32, now: Instant) -> Take {
        let Some(ends) = self.ends.filter(|ends| now < *ends) else {
            *self = Chunk::default();
            return Take::Ask { needed: records };
        };
        match records.checked_sub(self.left) {
            None | Some(0) => {
                self.left -= records;
                Take::Taken
            }
            Some(needed) if needed > self.elsewhere => Take::Exhausted {
                wait: ends.saturating_duration_since(now),
            },
            Some(needed) => Take::Ask { needed },
        }
    }

    /// Adds what PostgreSQL gave after it was asked at `asked`. The minute ends no earlier than counted from then.
    pub fn add(&mut self, reserved: Reserved, asked: Instant) {
        let ends = asked + reserved.lasts;
        match self.ends {
            Some(old) if ends.saturating_duration_since(old) < SAME_MINUTE => {
                self.left += reserved.granted;
                self.ends = Some(old.min(ends));
            }
            // What was in hand is of a minute that is over.
            _ => {
                self.left = reserved.granted;
                self.ends = Some(ends);
            }
        }
        self.elsewhere = reserved.remaining;
    }

    /// When the minute ends of which the last records were taken.
    pub fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// Takes back `records` of the minute that was to end at `ends`, unless it is over.
    pub fn give_back(&mut self, records: u32, ends: Instant) {
        let between = |own: Instant| own.max(ends) - own.min(ends);
        if self.ends.is_some_and(|own| between(own) < SAME_MINUTE) {
            self.left = self.left.saturating_add(records);
        }
    }

    /// Whether there is anything to remember at `now`.
    pub fn is_good_at(&self, now: Instant) -> bool {
        self.ends.is_some_and(|ends| now < ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reserved(granted: u32, remaining: u32, seconds: u64) -> Reserved {
        Reserved {
            granted,
            remaining,
            lasts: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_chunk_is_given_out_and_then_asked_for_again() {
        let (mut chunk, now) = (Chunk::default(), Instant::now());
        assert_eq!(chunk.take(3, now), Take::Ask { needed: 3 });
        chunk.add(reserved(10, 90, 40), now);
        assert_eq!(chunk.take(8, now), Take::Taken);
        assert_eq!(chunk.take(8, now), Take::Ask { needed: 6 });
        chunk.add(reserved(10, 80, 40), now);
        assert_eq!(chunk.take(8, now), Take::Taken);
        assert_eq!(chunk.take(4, now), Take::Taken);
        let wait = Duration::from_secs(40);
        assert_eq!(chunk.take(81, now), Take::Exhausted { wait });
        assert_eq!(chunk.take(80, now), Take::Ask { needed: 80 });
    }

    #[test]
    fn what_is_left_ends_with_its_minute() {
        let (mut chunk, now) = (Chunk::default(), Instant::now());
        chunk.add(reserved(10, 0, 5), now);
        let next = now + Duration::from_secs(5);
        assert_eq!(chunk.take(1, next), Take::Ask { needed: 1 });
        // Asked just before the end, answered in the next minute.
        chunk.add(reserved(10, 0, 5), now);
        let late = now + Duration::from_millis(4_900);
        assert_eq!(chunk.take(12, late), Take::Exhausted { wait: next - late });
        chunk.elsewhere = 5;
        assert_eq!(chunk.take(12, late), Take::Ask { needed: 2 });
        chunk.add(reserved(2, 0, 60), late);
        assert_eq!(
            chunk.take(12, late),
            Take::Exhausted {
                wait: Duration::from_secs(60)
            }
        );
        assert_eq!(chunk.take(2, late), Take::Taken);
    }

    #[test]
    fn what_is_given_back_is_of_its_own_minute() {
        let (mut chunk, now) = (Chunk::default(), Instant::now());
        chunk.add(reserved(10, 0, 40), now);
        let ends = chunk.ends().unwrap();
        assert_eq!(chunk.take(10, now), Take::Taken);
        chunk.give_back(6, ends);
        assert_eq!(chunk.take(6, now), Take::Taken);
        // In the next minute.
        chunk.add(reserved(3, 0, 60), ends);
        chunk.give_back(6, ends);
        let wait = Duration::from_secs(60);
        assert_eq!(chunk.take(4, ends), Take::Exhausted { wait });
        // Nothing is known of any minute.
        let mut chunk = Chunk::default();
        chunk.give_back(6, ends);
        assert_eq!(chunk.take(1, now), Take::Ask { needed: 1 });
    }

    proptest! {
        /// PostgreSQL and two replicas, whose answers arrive after the question: no minute admits more than the quota.
        #[test]
        fn no_minute_admits_more_than_the_quota(
            quota in 1..200u32,
            // Bursts, and pauses that end near the end of a minute.
            wishes in prop::collection::vec(
                (0..2usize, 1..40u32, prop_oneof![4 => 0..200u64, 1 => 25_000..31_000u64], 0..3_000u64),
                1..200,
            ),
        ) {
            let start = Instant::now();
            let (mut used, mut minute) = (0, 0);
            let mut replicas = [Chunk::default(), Chunk::default()];
            let mut admitted = std::collections::BTreeMap::<u64, u32>::new();
            let mut millis = 0;
            for (replica, records, pause, latency) in wishes {
                millis += pause;
                let chunk = &mut replicas[replica];
                let asked = start + Duration::from_millis(millis);
                let mut taken = chunk.take(records, asked);
                if let Take::Ask { needed } = taken {
                    millis += latency;
                    if minute < millis / 60_000 {
                        (minute, used) = (millis / 60_000, 0);
                    }
                    let remaining = quota - used;
                    let granted = if needed > remaining { 0 } else { needed.max(quota / 10).min(remaining) };
                    used += granted;
                    let lasts = Duration::from_millis((minute + 1) * 60_000 - millis);
                    chunk.add(Reserved { granted, remaining: remaining - granted, lasts }, asked);
                    taken = chunk.take(records, start + Duration::from_millis(millis));
                }
                if taken == Take::Taken {
                    *admitted.entry(millis / 60_000).or_default() += records;
                }
            }
            for (minute, records) in admitted {
                prop_assert!(records <= quota, "{records} of {quota} in minute {minute}");
            }
        }
    }
}
