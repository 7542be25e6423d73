//! The loop that reads, decides and patches: one task a pipeline.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chrono::Utc;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use tokio::sync::watch;
use tracing::{info, warn};

use super::decide::{Decision, Observation, Policy, Reason, decide};
use super::delay::Delay;
use super::followers::Shared;
use super::health::Health;
use super::lag::{self, Lag};
use super::manual;
use super::meter::{Measured, Meter};
use super::reader::{self, Refused, State, coarse};
use super::seen::{Change, Ill, Seen, Snapshot};
use super::target::{READ_INTERVAL, Reader, Target};
use crate::api::SyncPipeline;
use crate::kafka::KafkaError;
use crate::kafka::offsets::{Company, GroupState, Kept, Reading};
use crate::trace::keeper::{Keeper, Subject};
use crate::trace::line::{Line, Rules};

/// Field manager of the replicas of Kafka readers.
pub const FIELD_MANAGER: &str = "syncpipeline-scaler";
/// How often groups are asked whether they rebalance.
const GROUP_INTERVAL: Duration = Duration::from_secs(1);
/// How long a group that cannot be asked is taken to be as it was.
const GROUP_MAX_AGE: Duration = Duration::from_secs(5);
/// How often a changed lag may lead to a new status.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// How long a patch may take to come back through the watch.
const PATCH_ECHO: Duration = Duration::from_secs(5);
/// Longest wait for the answer to a patch.
const PATCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait between attempts at a cluster that does not answer.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// A consumer group.
struct Group {
    /// When it was seen last.
    seen: Duration,
    members: i32,
    /// Since when it has been rebalancing.
    rebalancing: Option<Duration>,
}

/// What a status shows of each reader, as far as it changes by itself.
type Told = BTreeMap<String, (Lag, Option<Reason>, Option<Duration>, Option<Health>)>;

/// One pipeline, followed.
pub(super) struct Follower {
    shared: Arc<Shared>,
    object: ObjectRef<SyncPipeline>,
    reference: ObjectReference,
    target: watch::Receiver<Target>,
    snapshot: Arc<Mutex<Snapshot>>,
    kept: Kept,
    /// What a pod of each reader writes in a second, as the status said when this began.
    known: BTreeMap<String, f64>,
    readers: HashMap<String, State>,
    /// The groups as they were last seen.
    groups: HashMap<String, Group>,
    /// What the pods use; nothing where no reader is scaled.
    meter: Option<Meter>,
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
        known: BTreeMap<String, f64>,
    ) -> Follower {
        Follower {
            shared,
            object,
            reference,
            target,
            snapshot,
            kept: Kept::default(),
            known,
            readers: HashMap::new(),
            groups: HashMap::new(),
            meter: None,
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
            self.measure(target.scales());
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

    /// Has the pods measured as long as somebody is scaled.
    fn measure(&mut self, wanted: bool) {
        if !wanted {
            self.meter = None;
        } else if self.meter.is_none() {
            let namespace = self.object.namespace.as_deref().unwrap_or_default();
            self.meter = Some(Meter::start(self.shared.client.clone(), namespace, &self.object.name));
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
            // Groups that cannot be asked are as they were last seen, for a while.
            self.note_groups(cluster.groups(groups).await.unwrap_or_default());
        }
        Ok(reading)
    }

    /// Notes what the groups are like now; one that has not been seen for a while is forgotten.
    fn note_groups(&mut self, states: BTreeMap<String, GroupState>) {
        let now = self.epoch.elapsed();
        self.groups.retain(|_, group| now < group.seen + GROUP_MAX_AGE);
        for (name, state) in states {
            let since = self.groups.get(&name).and_then(|group| group.rebalancing);
            let group = Group {
                seen: now,
                members: state.members,
                rebalancing: state.is_rebalancing.then(|| since.unwrap_or(now)),
            };
            self.groups.insert(name, group);
        }
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
        let measured = self.meter.as_ref().map_or(Measured::NotYet, Meter::latest);
        for reader in &target.readers {
            let mut state = match self.readers.remove(&reader.component) {
                Some(state) => state,
                None => self.remembered(&reader.component),
            };
            let (of_reader, patched) = self.act_on(reader, &mut state, reading, &measured, now).await;
            seen.insert(reader.component.clone(), of_reader);
            changed |= patched;
            self.readers.insert(reader.component.clone(), state);
        }
        let reason = |seen: &Seen| seen.decision.as_ref().map(|decision| decision.reason);
        let shown: Told = seen
            .iter()
            .map(|(name, seen)| {
                let delay = seen.delay.map(|delay| coarse(delay.lower_bound()));
                let ill = seen.ill.as_ref().map(|ill| ill.health);
                (name.clone(), (seen.lag, reason(seen), delay, ill))
            })
            .collect();
        let problem_changed = {
            let Ok(mut snapshot) = self.snapshot.lock() else { return };
            let was = snapshot.problem.as_ref().map(KafkaError::reason);
            let is = problem.as_ref().map(KafkaError::reason);
            let unmeasured = measured.problem().map(str::to_owned);
            let differs = was != is || snapshot.unmeasured.is_some() != unmeasured.is_some();
            *snapshot = Snapshot {
                readers: seen,
                problem,
                unmeasured,
            };
            differs
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
        state: &mut State,
        reading: &Reading,
        measured: &Measured,
        now: Duration,
    ) -> (Seen, bool) {
        state.follow(reader.policy.as_ref());
        let nothing = BTreeMap::new();
        let of_group = reading.get(&reader.group).unwrap_or(&nothing);
        let mut lags = Vec::with_capacity(reader.topics.len());
        let mut total = Lag::Known(0);
        // What waits, also where it is no reason for pods.
        let mut waiting = Vec::with_capacity(reader.topics.len());
        let members = self.groups.get(&reader.group).map(|group| group.members);
        let mut delay = None;
        let mut healths = vec![];
        for topic in &reader.topics {
            let partitions = of_group.get(topic).map_or(&[][..], Vec::as_slice);
            let present = lag::of_topic(partitions);
            let look = state.look_at(reader, topic, partitions, members, now);
            self.show(reader, topic, present, look.delay, &look.health);
            delay = delay.max(look.delay);
            let ill = look.health.iter().filter(|health| **health != Health::Ok);
            healths.extend(ill.map(|health| (topic.clone(), *health)));
            total = lag::both(total, present);
            let lowest = state.lowest(reader, topic, now, look.readable);
            waiting.push((topic.clone(), look.unreadable(lowest)));
            lags.push((topic.clone(), lowest));
        }
        let mut patched = false;
        let mut decision = None;
        if let (Some(policy), Some(replicas)) = (&reader.policy, self.replicas(reader, state)) {
            let group = self.groups.get(&reader.group);
            let rebalancing = group.and_then(|group| group.rebalancing);
            let rebalancing = rebalancing.map(|since| now.saturating_sub(since));
            let status = self.deployment(reader).and_then(|found| found.status.clone());
            let ready = status.and_then(|status| status.ready_replicas).unwrap_or(0);
            // Ready pods that have not joined yet do not read. A pod may have several members, and one that takes its
            // partitions by itself has none.
            let joined = members.filter(|members| *members > 0);
            let readers = joined.map_or(ready, |joined| ready.min(joined));
            let unready = joined.map_or(0, |joined| joined.min(replicas).saturating_sub(readers).max(0));
            let observation = Observation {
                now,
                replicas,
                lags,
                flow: reader::flow(reader, of_group, readers, unready),
                ready,
                rebalancing,
                manual: self.by_hand(reader, state, replicas),
                floors: state.floors(reader, policy, measured, now, replicas, ready),
            };
            self.trace_policy(reader, policy, state);
            let made = decide(policy, &observation, &mut state.memory);
            state.note(observation, &made);
            if made.wanted != replicas {
                patched = self.patch(reader, state, replicas, &made).await;
            }
            decision = Some(made);
        }
        (
            Seen {
                lag: lag::worst(&waiting),
                total,
                delay,
                ill: Ill::most(healths),
                pod_rate: state.memory.pod_rate(),
                decision,
                changed: state.changed.clone(),
            },
            patched,
        )
    }

    /// Begins a trace with the policy, where one is asked for.
    fn trace_policy(&self, reader: &Reader, policy: &Policy, state: &mut State) {
        if !reader.trace {
            state.trace = None;
            return;
        }
        if state.trace.is_some() {
            return;
        }
        let subject = Subject {
            namespace: self.object.namespace.clone().unwrap_or_default(),
            pipeline: self.object.name.clone(),
            component: reader.component.clone(),
            owner: OwnerReference {
                api_version: self.reference.api_version.clone().unwrap_or_default(),
                kind: self.reference.kind.clone().unwrap_or_default(),
                name: self.object.name.clone(),
                uid: self.reference.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            },
        };
        let keeper = Keeper::start(self.shared.client.clone(), subject);
        keeper.push(Line::Policy(Box::new(Rules {
            component: reader.component.clone(),
            policy: policy.clone(),
            pod_rate: state.memory.pod_rate(),
        })));
        state.trace = Some((keeper, None));
    }

    /// The state of a reader that is new here: what the status says of it is known.
    fn remembered(&self, component: &str) -> State {
        State::that_knows(self.known.get(component).copied())
    }

    /// Replicas that the Deployment asks for; absent while it does not exist.
    fn replicas(&self, reader: &Reader, state: &mut State) -> Option<i32> {
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
    fn by_hand(&self, reader: &Reader, state: &mut State, replicas: i32) -> Option<(String, Duration)> {
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

    async fn patch(&self, reader: &Reader, state: &mut State, from: i32, decision: &Decision) -> bool {
        let namespace = self.object.namespace.as_deref().unwrap_or_default();
        let api: Api<Deployment> = Api::namespaced(self.shared.client.clone(), namespace);
        let parameters = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        if state
            .refused
            .as_ref()
            .is_some_and(|refused| Instant::now() < refused.until)
        {
            return false;
        }
        let scale = json!({"spec": {"replicas": decision.wanted}});
        let to = decision.wanted;
        let patch = Patch::Merge(&scale);
        let patched = api.patch_scale(&reader.deployment, &parameters, &patch);
        if let Err(error) = answered(patched, PATCH_TIMEOUT).await {
            warn!(pipeline = %self.object, component = reader.component, error, "cannot change the replicas");
            state.refused = Some(Refused::after(state.refused.take()));
            return false;
        }
        state.refused = None;
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
            self.shared
                .metrics
                .hide_topic(&[namespace, &self.object.name, group, topic]);
        }
        self.shown.retain(keep);
    }

    /// Shows how far a group is behind, at least, and how its partitions are doing; what is not known has no series.
    fn show(&mut self, reader: &Reader, topic: &str, lag: Lag, delay: Option<Delay>, health: &[Health]) {
        let shown = (reader.group.clone(), topic.to_owned());
        let Some(lag) = lag.lower_bound() else {
            return self.hide(|other| *other != shown);
        };
        let namespace = self.object.namespace.as_deref().unwrap_or_default();
        let labels = [namespace, &self.object.name, &reader.group, topic];
        let metrics = &self.shared.metrics;
        metrics.show_topic(&labels, lag, delay.map(Delay::lower_bound), health);
        metrics.show_retention(&labels, reader.retention.get(topic).copied());
        self.shown.insert(shown);
    }
}

/// What the API server says to a change, within a time.
async fn answered<T>(change: impl Future<Output = kube::Result<T>>, within: Duration) -> Result<T, String> {
    match tokio::time::timeout(within, change).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", within.as_secs_f64())),
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

    #[tokio::test]
    async fn a_change_that_is_not_answered_holds_up_nobody() {
        let short = Duration::from_millis(500);
        assert_eq!(
            answered(std::future::pending::<kube::Result<()>>(), short).await,
            Err("no answer within 0.5 s".to_owned())
        );
        assert_eq!(answered(async { Ok(3) }, short).await, Ok(3));
    }

    #[test]
    fn everybody_has_the_same_turns() {
        let until = |now| until_turn(Duration::from_millis(now), SHOW_INTERVAL).as_millis();
        assert_eq!([until(0), until(1), until(999), until(1000)], [1000, 999, 1, 1000]);
    }
}
