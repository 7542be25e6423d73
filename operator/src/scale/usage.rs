//! What pods use of their size → how many there are to be at least. Pure.
//!
//! The HorizontalPodAutoscaler's formula: half of the size is the target, and a use within a tenth of it is on target.
//! It is a lower bound beside the lag: readers that catch up only by using themselves up need company.

use std::collections::VecDeque;
use std::time::Duration;

use super::decide::Reason;
use super::floor::Floor;
use crate::plan::sizing::Size;

/// Part of the size that a pod is to use.
const TARGET: f64 = 0.5;
/// How far the use may be from the target, as a part of it, without a change.
const TOLERANCE: f64 = 0.1;
/// More pods that lower what each of them holds by less than this part are no help.
const RELIEF: f64 = 0.1;

/// What the pods of a reader use, together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Pods that were measured.
    pub pods: i32,
    /// Thousandths of a core.
    pub milli_cpu: f64,
    /// MiB.
    pub memory_mib: f64,
}

/// What is remembered of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// What was asked for within the cooldown, and when; each is higher than those after it.
    lately: VecDeque<(Duration, Floor)>,
    /// Pods and what each of them held, when memory asked for more pods.
    asked: Option<(i32, f64)>,
    /// Whether more pods were no help against the memory that they hold.
    latched: bool,
}

impl Memory {
    /// How many pods there are to be at least, where `replicas` are asked for and `ready` of them are. More than these only
    /// when all of them are ready: pods that start use more, and those that come will use a part of it. Fewer than were
    /// asked for only after the cooldown. Nothing where nothing was measured, and where one is enough: the lag knows
    /// whether anybody is needed at all.
    pub fn floor(
        &mut self,
        now: Duration,
        usage: Option<&Usage>,
        size: Size,
        replicas: i32,
        ready: i32,
        cooldown: Duration,
    ) -> Option<Floor> {
        while self.lately.front().is_some_and(|(at, ..)| *at + cooldown < now) {
            self.lately.pop_front();
        }
        if let Some(usage) = usage.filter(|usage| usage.pods > 0) {
            let (least, reason, message) = self.least(usage, size);
            let asked = if ready >= replicas { least } else { least.min(replicas) };
            // The first of them is the highest: what is followed by more counts no longer.
            while self.lately.back().is_some_and(|(_, floor)| floor.replicas <= asked) {
                self.lately.pop_back();
            }
            let floor = Floor {
                replicas: asked,
                reason,
                message,
            };
            self.lately.push_back((now, floor));
        }
        let newest = self.lately.back().filter(|(at, _)| *at == now).map(|(_, floor)| floor);
        let (at, highest) = self.lately.front()?;
        // What was asked for a while ago keeps pods, and brings none.
        let kept = highest.replicas.min(replicas);
        let floor = match newest {
            Some(newest) if newest.replicas >= kept => newest.clone(),
            _ => Floor {
                replicas: kept,
                reason: highest.reason,
                message: format!("{}, {} s ago", highest.message, now.saturating_sub(*at).as_secs()),
            },
        };
        Some(floor).filter(|floor| floor.replicas > 0)
    }

    /// The least number of pods, what asks for it, and the numbers behind it.
    fn least(&mut self, usage: &Usage, size: Size) -> (i32, Reason, String) {
        let more_than_one = |least: i32| if least > 1 { least } else { 0 };
        let by_cpu = more_than_one(enough(usage.pods, usage.milli_cpu, size.milli_cpu as f64));
        let by_memory = more_than_one(self.enough_memory(usage, size.memory_mib as f64));
        let each = |total: f64, size: i64| 100.0 * total / f64::from(usage.pods) / size.max(1) as f64;
        if by_memory > by_cpu {
            let part = each(usage.memory_mib, size.memory_mib);
            let message = format!("{} pods use {part:.0} % of their memory", usage.pods);
            return (by_memory, Reason::MemoryAboveTarget, message);
        }
        let part = each(usage.milli_cpu, size.milli_cpu);
        let message = format!("{} pods use {part:.0} % of their CPU", usage.pods);
        (by_cpu, Reason::CpuAboveTarget, message)
    }

    /// Pods whose memory is filled by what each of them holds, and not by what they share, stay as full with company: then
    /// memory asks for nothing until it has fallen.
    fn enough_memory(&mut self, usage: &Usage, size: f64) -> i32 {
        let each = usage.memory_mib / f64::from(usage.pods);
        let wanted = enough(usage.pods, usage.memory_mib, size);
        if wanted <= usage.pods {
            (self.asked, self.latched) = (None, false);
            return wanted;
        }
        if let Some((pods, before)) = self.asked
            && usage.pods > pods
        {
            self.latched = each > (1.0 - RELIEF) * before;
            self.asked = None;
        }
        if self.latched {
            return 0;
        }
        self.asked.get_or_insert((usage.pods, each));
        wanted
    }
}

/// How many pods use half of their size at most, where these use `total` together.
fn enough(pods: i32, total: f64, size: f64) -> i32 {
    let target = TARGET * size;
    let ratio = total / (target * f64::from(pods));
    if (ratio - 1.0).abs() <= TOLERANCE {
        return pods;
    }
    (total / target).ceil() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size {
        milli_cpu: 2000,
        memory_mib: 2048,
    };

    fn usage(pods: i32, milli_cpu: f64, memory_mib: f64) -> Usage {
        Usage {
            pods,
            milli_cpu,
            memory_mib,
        }
    }

    fn once(pods: i32, milli_cpu: f64, memory_mib: f64) -> (i32, Reason, String) {
        Memory::default().least(&usage(pods, milli_cpu, memory_mib), SIZE)
    }

    #[test]
    fn half_of_the_size_is_the_target_and_a_tenth_more_or_less_is_on_it() {
        let cpu = |pods, milli| once(pods, milli, 0.0).0;
        assert_eq!(cpu(4, 4000.0), 4);
        assert_eq!(cpu(4, 4399.0), 4);
        assert_eq!(cpu(4, 4401.0), 5);
        assert_eq!(cpu(4, 8000.0), 8);
        assert_eq!(cpu(4, 1500.0), 2);
    }

    #[test]
    fn the_larger_of_both_counts_and_is_named() {
        let (least, reason, message) = once(2, 100.0, 4096.0);
        assert_eq!(
            (least, reason, message.as_str()),
            (4, Reason::MemoryAboveTarget, "2 pods use 100 % of their memory")
        );
    }

    #[test]
    fn memory_that_more_pods_do_not_lower_asks_for_no_more() {
        let mut memory = Memory::default();
        let mut asked = |pods: i32, each: f64| {
            let seen = usage(pods, 0.0, f64::from(pods) * each);
            memory.least(&seen, SIZE).0
        };
        assert_eq!(asked(2, 1536.0), 3);
        assert_eq!(asked(3, 1500.0), 0, "three hold as much each as two did");
        assert_eq!(asked(3, 1500.0), 0);
        assert_eq!(asked(3, 900.0), 3, "it has fallen");
        assert_eq!(asked(3, 1536.0), 5, "and may ask again");
    }

    #[test]
    fn more_only_when_all_are_ready_and_fewer_only_after_the_cooldown() {
        let mut memory = Memory::default();
        let mut floor = |at: u64, pods: i32, milli: f64, replicas: i32, ready: i32| {
            let used = usage(pods, milli, 0.0);
            let cooldown = Duration::from_secs(300);
            let floor = memory.floor(Duration::from_secs(at), Some(&used), SIZE, replicas, ready, cooldown);
            floor.map(|floor| floor.replicas)
        };
        assert_eq!(floor(0, 2, 5000.0, 4, 2), Some(4), "they are starting");
        assert_eq!(floor(15, 4, 6000.0, 4, 4), Some(6));
        assert_eq!(floor(30, 6, 3000.0, 6, 6), Some(6), "it was more a moment ago");
        assert_eq!(floor(310, 6, 3000.0, 4, 4), Some(4), "it brings none back");
        assert_eq!(floor(316, 6, 3000.0, 6, 6), Some(3));
        assert_eq!(floor(330, 5, 10_000.0, 5, 5), Some(10));
        assert_eq!(floor(345, 5, 9000.0, 5, 5), Some(9), "the last one was not followed");
        assert_eq!(
            floor(700, 1, 900.0, 1, 1),
            None,
            "the lag knows whether the last one is needed"
        );
        assert_eq!(
            Memory::default().floor(Duration::ZERO, None, SIZE, 4, 4, Duration::ZERO),
            None
        );
    }
}
