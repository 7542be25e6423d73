//! How long a decision took after its cause: from the moment that lag had been above a threshold for one commit
//! interval, by our own sampling, to the Deployment's new replica count.

use crate::ladder::Ladder;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Readers commit this often, so a lag that stays lower for a shorter time is batching.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(200);

/// Lag at one moment.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When it was read.
    pub at: Instant,
    /// Messages, by topic.
    pub lag: BTreeMap<String, i64>,
}

/// A new replica count of a Deployment.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// When it was seen.
    pub at: Instant,
    /// The count.
    pub replicas: i32,
}

/// One threshold that was exceeded, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaction {
    /// The threshold.
    pub threshold: i64,
    /// Until the Deployment had the replicas of that rung; none where the lag went away before.
    pub took: Option<Duration>,
    /// How long the lag asked for it, where it went away.
    pub waited: Duration,
}

/// A decision this late after the lag went away still answers it.
const LATE: Duration = Duration::from_secs(3);

/// Lag that asks for a rung.
#[derive(Debug, Clone, Copy)]
struct Demand {
    since: Instant,
    ended: Option<Instant>,
}

/// The reactions of one consumer over a recording.
pub fn reactions(ladder: &Ladder, topics: &[String], samples: &[Sample], changes: &[Change]) -> Vec<Reaction> {
    let steps = ladder.thresholds.iter().zip(ladder.rungs.windows(2));
    let steps = steps.filter(|(_, rungs)| rungs[1] > rungs[0]);
    steps
        .flat_map(|(threshold, rungs)| to_one_threshold(*threshold, rungs[1], topics, samples, changes))
        .collect()
}

fn to_one_threshold(
    threshold: i64,
    wanted: i32,
    topics: &[String],
    samples: &[Sample],
    changes: &[Change],
) -> Vec<Reaction> {
    let replicas = |at: Instant| {
        let last = changes.iter().rev().find(|change| change.at <= at);
        last.map_or(0, |change| change.replicas)
    };
    let mut reactions = Vec::new();
    let mut tell = |took: Option<Duration>, waited: Duration| {
        reactions.push(Reaction {
            threshold,
            took,
            waited,
        });
    };
    let unanswered = |demand: Demand, now: Instant| demand.ended.unwrap_or(now).saturating_duration_since(demand.since);
    // When the lag of each topic began to be above the threshold.
    let mut above = BTreeMap::<&String, Instant>::new();
    let mut demand: Option<Demand> = None;
    for (index, sample) in samples.iter().enumerate() {
        let before = samples[index.saturating_sub(1)].at;
        let grown = changes
            .iter()
            .find(|change| change.at > before && change.at <= sample.at && change.replicas >= wanted);
        if let Some(change) = grown.filter(|_| replicas(before) < wanted) {
            let recent = |demand: &Demand| demand.ended.is_none_or(|ended| change.at - ended <= LATE);
            match demand.take() {
                Some(demand) if recent(&demand) => {
                    let took = change.at.saturating_duration_since(demand.since);
                    tell(Some(took), took);
                }
                old => {
                    old.into_iter().for_each(|old| tell(None, unanswered(old, change.at)));
                    // A decision may come before the interval is over: that is no waiting at all.
                    if !above.is_empty() {
                        tell(Some(Duration::ZERO), Duration::ZERO);
                    }
                }
            }
        }
        for topic in topics {
            if sample.lag.get(topic).is_some_and(|lag| *lag > threshold) {
                above.entry(topic).or_insert(sample.at);
            } else {
                above.remove(topic);
            }
        }
        let asked = above.values().min().map(|since| *since + COMMIT_INTERVAL);
        let asked = asked.filter(|asked| *asked <= sample.at && replicas(sample.at) < wanted);
        match (asked, &mut demand) {
            (Some(_), Some(Demand { ended: None, .. })) => {}
            (Some(since), old) => {
                let new = Demand { since, ended: None };
                old.replace(new)
                    .into_iter()
                    .for_each(|old| tell(None, unanswered(old, sample.at)));
            }
            (None, Some(demand)) => drop(demand.ended.get_or_insert(sample.at)),
            (None, None) => {}
        }
    }
    if let (Some(demand), Some(last)) = (demand, samples.last()) {
        tell(None, unanswered(demand, last.at));
    }
    reactions
}

/// The middle one; the mean of the two middle ones of an even number.
pub fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    let middle = times.len() / 2;
    match times.len() {
        0 => None,
        count if count % 2 == 1 => Some(times[middle]),
        _ => Some((times[middle - 1] + times[middle]) / 2),
    }
}

/// Steps up that no lag of the moments before asked for: count, with the counts that would have been right.
pub fn wrong_steps(
    ladder: &Ladder,
    topics: &[String],
    samples: &[Sample],
    changes: &[Change],
    delay: Duration,
) -> Vec<(i32, Vec<i32>)> {
    let up = changes
        .windows(2)
        .filter(|pair| pair[1].replicas > pair[0].replicas)
        .map(|pair| pair[1]);
    let judged = up.filter_map(|change| {
        let moments = samples
            .iter()
            .filter(|sample| sample.at <= change.at && change.at - sample.at <= delay);
        let worst = moments.map(|sample| topics.iter().filter_map(|topic| sample.lag.get(topic)).copied().max());
        let exceeded: Vec<usize> = worst.flatten().map(|lag| ladder.exceeded(lag)).collect();
        let (least, most) = (exceeded.iter().min(), exceeded.iter().max());
        // While Kafka did not answer there is nothing to judge by.
        let (least, most) = (least?, most?);
        Some((change.replicas, ladder.rungs[*least..=*most].to_vec()))
    });
    judged.filter(|(replicas, right)| !right.contains(replicas)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(lags: &[(u64, i64)], replicas: &[(u64, i32)]) -> (Vec<Sample>, Vec<Change>) {
        let start = Instant::now();
        let at = |milliseconds: &u64| start + Duration::from_millis(*milliseconds);
        let samples = lags.iter().map(|(when, lag)| Sample {
            at: at(when),
            lag: [("t".to_owned(), *lag)].into(),
        });
        let changes = replicas.iter().map(|(when, replicas)| Change {
            at: at(when),
            replicas: *replicas,
        });
        (samples.collect(), changes.collect())
    }

    fn ladder() -> Ladder {
        Ladder::new(2, 8, vec![100, 500, 1000])
    }

    fn took(lags: &[(u64, i64)], replicas: &[(u64, i32)]) -> Vec<(i64, Option<u64>)> {
        let (samples, changes) = recording(lags, replicas);
        let found = reactions(&ladder(), &["t".to_owned()], &samples, &changes);
        let milliseconds = |reaction: Reaction| (reaction.threshold, reaction.took.map(|took| took.as_millis() as u64));
        found.into_iter().map(milliseconds).collect()
    }

    #[test]
    fn time_runs_from_one_interval_above_the_threshold_to_the_new_count() {
        let lags = [
            (1000, 0),
            (1100, 150),
            (1200, 150),
            (1300, 150),
            (1400, 150),
            (1500, 150),
            (1900, 150),
            (2000, 0),
        ];
        assert_eq!(took(&lags, &[(0, 2), (1800, 4)]), [(100, Some(500))]);
    }

    #[test]
    fn one_step_answers_every_threshold_below_it() {
        let lags = [
            (1000, 150),
            (1100, 600),
            (1300, 600),
            (1400, 2000),
            (1700, 2000),
            (2100, 0),
        ];
        let found = took(&lags, &[(0, 2), (2000, 8)]);
        assert_eq!(found, [(100, Some(800)), (500, Some(700)), (1000, Some(400))]);
    }

    #[test]
    fn a_short_peak_asks_for_nothing_and_a_decision_before_the_interval_takes_no_time() {
        assert_eq!(
            took(
                &[(1000, 150), (1100, 150), (1200, 0), (1500, 150), (1600, 50)],
                &[(0, 2)]
            ),
            []
        );
        assert_eq!(
            took(
                &[(1000, 150), (1100, 150), (1200, 150), (1300, 0)],
                &[(0, 2), (1150, 4)]
            ),
            [(100, Some(0))]
        );
    }

    #[test]
    fn a_lag_that_went_away_unanswered_is_told() {
        let (samples, changes) = recording(&[(1000, 150), (1300, 150), (5000, 150), (5100, 0)], &[(0, 2)]);
        let found = reactions(&ladder(), &["t".to_owned()], &samples, &changes);
        let expected = Reaction {
            threshold: 100,
            took: None,
            waited: Duration::from_millis(3900),
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_decision_that_comes_when_the_lag_has_just_gone_counts_and_a_much_later_one_does_not() {
        let lags = [(1000, 150), (1300, 150), (1400, 0), (2000, 0), (9000, 0)];
        assert_eq!(took(&lags, &[(0, 2), (1700, 4)]), [(100, Some(500))]);
        assert_eq!(took(&lags, &[(0, 2), (8500, 4)]), [(100, None)]);
    }

    #[test]
    fn a_step_must_be_the_one_that_the_lag_asked_for() {
        let lags = [(1000, 150), (1500, 2000)];
        let topics = ["t".to_owned()];
        let wrong = |replicas: &[(u64, i32)]| {
            let (samples, changes) = recording(&lags, replicas);
            wrong_steps(&ladder(), &topics, &samples, &changes, Duration::from_secs(1))
        };
        assert_eq!(wrong(&[(0, 2), (1600, 8)]), []);
        assert_eq!(wrong(&[(0, 2), (1100, 8)]), [(8, vec![4])]);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let times = |seconds: &[u64]| seconds.iter().copied().map(Duration::from_secs).collect();
        assert_eq!(median(times(&[])), None);
        assert_eq!(median(times(&[9, 1, 2])), Some(Duration::from_secs(2)));
        assert_eq!(median(times(&[4, 1, 2, 9])), Some(Duration::from_secs(3)));
    }
}
