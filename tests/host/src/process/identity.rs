use std::fs;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// What tells a process from every other one of this machine, past ones included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) pid: i32,
    /// Clock ticks since boot, from `/proc/<pid>/stat`.
    start_time: u64,
    boot: String,
}

impl Identity {
    /// The identity of a process that exists now.
    pub(super) fn of(pid: i32) -> Result<Self> {
        let stat = Stat::of(pid).with_context(|| format!("read /proc/{pid}/stat; daemons need Linux"))?;
        Ok(Self {
            pid,
            start_time: stat.start_time,
            boot: boot(),
        })
    }

    pub(super) fn is_alive(&self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.start_time == self.start_time && !stat.is_dead())
            && self.boot == boot()
    }

    /// Processes that are left in the session which this process began; none if its number is another's now.
    pub(super) fn session_members(&self) -> Vec<i32> {
        let taken = Stat::of(self.pid).is_some_and(|stat| stat.start_time != self.start_time);
        if taken || self.boot != boot() {
            return Vec::new();
        }
        let Ok(processes) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        processes
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| Stat::of(*pid).is_some_and(|stat| stat.session == self.pid && !stat.is_dead()))
            .collect()
    }
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

struct Stat {
    state: char,
    session: i32,
    start_time: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// A process that has ended but that its parent did not collect yet is dead, too.
    fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// The program's name, the second field, may contain spaces and parentheses: count from the last one.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            state: fields.first()?.chars().next()?,
            session: fields.get(3)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_parsed() {
        let line = "42 (a ) (b) S 1 40 39 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 10";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.session, stat.start_time), ('S', 39, 987_654));
    }

    #[test]
    fn a_reused_number_is_another_process() {
        let mut identity = Identity::of(std::process::id() as i32).unwrap();
        assert!(identity.is_alive());
        identity.start_time -= 1;
        assert!(!identity.is_alive());
        assert_eq!(identity.session_members(), Vec::<i32>::new());
    }

    #[test]
    fn a_process_of_another_boot_is_gone() {
        let mut identity = Identity::of(std::process::id() as i32).unwrap();
        identity.boot = "another".to_owned();
        assert!(!identity.is_alive());
    }
}
