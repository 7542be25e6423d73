//! What a replica knows of the keys, and for how long that holds. Pure: the caller says what time it is.

use super::Key;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a key is taken without being read again. A little more than two readings, and less than the 30 seconds in
/// which a revoked key has to be out of use.
const FRESH: Duration = Duration::from_secs(25);
/// How long a key is taken while PostgreSQL does not answer.
const STALE: Duration = Duration::from_secs(15 * 60);
/// How long a key that does not exist stays so.
const UNKNOWN: Duration = Duration::from_secs(10);
/// How long a key that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// Most keys of each sort. Made-up ones do not push out those that exist.
const MOST: usize = 10_000;

/// The keys that a replica has heard of.
#[derive(Debug, Default)]
pub struct Entries {
    known: HashMap<String, Known>,
    unknown: HashMap<String, Instant>,
}

#[derive(Debug)]
struct Known {
    key: Arc<Key>,
    confirmed: Instant,
    used: Instant,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It exists.
    Known(Arc<Key>),
    /// It existed: to be read again, and to be taken where that is not possible.
    Stale(Arc<Key>),
    /// It does not exist.
    Unknown,
    /// Nothing.
    Missing,
}

impl Entries {
    /// What is known of `id` at `now`.
    pub fn look(&mut self, id: &str, now: Instant) -> Look {
        if let Some(known) = self.known.get_mut(id) {
            known.used = known.used.max(now);
            let age = now.saturating_duration_since(known.confirmed);
            if age <= FRESH {
                return Look::Known(known.key.clone());
            }
            if age <= STALE {
                return Look::Stale(known.key.clone());
            }
            return Look::Missing;
        }
        match self.unknown.get(id) {
            Some(since) if now.saturating_duration_since(*since) <= UNKNOWN => Look::Unknown,
            _ => Look::Missing,
        }
    }

    /// Takes in that of `asked` only `found` exist, as it was at `moment`, when they were asked for.
    pub fn learn(&mut self, asked: &[String], found: Vec<Key>, moment: Instant) {
        let mut found: HashMap<String, Key> = found.into_iter().map(|key| (key.id.clone(), key)).collect();
        for id in asked {
            match found.remove(id) {
                Some(key) => self.learn_of(key, moment),
                None => {
                    self.known.remove(id);
                    if self.unknown.len() >= MOST {
                        self.unknown
                            .retain(|_, since| moment.saturating_duration_since(*since) <= UNKNOWN);
                    }
                    if self.unknown.len() < MOST {
                        self.unknown.insert(id.clone(), moment);
                    }
                }
            }
        }
    }

    fn learn_of(&mut self, key: Key, moment: Instant) {
        self.unknown.remove(&key.id);
        let used = self.known.get(&key.id).map_or(moment, |known| known.used);
        if self.known.len() >= MOST && !self.known.contains_key(&key.id) {
            let longest = self.known.iter().min_by_key(|(_, known)| known.used);
            if let Some(id) = longest.map(|(id, _)| id.clone()) {
                self.known.remove(&id);
            }
        }
        let id = key.id.clone();
        let known = Known {
            key: Arc::new(key),
            confirmed: moment,
            used,
        };
        self.known.insert(id, known);
    }

    /// The keys to be read again; forgets those that nobody uses.
    pub fn in_use(&mut self, now: Instant) -> Vec<String> {
        self.known
            .retain(|_, known| now.saturating_duration_since(known.used) <= IDLE);
        self.known.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::token::Hash;

    fn key(id: &str) -> Key {
        Key {
            id: id.to_owned(),
            hash: Hash::from_bytes(&[0; 32]).unwrap(),
            client: "c".to_owned(),
            tenant: None,
            quota: None,
        }
    }

    fn learnt(entries: &mut Entries, id: &str, moment: Instant) {
        entries.learn(&[id.to_owned()], vec![key(id)], moment);
    }

    #[test]
    fn a_key_is_fresh_then_stale_then_gone() {
        let mut entries = Entries::default();
        let start = Instant::now();
        assert_eq!(entries.look("a", start), Look::Missing);
        learnt(&mut entries, "a", start);
        assert_eq!(entries.look("a", start + FRESH), Look::Known(key("a").into()));
        assert!(FRESH < Duration::from_secs(30), "revocation holds within 30 s");
        let later = start + FRESH + Duration::from_millis(1);
        assert_eq!(entries.look("a", later), Look::Stale(key("a").into()));
        assert_eq!(
            entries.look("a", start + STALE + Duration::from_millis(1)),
            Look::Missing
        );
    }

    #[test]
    fn a_revoked_key_is_unknown_at_once_and_asked_for_again_later() {
        let mut entries = Entries::default();
        let start = Instant::now();
        learnt(&mut entries, "a", start);
        entries.learn(&["a".to_owned()], vec![], start);
        assert_eq!(entries.look("a", start + UNKNOWN), Look::Unknown);
        assert_eq!(
            entries.look("a", start + UNKNOWN + Duration::from_millis(1)),
            Look::Missing
        );
        learnt(&mut entries, "a", start);
        assert_eq!(entries.look("a", start), Look::Known(key("a").into()));
    }

    #[test]
    fn made_up_keys_take_bounded_memory_and_push_out_nobody() {
        let mut entries = Entries::default();
        let start = Instant::now();
        learnt(&mut entries, "a", start);
        for number in 0..MOST + 10 {
            entries.learn(&[number.to_string()], vec![], start);
        }
        assert_eq!(entries.unknown.len(), MOST);
        assert_eq!(entries.look("a", start), Look::Known(key("a").into()));
        entries.learn(&["later".to_owned()], vec![], start + UNKNOWN + Duration::from_secs(1));
        assert_eq!(entries.unknown.len(), 1, "old ones make room");
    }

    #[test]
    fn the_key_that_was_not_used_for_longest_makes_room() {
        let mut entries = Entries::default();
        let start = Instant::now();
        for number in 0..MOST as u64 {
            learnt(&mut entries, &number.to_string(), start + Duration::from_millis(number));
        }
        entries.look("0", start + Duration::from_secs(60));
        learnt(&mut entries, "new", start + Duration::from_secs(60));
        assert_eq!(entries.known.len(), MOST);
        assert_eq!(entries.look("1", start), Look::Missing);
        assert!(matches!(entries.look("0", start), Look::Known(_)));
    }

    #[test]
    fn keys_that_nobody_uses_are_not_read_again() {
        let mut entries = Entries::default();
        let start = Instant::now();
        learnt(&mut entries, "a", start);
        learnt(&mut entries, "b", start);
        entries.look("b", start + IDLE);
        assert_eq!(entries.in_use(start + IDLE + Duration::from_secs(1)), ["b"]);
    }
}
