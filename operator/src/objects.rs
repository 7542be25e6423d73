//! The objects that the operator made, as its watches see them, and at which version each was last found to be as
//! planned. Pure: a pass that finds all of its objects here as planned asks the API server nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::runtime::reflector::ObjectRef;

use crate::api::SyncPipeline;

/// Annotation that the Deployment's own controller writes.
const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";

/// What was seen of all kinds.
#[derive(Debug)]
pub struct Objects {
    /// Identities of the pods.
    pub accounts: Table,
    /// Services.
    pub services: Table,
    /// Deployments.
    pub deployments: Table,
    /// Ingresses.
    pub ingresses: Table,
    /// Autoscalers.
    pub autoscalers: Table,
    /// Budgets for voluntary disruptions.
    pub budgets: Table,
    /// Network policies.
    pub network_policies: Table,
}

impl Default for Objects {
    fn default() -> Self {
        Objects {
            accounts: Table::new(Counts::EveryWrite),
            services: Table::new(Counts::EveryWrite),
            deployments: Table::new(Counts::Generation),
            ingresses: Table::new(Counts::EveryWrite),
            autoscalers: Table::new(Counts::EveryWrite),
            budgets: Table::new(Counts::Generation),
            network_policies: Table::new(Counts::EveryWrite),
        }
    }
}

/// What makes another version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Every write.
    EveryWrite,
    /// A change of its spec or metadata, not of its status. For kinds whose generation counts the changes of the spec
    /// and whose controllers write a status: a pod that comes and goes is no reason to look at the whole object.
    Generation,
}

/// The pipelines that have to be looked at for a change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Touched {
    /// The pipelines.
    pub pipelines: Vec<ObjectRef<SyncPipeline>>,
    /// Whether this may be nothing but an own write, which can come back through the watch before its answer does:
    /// [`Table::is_in_doubt`] knows a moment later.
    pub perhaps_own: bool,
}

/// Stands for what an object was at one moment, as far as the plan may ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(u64);

/// What is known of an object from its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glimpse {
    version: Version,
    uid: String,
    owner: Option<Owner>,
    leaving: bool,
    news: u64,
}

/// The SyncPipeline that an object belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    name: String,
    uid: String,
}

/// An object that is seen, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What is known of it.
    pub glimpse: Glimpse,
}

impl Seen {
    /// The object with this metadata. `news` stands for what a status tells of it, 0 for nothing.
    pub fn of(meta: &ObjectMeta, counts: Counts, news: u64) -> Seen {
        Seen {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            glimpse: Glimpse {
                version: version(meta, counts),
                uid: meta.uid.clone().unwrap_or_default(),
                owner: owner(meta),
                leaving: meta.deletion_timestamp.is_some(),
                news,
            },
        }
    }
}

fn version(meta: &ObjectMeta, counts: Counts) -> Version {
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    match (counts, meta.generation) {
        (Counts::Generation, Some(generation)) => {
            generation.hash(&mut hasher);
            meta.deletion_timestamp.is_some().hash(&mut hasher);
            meta.labels.hash(&mut hasher);
            let annotations = meta.annotations.iter().flatten();
            for annotation in annotations.filter(|(key, _)| *key != REVISION_ANNOTATION) {
                annotation.hash(&mut hasher);
            }
            for owner in meta.owner_references.iter().flatten() {
                (&owner.uid, owner.controller, owner.block_owner_deletion).hash(&mut hasher);
            }
        }
        _ => meta.resource_version.hash(&mut hasher),
    }
    Version(hasher.finish())
}

fn owner(meta: &ObjectMeta) -> Option<Owner> {
    let kind = SyncPipeline::kind(&());
    let mut owners = meta.owner_references.iter().flatten();
    let found = owners.find(|owner| owner.controller == Some(true) && owner.kind == kind)?;
    Some(Owner {
        name: found.name.clone(),
        uid: found.uid.clone(),
    })
}

/// The objects of one kind.
#[derive(Debug)]
pub struct Table {
    counts: Counts,
    rows: Mutex<Rows>,
}

/// By namespace and name.
#[derive(Debug, Default)]
struct Rows {
    seen: BTreeMap<String, BTreeMap<String, Glimpse>>,
    as_planned: BTreeMap<String, BTreeMap<String, (Version, String)>>,
}

impl Table {
    /// Nothing is seen yet.
    pub fn new(counts: Counts) -> Table {
        Table {
            counts,
            rows: Mutex::default(),
        }
    }

    /// What makes another version of an object.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether an object of this name is seen, whoever owns it.
    pub fn has(&self, namespace: &str, name: &str) -> bool {
        self.lock().glimpse(namespace, name).is_some()
    }

    /// Whether the object belongs to the pipeline with this uid and is as it was when it was found to be as planned,
    /// by a plan with this digest.
    pub fn is_as_planned(&self, namespace: &str, name: &str, uid: &str, digest: &str) -> bool {
        let rows = self.lock();
        let Some(glimpse) = rows.glimpse(namespace, name) else {
            return false;
        };
        let own = glimpse.owner.as_ref().is_some_and(|owner| owner.uid == uid);
        let noted = rows.noted(namespace, name);
        own && noted.is_some_and(|(version, planned)| *version == glimpse.version && planned == digest)
    }

    /// Notes that the object with this metadata is as a plan with this digest wants it.
    pub fn note(&self, meta: &ObjectMeta, digest: &str) {
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else {
            return;
        };
        let noted = (version(meta, self.counts), digest.to_owned());
        let mut rows = self.lock();
        let of_namespace = rows.as_planned.entry(namespace.clone()).or_default();
        of_namespace.insert(name.clone(), noted);
    }

    /// Names and uids of the objects of the pipeline with this uid that are not in `keep` and are not leaving.
    pub fn strays(&self, namespace: &str, uid: &str, keep: &BTreeSet<String>) -> Vec<(String, String)> {
        let rows = self.lock();
        let of_namespace = rows.seen.get(namespace).into_iter().flatten();
        let strays = of_namespace.filter(|(name, glimpse)| {
            let own = glimpse.owner.as_ref().is_some_and(|owner| owner.uid == uid);
            own && !glimpse.leaving && !keep.contains(*name)
        });
        strays
            .map(|(name, glimpse)| (name.clone(), glimpse.uid.clone()))
            .collect()
    }

    /// Enters an object that was made or changed.
    pub fn enter(&self, seen: &Seen) -> Touched {
        let mut rows = self.lock();
        let now = &seen.glimpse;
        let of_namespace = rows.seen.entry(seen.namespace.clone()).or_default();
        let before = of_namespace.insert(seen.name.clone(), now.clone());
        let same = before.as_ref().is_some_and(|before| before.version == now.version);
        let noted = rows.noted(&seen.namespace, &seen.name);
        let as_planned = noted.is_some_and(|(version, _)| *version == now.version);
        let news = before.as_ref().map_or(0, |before| before.news) != now.news;
        if (same || as_planned) && !news {
            return Touched::default();
        }
        Touched {
            pipelines: owners(&seen.namespace, before.as_ref(), Some(now)),
            perhaps_own: !news,
        }
    }

    /// Takes out an object that is gone.
    pub fn take_out(&self, namespace: &str, name: &str) -> Touched {
        let mut rows = self.lock();
        let before = rows.seen.get_mut(namespace).and_then(|rows| rows.remove(name));
        if let Some(rows) = rows.as_planned.get_mut(namespace) {
            rows.remove(name);
        }
        Touched {
            pipelines: owners(namespace, before.as_ref(), None),
            perhaps_own: false,
        }
    }

    /// Whether the object is gone, or seen in a version that was not found to be as planned.
    pub fn is_in_doubt(&self, namespace: &str, name: &str) -> bool {
        let rows = self.lock();
        match (rows.glimpse(namespace, name), rows.noted(namespace, name)) {
            (Some(glimpse), Some((version, _))) => glimpse.version != *version,
            _ => true,
        }
    }

    /// Puts everything that there is in `namespace`, or everywhere, in place of what was seen before.
    pub fn replace(&self, namespace: Option<&str>, present: &[Seen]) -> Touched {
        let names: BTreeSet<_> = present.iter().map(|seen| (&seen.namespace, &seen.name)).collect();
        let gone: Vec<(String, String)> = {
            let rows = self.lock();
            let all = rows
                .seen
                .iter()
                .filter(|(own, _)| namespace.is_none_or(|only| only == *own));
            let all = all.flat_map(|(own, rows)| rows.keys().map(move |name| (own, name)));
            all.filter(|key| !names.contains(key))
                .map(|(own, name)| (own.clone(), name.clone()))
                .collect()
        };
        let gone = gone.iter().map(|(own, name)| self.take_out(own, name));
        let present = present.iter().map(|seen| self.enter(seen));
        Touched {
            pipelines: gone.chain(present).flat_map(|touched| touched.pipelines).collect(),
            perhaps_own: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn glimpse(&self, namespace: &str, name: &str) -> Option<&Glimpse> {
        self.seen.get(namespace)?.get(name)
    }

    fn noted(&self, namespace: &str, name: &str) -> Option<&(Version, String)> {
        self.as_planned.get(namespace)?.get(name)
    }
}

/// Who owned the object, and who owns it now.
fn owners(namespace: &str, before: Option<&Glimpse>, now: Option<&Glimpse>) -> Vec<ObjectRef<SyncPipeline>> {
    let owner = |glimpse: Option<&Glimpse>| glimpse.and_then(|glimpse| glimpse.owner.clone());
    let (before, now) = (owner(before), owner(now));
    let mut owners: Vec<Owner> = now.into_iter().chain(before).collect();
    owners.dedup();
    let reference = |owner: Owner| ObjectRef::new(&owner.name).within(namespace);
    owners.into_iter().map(reference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOBODY: [&str; 0] = [];

    /// Metadata of an object of pipeline `p`.
    fn meta(name: &str, write: i32, generation: i32) -> ObjectMeta {
        serde_json::from_value(json!({
            "name": name, "namespace": "n", "uid": format!("uid of {name}"),
            "resourceVersion": write.to_string(), "generation": generation, "labels": {"a": "b"},
            "ownerReferences": [{"apiVersion": "syncpipeline.dev/v1alpha1", "kind": "SyncPipeline", "name": "p",
                "uid": "p-uid", "controller": true}],
        }))
        .unwrap()
    }

    fn names(touched: &Touched) -> Vec<&str> {
        touched
            .pipelines
            .iter()
            .map(|pipeline| pipeline.name.as_str())
            .collect()
    }

    fn enter(table: &Table, meta: &ObjectMeta) -> Touched {
        table.enter(&Seen::of(meta, table.counts(), 0))
    }

    #[test]
    fn what_was_found_to_be_as_planned_stays_so_until_it_or_the_plan_changes() {
        let table = Table::new(Counts::EveryWrite);
        let first = meta("s", 1, 1);
        assert_eq!(names(&enter(&table, &first)), ["p"]);
        assert!(!table.is_as_planned("n", "s", "p-uid", "d"));
        table.note(&first, "d");
        assert!(table.is_as_planned("n", "s", "p-uid", "d"));
        assert!(!table.is_as_planned("n", "s", "p-uid", "other plan"));
        assert!(!table.is_as_planned("n", "s", "other pipeline", "d"));
        assert_eq!(names(&enter(&table, &meta("s", 2, 1))), ["p"]);
        assert!(!table.is_as_planned("n", "s", "p-uid", "d"));
    }

    #[test]
    fn an_own_write_that_comes_back_is_no_reason_to_look() {
        let table = Table::new(Counts::EveryWrite);
        table.note(&meta("s", 1, 1), "d");
        assert_eq!(names(&enter(&table, &meta("s", 1, 1))), NOBODY);
        let before_its_answer = enter(&table, &meta("s", 2, 1));
        assert!(before_its_answer.perhaps_own && table.is_in_doubt("n", "s"));
        table.note(&meta("s", 2, 1), "d");
        assert!(!table.is_in_doubt("n", "s"));
    }

    #[test]
    fn where_the_generation_counts_a_status_is_no_new_version_and_a_label_is() {
        let table = Table::new(Counts::Generation);
        table.note(&meta("d", 1, 1), "d");
        let mut written = meta("d", 2, 1);
        written.annotations = Some(BTreeMap::from([(REVISION_ANNOTATION.to_owned(), "1".to_owned())]));
        assert_eq!(names(&enter(&table, &written)), NOBODY);
        assert!(table.is_as_planned("n", "d", "p-uid", "d"));
        let mut relabelled = meta("d", 3, 1);
        relabelled.labels = None;
        assert_eq!(names(&enter(&table, &relabelled)), ["p"]);
        assert_eq!(names(&enter(&table, &meta("d", 4, 2))), ["p"]);
        assert!(!table.is_as_planned("n", "d", "p-uid", "d"));
    }

    #[test]
    fn news_are_told_though_the_version_is_the_same() {
        let table = Table::new(Counts::Generation);
        let first = meta("d", 1, 1);
        table.note(&first, "d");
        assert_eq!(names(&enter(&table, &first)), NOBODY);
        for (news, told) in [(7, vec!["p"]), (7, vec![]), (8, vec!["p"]), (0, vec!["p"])] {
            let touched = table.enter(&Seen::of(&first, Counts::Generation, news));
            assert_eq!(names(&touched), told);
            assert!(!touched.perhaps_own);
        }
    }

    #[test]
    fn what_is_deleted_or_given_away_is_told_to_its_owner() {
        let table = Table::new(Counts::EveryWrite);
        enter(&table, &meta("s", 1, 1));
        let mut orphan = meta("s", 2, 1);
        orphan.owner_references = None;
        assert_eq!(names(&enter(&table, &orphan)), ["p"]);
        enter(&table, &meta("s", 3, 1));
        table.note(&meta("s", 3, 1), "d");
        assert_eq!(names(&table.take_out("n", "s")), ["p"]);
        assert!(!table.has("n", "s") && table.is_in_doubt("n", "s"));
        assert!(!table.is_as_planned("n", "s", "p-uid", "d"));
    }

    #[test]
    fn only_own_objects_that_are_not_planned_are_strays() {
        let table = Table::new(Counts::EveryWrite);
        let mut leaving = meta("leaving", 1, 1);
        leaving.deletion_timestamp = Some(crate::status::time(chrono::DateTime::UNIX_EPOCH));
        let mut foreign = meta("foreign", 1, 1);
        foreign.owner_references = None;
        for seen in [&meta("kept", 1, 1), &meta("stray", 1, 1), &leaving, &foreign] {
            enter(&table, seen);
        }
        let keep = BTreeSet::from(["kept".to_owned()]);
        let stray = ("stray".to_owned(), "uid of stray".to_owned());
        assert_eq!(table.strays("n", "p-uid", &keep), [stray]);
        assert_eq!(table.strays("n", "another", &keep), []);
    }

    #[test]
    fn a_new_list_tells_only_what_has_changed_and_only_in_its_namespace() {
        let table = Table::new(Counts::EveryWrite);
        let mut elsewhere = meta("s", 1, 1);
        elsewhere.namespace = Some("m".to_owned());
        for seen in [&meta("same", 1, 1), &meta("gone", 1, 1), &elsewhere] {
            enter(&table, seen);
        }
        let same = [Seen::of(&meta("same", 1, 1), Counts::EveryWrite, 0)];
        assert_eq!(names(&table.replace(Some("n"), &same)), ["p"]);
        assert!(table.has("n", "same") && !table.has("n", "gone") && table.has("m", "s"));
        assert_eq!(names(&table.replace(Some("n"), &same)), NOBODY);
    }
}
