//! The readers of one topic: pods that start and stop, rebalances, partitions that are read and committed.
//!
//! Records are a fluid: a pod writes at most its rate, shared among its partitions by what waits in them. What is left
//! out: the order of records, and partitions that are assigned by anything but their number.

use std::time::Duration;

use crate::scale::rates::{Flow, spread};

/// What a group is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Behaviour {
    /// Share of the load that each partition gets; all together 1.
    pub shares: Vec<f64>,
    /// Records a second that a pod writes when they wait for it.
    pub pod_rate: f64,
    /// From the patch until a pod is ready.
    pub start: Duration,
    /// From then until it joins the group.
    pub join: Duration,
    /// From the patch until a pod has left the group.
    pub stop: Duration,
    /// How long nobody reads when somebody joins or leaves.
    pub rebalance: Duration,
    /// Time between two commits.
    pub commit_interval: Duration,
    /// Records a second that what they write to can take from all of them.
    pub sink_rate: f64,
}

impl Behaviour {
    /// A group whose partitions all get the same share.
    pub fn even(partitions: usize, pod_rate: f64) -> Behaviour {
        Behaviour {
            shares: vec![1.0 / partitions.max(1) as f64; partitions],
            pod_rate,
            start: Duration::from_secs(3),
            join: Duration::ZERO,
            stop: Duration::from_secs(1),
            rebalance: Duration::from_secs(1),
            commit_interval: Duration::from_millis(500),
            sink_rate: f64::INFINITY,
        }
    }
}

/// Offsets of one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Partition {
    end: f64,
    written: f64,
    committed: f64,
    /// Whether the reader cannot get past the next record.
    poisoned: bool,
}

/// A pod, with the moment of its next change where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pod {
    Starting(Duration),
    Joining(Duration),
    Member,
    Leaving(Duration),
}

/// A group at one moment.
#[derive(Debug, Clone)]
pub struct Group {
    behaviour: Behaviour,
    partitions: Vec<Partition>,
    pods: Vec<Pod>,
    now: Duration,
    rebalanced: Option<Duration>,
    committed: Duration,
    /// Records that nobody will ever read.
    expired: f64,
}

impl Group {
    /// A group that has nothing to read, with pods that are all members.
    pub fn new(behaviour: Behaviour, pods: i32) -> Group {
        Group {
            partitions: vec![Partition::default(); behaviour.shares.len()],
            pods: vec![Pod::Member; usize::try_from(pods).unwrap_or(0)],
            behaviour,
            now: Duration::ZERO,
            rebalanced: None,
            committed: Duration::ZERO,
            expired: 0.0,
        }
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Replicas that are asked for.
    pub fn wanted(&self) -> i32 {
        count(self.pods.iter().filter(|pod| !matches!(pod, Pod::Leaving(_))))
    }

    /// Pods that there are, whatever they do.
    pub fn pods(&self) -> i32 {
        count(self.pods.iter())
    }

    /// Records that are not written yet.
    pub fn lag(&self) -> f64 {
        self.partitions.iter().map(|one| one.end - one.written).sum()
    }

    /// Records that are not committed yet: what can be seen from outside.
    pub fn visible_lag(&self) -> i64 {
        let lag: f64 = self.partitions.iter().map(|one| one.end - one.committed).sum();
        lag.ceil() as i64
    }

    /// Pods that are ready.
    pub fn ready(&self) -> i32 {
        let is_ready = |pod: &&Pod| matches!(pod, Pod::Joining(_) | Pod::Member);
        count(self.pods.iter().filter(is_ready))
    }

    /// Members of the group, whether partitions are left for them or not.
    pub fn readers(&self) -> i32 {
        count(self.pods.iter().filter(|pod| **pod == Pod::Member))
    }

    /// What has gone through, as it can be seen from outside.
    pub fn flow(&self) -> Flow {
        let waiting = || self.partitions.iter().map(|one| one.end - one.committed);
        let (most, all) = waiting().fold((0.0, 0.0), |(most, all), one| (f64::max(most, one), all + one));
        Flow {
            produced: self.partitions.iter().map(|one| one.end).sum::<f64>() as i64,
            committed: self.partitions.iter().map(|one| one.committed).sum::<f64>() as i64,
            expired: self.expired as i64,
            partitions: i32::try_from(self.partitions.len()).unwrap_or(i32::MAX),
            waiting: i32::try_from(waiting().filter(|one| *one >= 1.0).count()).unwrap_or(i32::MAX),
            hottest: if all > 0.0 { most / all } else { 0.0 },
            spread: spread(waiting()),
            readers: self.readers(),
            unready: 0,
        }
    }

    /// How long the group has been rebalancing.
    pub fn rebalancing(&self) -> Option<Duration> {
        let since = self.rebalanced?;
        let past = self.now.saturating_sub(since);
        (past < self.behaviour.rebalance).then_some(past)
    }

    /// What the group is like, which may change.
    pub fn behaviour_mut(&mut self) -> &mut Behaviour {
        &mut self.behaviour
    }

    /// The topic is deleted and made again: offsets begin anew, and nothing waits.
    pub fn recreate_topic(&mut self) {
        self.partitions.fill(Partition::default());
    }

    /// All that waits is deleted by retention.
    pub fn expire(&mut self) {
        self.expired += self.lag();
        for partition in &mut self.partitions {
            (partition.written, partition.committed) = (partition.end, partition.end);
        }
    }

    /// The first partition gets stuck, or goes on.
    pub fn poison(&mut self, poisoned: bool) {
        if let Some(first) = self.partitions.first_mut() {
            first.poisoned = poisoned;
        }
    }

    /// As many partitions again, all with the same share.
    pub fn double_partitions(&mut self) {
        let count = self.partitions.len() * 2;
        self.partitions.resize(count, Partition::default());
        self.behaviour.shares = vec![1.0 / count as f64; count];
        self.rebalance();
    }

    /// Nobody reads for the time of a rebalance.
    pub fn rebalance(&mut self) {
        self.rebalanced = Some(self.now);
    }

    /// A member ends and starts again.
    pub fn crash(&mut self) {
        if let Some(member) = self.pods.iter_mut().find(|pod| **pod == Pod::Member) {
            *member = Pod::Starting(self.now + self.behaviour.start);
            self.rebalance();
        }
    }

    /// Pods that still start do so in `time`.
    pub fn start_within(&mut self, time: Duration) {
        let soon = self.now + time;
        for pod in &mut self.pods {
            if let Pod::Starting(until) = pod {
                *until = (*until).min(soon);
            }
        }
    }

    /// Asks for another number of replicas: new pods start, the youngest leave.
    pub fn scale(&mut self, wanted: i32) {
        while self.wanted() < wanted {
            self.pods.push(Pod::Starting(self.now + self.behaviour.start));
        }
        while self.wanted() > wanted.max(0) {
            let is_new = |pod: &Pod| matches!(pod, Pod::Starting(_) | Pod::Joining(_));
            let starting = self.pods.iter().rposition(is_new);
            if let Some(starting) = starting {
                self.pods.remove(starting);
                continue;
            }
            let Some(youngest) = self.pods.iter().rposition(|pod| *pod == Pod::Member) else {
                return;
            };
            self.pods[youngest] = Pod::Leaving(self.now + self.behaviour.stop);
        }
    }

    /// Lets time pass in which `arriving` records arrive.
    pub fn advance(&mut self, time: Duration, arriving: f64) {
        self.now += time;
        for (partition, share) in self.partitions.iter_mut().zip(&self.behaviour.shares) {
            partition.end += arriving * share;
        }
        self.move_pods();
        if self.rebalancing().is_some() {
            return;
        }
        self.write(time);
        if self.now.saturating_sub(self.committed) >= self.behaviour.commit_interval {
            self.committed = self.now;
            self.partitions.iter_mut().for_each(|one| one.committed = one.written);
        }
    }

    fn move_pods(&mut self) {
        let now = self.now;
        let before = (self.readers(), self.pods.len());
        for pod in &mut self.pods {
            *pod = match *pod {
                Pod::Starting(until) if until <= now => Pod::Joining(until + self.behaviour.join),
                other => other,
            };
            if matches!(pod, Pod::Joining(until) if *until <= now) {
                *pod = Pod::Member;
            }
        }
        self.pods
            .retain(|pod| !matches!(pod, Pod::Leaving(until) if *until <= now));
        if (self.readers(), self.pods.len()) != before {
            self.rebalanced = Some(now);
            // Whoever gives a partition away commits it first.
            self.partitions.iter_mut().for_each(|one| one.committed = one.written);
        }
    }

    /// Partition by partition in turn for the members; those that leave write until they are gone.
    fn write(&mut self, time: Duration) {
        let members = self
            .pods
            .iter()
            .filter(|pod| matches!(pod, Pod::Member | Pod::Leaving(_)))
            .count();
        if members == 0 {
            return;
        }
        let of_sink = self.behaviour.sink_rate / members as f64;
        let most = self.behaviour.pod_rate.min(of_sink) * time.as_secs_f64();
        for member in 0..members {
            let waiting: f64 = self.readable(member, members).sum();
            if waiting <= 0.0 {
                continue;
            }
            let part = (most / waiting).min(1.0);
            for partition in self.partitions.iter_mut().skip(member).step_by(members) {
                if !partition.poisoned {
                    partition.written += (partition.end - partition.written) * part;
                }
            }
        }
    }

    /// What waits in each partition of a member, as far as it can get past it.
    fn readable(&self, member: usize, members: usize) -> impl Iterator<Item = f64> {
        let own = self.partitions.iter().skip(member).step_by(members);
        own.filter(|one| !one.poisoned).map(|one| one.end - one.written)
    }
}

fn count<'a>(pods: impl Iterator<Item = &'a Pod>) -> i32 {
    i32::try_from(pods.count()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: Duration = Duration::from_millis(100);

    fn ticks(group: &mut Group, ticks: u32, arriving: f64) {
        for _ in 0..ticks {
            group.advance(TICK, arriving);
        }
    }

    #[test]
    fn pods_write_no_faster_than_their_rate_and_no_more_than_there_is() {
        let mut group = Group::new(Behaviour::even(4, 100.0), 2);
        ticks(&mut group, 10, 30.0);
        assert!(
            (group.lag() - 100.0).abs() < 1e-6,
            "300 arrived, 200 could be written: {}",
            group.lag()
        );
        ticks(&mut group, 10, 0.0);
        assert!(group.lag().abs() < 1e-6);
    }

    #[test]
    fn a_new_pod_helps_when_it_has_started_and_joined() {
        let mut group = Group::new(Behaviour::even(4, 100.0), 1);
        group.scale(2);
        assert_eq!((group.wanted(), group.pods()), (2, 2));
        ticks(&mut group, 29, 10.0);
        assert_eq!(group.rebalancing(), None);
        ticks(&mut group, 1, 10.0);
        assert_eq!(group.rebalancing(), Some(Duration::ZERO));
        let before = group.lag();
        ticks(&mut group, 9, 10.0);
        assert!((group.lag() - before - 90.0).abs() < 1e-6, "nobody reads meanwhile");
        ticks(&mut group, 2, 10.0);
        assert_eq!(group.rebalancing(), None);
    }

    #[test]
    fn those_that_start_go_first_and_members_leave_after_a_while() {
        let mut group = Group::new(Behaviour::even(4, 100.0), 3);
        group.scale(4);
        group.scale(2);
        assert_eq!((group.wanted(), group.pods()), (2, 3));
        ticks(&mut group, 10, 0.0);
        assert_eq!((group.wanted(), group.pods()), (2, 2));
        assert!(group.rebalancing().is_some());
    }

    #[test]
    fn more_pods_than_partitions_help_no_more() {
        let lag = |pods| {
            let mut group = Group::new(Behaviour::even(4, 100.0), pods);
            ticks(&mut group, 100, 100.0);
            group.lag()
        };
        assert!(lag(4) < lag(3));
        assert!((lag(5) - lag(4)).abs() < 1e-6);
    }

    #[test]
    fn what_is_seen_is_what_was_committed() {
        let mut group = Group::new(Behaviour::even(4, 100.0), 4);
        ticks(&mut group, 4, 10.0);
        assert_eq!((group.lag(), group.visible_lag()), (0.0, 40));
        ticks(&mut group, 1, 10.0);
        assert_eq!(group.visible_lag(), 0);
    }

    proptest! {
        #[test]
        fn nothing_is_written_twice_or_before_it_arrives(
            steps in proptest::collection::vec((0i32..12, 0.0f64..500.0), 1..60),
        ) {
            let mut group = Group::new(Behaviour::even(8, 50.0), 1);
            let mut arrived = 0.0;
            for (wanted, arriving) in steps {
                group.scale(wanted);
                for _ in 0..5 {
                    group.advance(TICK, arriving);
                    arrived += arriving;
                }
                prop_assert_eq!(group.wanted(), wanted);
                prop_assert!(group.lag() >= -1e-6 && group.lag() <= arrived + 1e-6);
                prop_assert!(group.visible_lag() as f64 >= group.lag() - 1e-6);
            }
        }
    }
}
