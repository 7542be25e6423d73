//! The loop that reads, decides and patches: one task a pipeline.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::Utc;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};

use super::decide::{Decision, Memory, Observation, Reason, decide};
use super::followers::Shared;
use super::lag::{self, Lag};
use super::manual;
use super::seen::{Change, Seen, Snapshot};
use super::target::{READ_INTERVAL, Reader, Target};
use super::window::Window;
use crate::api::SyncPipeline;
use crate::kafka::KafkaError;
use crate::kafka::offsets::{Company, Kept, Reading};

/// Field manager of the replicas of Kafka readers.
pub const FIELD_MANAGER: &str = "syncpipeline-scaler";
/// How often groups are asked whether they rebalance.
const GROUP_INTERVAL: Duration = Duration::from_secs(1);
/// How often a changed lag may lead to a new status.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// How long a patch may take to come back through the watch.
const PATCH_ECHO: Duration = Duration::from_secs(5);
/// Longest wait between attempts at a cluster that does not answer.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// State of one reader between two readings.
#[derive(Default)]
struct ReaderState {
    windows: BTreeMap<String, Window>,
    memory: Memory,
    changed: Option<Change>,
    /// Replicas that were patched and have not come back through the watch yet.
    patched: Option<(i32, Instant)>,
    /// Replicas that somebody else has set, and since when they are seen.
    by_hand: Option<(i32, Instant)>,
}

/// What a status shows of each reader, as far as it changes by itself.
type Told = BTreeMap<String, (Lag, Option<Reason>)>;

/// One pipeline, followed.
pub(super) struct Follower {
    shared: Arc<Shared>,
    object: ObjectRef<SyncPipeline>,
    reference: ObjectReference,
    target: watch::Receiver<Target>,
    snapshot: Arc<Mutex<Snapshot>>,
    kept: Kept,
    readers: HashMap<String, ReaderState>,
    /// Since when a group has been rebalancing.
    rebalancing: HashMap<String, Duration>,
    epoch: Instant,
    /// When, and with what lags and reasons, the last reconcile was asked for.
    told: Option<(Instant, Told)>,
    /// Groups and topics whose lag is among the metrics.
    shown: BTreeSet<(String, String)>,
}

impl Drop for Follower {
    /// A pipeline that is gone leaves no lag behind.
    fn drop(&mut self) {
        self.hide(|_| false);
    }
}

impl Follower {
    /// A follower that has seen nothing yet; it writes what it sees to `snapshot`.
    pub(super) fn new(
        shared: Arc<Shared>,
        object: ObjectRef<SyncPipeline>,
        reference: ObjectReference,
        target: watch::Receiver<Target>,
        snapshot: Arc<Mutex<Snapshot>>,
    ) -> Follower {
        Follower {
            shared,
            object,
            reference,
            target,
            snapshot,
            kept: Kept::default(),
            readers: HashMap::new(),
            rebalancing: HashMap::new(),
            epoch: Instant::now(),
            told: None,
            shown: BTreeSet::new(),
        }
    }

    /// Follows until the task is aborted.
    pub(super) async fn run(mut self) {
        let mut groups_read: Option<Instant> = None;
        let mut failures = 0u32;
        // What is new is read at once.
        let mut wait = Duration::ZERO;
        loop {
            tokio::time::sleep(wait).await;
            if self.target.has_changed().is_ok_and(|changed| changed) {
                // Partitions may have been added, or another topic be meant: everything is read anew.
                self.kept = Kept::default();
            }
            let target = self.target.borrow_and_update().clone();
            // A rebalance holds decisions back; where none are made, nobody asks.
            let groups_due = target.scales() && groups_read.is_none_or(|read| read.elapsed() >= GROUP_INTERVAL);
            match self.read(&target, groups_due).await {
                Ok(reading) => {
                    failures = 0;
                    if groups_due {
                        groups_read = Some(Instant::now());
                    }
                    self.act(&target, &reading, None).await;
                }
                Err(problem) => {
                    self.act(&target, &Reading::new(), Some(problem)).await;
                    failures += 1;
                    let wait = READ_INTERVAL.saturating_mul(1 << failures.min(6)).min(MAX_BACKOFF);
                    tokio::time::sleep(wait).await;
                }
            }
            // All followers read at the same moments, so that those who may can do it together.
            wait = until_turn(self.shared.epoch.elapsed(), target.interval());
        }
    }

    async fn read(&mut self, target: &Target, groups_due: bool) -> Result<Reading, KafkaError> {
        let cluster = self.shared.clusters.get(&target.connection).await?;
        let begun = Instant::now();
        let company = if target.scales() {
            Company::Alone
        } else {
            Company::Others
        };
        let reading = match cluster.read_offsets(&target.subject, &mut self.kept, company).await {
            Ok(reading) => reading,
            Err(error) => {
                self.shared.clusters.forget(&target.connection).await;
                return Err(error);
            }
        };
        self.shared
            .metrics
            .offset_read_duration
            .observe(begun.elapsed().as_secs_f64());
        if groups_due {
            let groups = target.subject.groups.keys().cloned().collect();
            if let Ok(busy) = cluster.rebalancing(groups).await {
                let now = self.epoch.elapsed();
                self.rebalancing.retain(|group, _| busy.contains(group));
                for group in busy {
                    self.rebalancing.entry(group).or_insert(now);
                }
            }
        }
        Ok(reading)
    }

    async fn act(&mut self, target: &Target, reading: &Reading, problem: Option<KafkaError>) {
        let now = self.epoch.elapsed();
        let mut seen = BTreeMap::new();
        let mut changed = false;
        self.readers
            .retain(|component, _| target.readers.iter().any(|reader| reader.component == *component));
        let followed: BTreeSet<(String, String)> = target
            .readers
            .iter()
            .flat_map(|reader| reader.topics.iter().map(|topic| (reader.group.clone(), topic.clone())))
            .collect();
        self.hide(|shown| followed.contains(shown));
        for reader in &target.readers {
            let mut state = self.readers.remove(&reader.component).unwrap_or_default();
            let (of_reader, patched) = self.act_on(reader, &mut state, reading, now).await;
            seen.insert(reader.component.clone(), of_reader);
            changed |= patched;
            self.readers.insert(reader.component.clone(), state);
        }
        let reason = |seen: &Seen| seen.decision.as_ref().map(|decision| decision.reason);
        let shown: Told = seen
            .iter()
            .map(|(name, seen)| (name.clone(), (seen.lag, reason(seen))))
            .collect();
        let problem_changed = {
            let Ok(mut snapshot) = self.snapshot.lock() else { return };
            let was = snapshot.problem.as_ref().map(KafkaError::reason);
            let is = problem.as_ref().map(KafkaError::reason);
            *snapshot = Snapshot { readers: seen, problem };
            was != is
        };
        let stale = self
            .told
            .as_ref()
            .is_none_or(|(told, known)| told.elapsed() >= STATUS_INTERVAL && *known != shown);
        if changed || problem_changed || stale {
            self.told = Some((Instant::now(), shown));
            // Nobody listens only while the operator stops.
            let _ = self.shared.nudge.send(self.object.clone());
        }
    }

    async fn act_on(
        &mut self,
        reader: &Reader,
        state: &mut ReaderState,
        reading: &Reading,
        now: Duration,
    ) -> (Seen, bool) {
        let nothing = BTreeMap::new();
        let of_group = reading.get(&reader.group).unwrap_or(&nothing);
        let mut lags = Vec::with_capacity(reader.topics.len());
        let mut total = Lag::Known(0);
        for topic in &reader.topics {
            let present = of_group
                .get(topic)
                .map_or(Lag::Unknown, |partitions| lag::of_topic(partitions));
            self.show(&reader.group, topic, present);
            total = lag::both(total, present);
            let window = state
                .windows
                .entry(topic.clone())
                .or_insert_with(|| Window::new(reader.commit_interval));
            window.push(now, present);
            lags.push((topic.clone(), window.lowest()));
        }
        let worst = lag::worst(&lags);
        let mut patched = false;
        let mut decision = None;
        if let (Some(policy), Some(replicas)) = (&reader.policy, self.replicas(reader, state)) {
            let rebalancing = self
                .rebalancing
                .get(&reader.group)
                .map(|since| now.saturating_sub(*since));
            let observation = Observation {
                now,
                replicas,
                lags,
                rebalancing,
                manual: self.by_hand(reader, state, replicas),
            };
            let made = decide(policy, &observation, &mut state.memory);
            if made.wanted != replicas {
                patched = self.patch(reader, state, replicas, &made).await;
            }
            decision = Some(made);
        }
        (
            Seen {
                lag: worst,
                total,
                decision,
                changed: state.changed.clone(),
            },
            patched,
        )
    }

    /// Replicas that the Deployment asks for; absent while it does not exist.
    fn replicas(&self, reader: &Reader, state: &mut ReaderState) -> Option<i32> {
        let watched = self.deployment(reader)?.spec.replicas.unwrap_or(1);
        match state.patched {
            Some((replicas, since)) if replicas != watched && since.elapsed() < PATCH_ECHO => Some(replicas),
            _ => {
                state.patched = None;
                Some(watched)
            }
        }
    }

    /// Who else has set the replicas, and how long ago, or for how long this has been seen; nobody while an own patch
    /// is on its way.
    fn by_hand(&self, reader: &Reader, state: &mut ReaderState, replicas: i32) -> Option<(String, Duration)> {
        let setter = match state.patched {
            Some(_) => None,
            None => self
                .deployment(reader)
                .and_then(|deployment| manual::last_setter(&deployment)),
        };
        let Some((who, at)) = setter else {
            state.by_hand = None;
            return None;
        };
        let seen = match state.by_hand {
            Some((count, since)) if count == replicas => since,
            _ => Instant::now(),
        };
        state.by_hand = Some((replicas, seen));
        let since = at.and_then(|at| (Utc::now() - at).to_std().ok());
        Some((who, since.unwrap_or_else(|| seen.elapsed())))
    }

    fn deployment(&self, reader: &Reader) -> Option<Arc<Deployment>> {
        let namespace = self.object.namespace.as_deref().unwrap_or_default();
        self.shared.deployments.get(namespace, &reader.deployment)
    }

    async fn patch(&self, reader: &Reader, state: &mut ReaderState, from: i32, decision: &Decision) -> bool {
        let namespace = self.object.namespace.as_deref().unwrap_or_default();
        let api: Api<Deployment> = Api::namespaced(self.shared.client.clone(), namespace);
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let scale = json!({"spec": {"replicas": decision.wanted}});
        let to = decision.wanted;
        if let Err(error) = api
            .patch_scale(&reader.deployment, &parameters, &Patch::Merge(&scale))
            .await
        {
            warn!(pipeline = %self.object, component = reader.component, %error, "cannot change the replicas");
            return false;
        }
        let direction = if to > from { "up" } else { "down" };
        info!(
            pipeline = %self.object, component = reader.component, from, to, reason = %decision.reason,
            message = decision.message, "scaled"
        );
        self.shared
            .metrics
            .decisions
            .with_label_values(&[namespace, &self.object.name, &reader.component, direction])
            .inc();
        state.patched = Some((to, Instant::now()));
        state.changed = Some(Change {
            time: Utc::now(),
            from,
            to,
            reason: decision.reason,
            message: decision.message.clone(),
        });
        let event = Event {
            type_: EventType::Normal,
            reason: if to > from { "ScaledUp" } else { "ScaledDown" }.to_owned(),
            note: Some(format!("{} {from} → {to}: {}", reader.component, decision.message)),
            // Events that agree in all but their note are counted as one: each step of each component is its own.
            action: format!("Scale{from}To{to}"),
            secondary: Some(ObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: Some("Deployment".to_owned()),
                namespace: self.object.namespace.clone(),
                name: Some(reader.deployment.clone()),
                ..ObjectReference::default()
            }),
        };
        let (shared, reference) = (self.shared.clone(), self.reference.clone());
        // The Event must not hold up the next reading.
        tokio::spawn(async move {
            if let Err(error) = shared.recorder.publish(&event, &reference).await {
                warn!(%error, "cannot write an Event");
            }
        });
        true
    }

    /// Takes the lag of topics that are not followed any more out of the metrics, where it would stay at its last
    /// value.
    fn hide(&mut self, keep: impl Fn(&(String, String)) -> bool) {
        let namespace = self.object.namespace.as_deref().unwrap_or_default();
        for (group, topic) in self.shown.iter().filter(|shown| !keep(shown)) {
            let labels = [namespace, &self.object.name, group, topic];
            // Fails where there is none already.
            let _ = self.shared.metrics.lag.remove_label_values(&labels);
        }
        self.shown.retain(keep);
    }

    /// Shows how far a group is behind, at least; what is not known has no series.
    fn show(&mut self, group: &str, topic: &str, lag: Lag) {
        let shown = (group.to_owned(), topic.to_owned());
        let Some(lag) = lag.lower_bound() else {
            return self.hide(|other| *other != shown);
        };
        let namespace = self.object.namespace.as_deref().unwrap_or_default();
        let labels = [namespace, &self.object.name, group, topic];
        self.shared.metrics.lag.with_label_values(&labels).set(lag);
        self.shown.insert(shown);
    }
}

/// How long it is until the next multiple of `interval`.
fn until_turn(now: Duration, interval: Duration) -> Duration {
    let past = now.as_micros() % interval.as_micros();
    interval - Duration::from_micros(u64::try_from(past).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::target::SHOW_INTERVAL;
    use super::*;

    #[test]
    fn everybody_has_the_same_turns() {
        let until = |now| until_turn(Duration::from_millis(now), SHOW_INTERVAL).as_millis();
        assert_eq!([until(0), until(1), until(999), until(1000)], [1000, 999, 1, 1000]);
    }
}
