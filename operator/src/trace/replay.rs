//! Lines of a trace → decisions. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::line::{Line, Look, Rules};
use crate::scale::decide::{Decision, Memory, decide};

/// A decision that was made once more.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// Name of the component.
    pub component: String,
    /// When it was made.
    pub time: DateTime<Utc>,
    /// Replicas before.
    pub replicas: i32,
    /// What is decided now.
    pub decision: Decision,
    /// What was decided then, where it was another number of replicas.
    pub then: Option<Decision>,
}

impl Replayed {
    /// Whether replicas change, then or now.
    pub fn matters(&self) -> bool {
        self.decision.wanted != self.replicas || self.then.is_some()
    }
}

/// All decisions of a trace, by the policies in it or by another one. Looks before the first policy are left out.
pub fn replay(lines: &[Line], other: Option<&Rules>) -> Vec<Replayed> {
    let mut state: Option<(Rules, Memory)> = None;
    let mut last = Duration::ZERO;
    let mut then: Option<Decision> = None;
    let mut replayed = vec![];
    for line in lines {
        match line {
            Line::Policy(rules) => {
                let rules = other.unwrap_or(rules);
                let is_same = |(known, _): &(Rules, Memory)| known.policy == rules.policy;
                // A piece repeats what still holds.
                if !state.as_ref().is_some_and(is_same) {
                    let memory = match state.take() {
                        Some((_, mut memory)) => {
                            memory.interrupt();
                            memory
                        }
                        None => Memory::with_pod_rate(rules.pod_rate),
                    };
                    state = Some((rules.clone(), memory));
                } else if let Some((known, _)) = &mut state {
                    known.pod_rate = rules.pod_rate;
                }
            }
            Line::Look(look) => {
                let Look { time, seen, decision } = look.as_ref();
                if decision.is_some() {
                    then.clone_from(decision);
                }
                let Some((rules, memory)) = &mut state else { continue };
                // Another operator, which counts from its own start and knows nothing but what the status says.
                if seen.now < last {
                    *memory = Memory::with_pod_rate(rules.pod_rate);
                }
                last = seen.now;
                let now = decide(&rules.policy, seen, memory);
                replayed.push(Replayed {
                    component: rules.component.clone(),
                    time: *time,
                    replicas: seen.replicas,
                    then: then.clone().filter(|then| then.wanted != now.wanted),
                    decision: now,
                });
            }
        }
    }
    replayed
}

/// A line for each decision that matters, or for each of another kind than the one before it where `all` are asked for.
pub fn report(replayed: &[Replayed], all: bool) -> String {
    let mut lines = String::new();
    let mut before = None;
    for one in replayed {
        let kind = (one.decision.wanted, one.decision.reason);
        let is_new = before != Some(kind);
        before = Some(kind);
        if !(one.matters() || all && is_new) {
            continue;
        }
        let Decision {
            wanted,
            reason,
            message,
            ..
        } = &one.decision;
        let time = one.time.format("%Y-%m-%dT%H:%M:%S%.3fZ");
        lines += &format!(
            "{time}  {}  {} → {wanted}  {reason}: {message}\n",
            one.component, one.replicas
        );
        if let Some(then) = &one.then {
            lines += &format!("    then: {}  {}: {}\n", then.wanted, then.reason, then.message);
        }
    }
    let differences = replayed.iter().filter(|one| one.then.is_some()).count();
    lines
        + &format!(
            "{} looks, {differences} of them decided differently then\n",
            replayed.len()
        )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ladder::Bounds;
    use crate::scale::climb::Climb;
    use crate::scale::decide::{Observation, Reason, Rule};
    use crate::scale::lag::Lag;
    use crate::scale::target::with_rule;

    fn climbing(thresholds: &[i64]) -> Rules {
        let bounds = Bounds { min: 4, max: 16 };
        let rule = Rule::Climb(Climb::new(bounds, thresholds.to_vec()));
        Rules {
            component: "sms".to_owned(),
            policy: with_rule(rule, bounds, Duration::from_secs(300), Duration::from_millis(500)),
            pod_rate: None,
        }
    }

    pub(crate) fn rules() -> Line {
        Line::Policy(Box::new(climbing(&[100, 500, 1000])))
    }

    pub(crate) fn look(second: u32, lag: i64) -> Line {
        let begin: DateTime<Utc> = "2026-11-20T08:00:00Z".parse().unwrap();
        let now = Duration::from_secs(second.into());
        Line::Look(Box::new(Look {
            time: begin + now,
            seen: Observation {
                now,
                replicas: 4,
                lags: vec![("sms_batched".to_owned(), Lag::Known(lag))],
                flow: None,
                ready: 4,
                rebalancing: None,
                manual: None,
                floors: vec![],
            },
            decision: None,
        }))
    }

    fn decided(line: Line, wanted: i32) -> Line {
        let Line::Look(mut look) = line else { return line };
        look.decision = Some(Decision {
            wanted,
            exceeded: Some(0),
            reason: Reason::Steady,
            message: "as it was".to_owned(),
        });
        Line::Look(look)
    }

    #[test]
    fn the_same_looks_lead_to_the_same_decisions() {
        let lines = [rules(), decided(look(0, 5), 4), look(1, 101), decided(look(2, 501), 12)];
        let replayed = replay(&lines, None);
        let wanted: Vec<i32> = replayed.iter().map(|one| one.decision.wanted).collect();
        assert_eq!(wanted, [4, 8, 12]);
        let different: Vec<bool> = replayed.iter().map(|one| one.then.is_some()).collect();
        assert_eq!(different, [false, true, false]);
        assert_eq!(
            report(&replayed, false),
            "2026-11-20T08:00:01.000Z  sms  4 → 8  LagAboveThreshold: lag 101 of sms_batched is above 100\n    \
             then: 4  Steady: as it was\n\
             2026-11-20T08:00:02.000Z  sms  4 → 12  LagAboveThreshold: lag 501 of sms_batched is above 500\n\
             3 looks, 1 of them decided differently then\n"
        );
    }

    #[test]
    fn another_policy_may_be_tried() {
        let lines = [rules(), look(0, 150)];
        let wanted = |other: Option<&Rules>| replay(&lines, other)[0].decision.wanted;
        assert_eq!(wanted(None), 8);
        assert_eq!(wanted(Some(&climbing(&[200, 500, 1000]))), 4);
    }

    #[test]
    fn another_operator_counts_from_its_own_start() {
        let lines = [rules(), look(500, 5), rules(), look(0, 5), look(1, 700)];
        let wanted: Vec<i32> = replay(&lines, None).iter().map(|one| one.decision.wanted).collect();
        assert_eq!(wanted, [4, 4, 12]);
    }

    #[test]
    fn a_line_is_itself_again_after_json() {
        for line in [rules(), decided(look(7, 3), 4)] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line, "{text}");
        }
    }
}
