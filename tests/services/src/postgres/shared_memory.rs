//! The System V shared memory of a server that was killed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

const BACKENDS_TIMEOUT: Duration = Duration::from_secs(10);

/// A killed server leaves a System V segment, which keeps a second server out while backends of the first are alive.
/// It is named in the pid file that such a server leaves, too, and removed once nobody is attached to it.
pub(super) fn remove(data: &Path) {
    let Some((key, id)) = fs::read_to_string(data.join("postmaster.pid"))
        .ok()
        .and_then(|file| segment(&file))
    else {
        return;
    };
    let removed = host::wait_until("end of the backends", BACKENDS_TIMEOUT, || {
        let segments = fs::read_to_string("/proc/sysvipc/shm").context("list shared memory")?;
        let Some(attached) = attached(&segments, key, id) else {
            return Ok(Some(()));
        };
        if attached > 0 {
            bail!("{attached} processes use shared memory segment {id}");
        }
        Command::new("ipcrm")
            .args(["--shmem-id", &id.to_string()])
            .status()
            .context("run ipcrm")?;
        Ok(None)
    });
    // Sixteen bytes of memory are no reason to keep the data.
    drop(removed);
}

/// Key and id of the segment: the seventh line of `postmaster.pid`.
fn segment(pid_file: &str) -> Option<(i64, i64)> {
    let mut fields = pid_file.lines().nth(6)?.split_ascii_whitespace();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// How many processes use the segment, if there is one with this key and id, by the kernel's list.
fn attached(segments: &str, key: i64, id: i64) -> Option<u32> {
    segments.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
        (number(0)? == key && number(1)? == id).then(|| number(6).and_then(|count| count.try_into().ok()))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_of_a_killed_server_is_found() {
        let pid_file = "4242\n/var/lib/x\n1700000000\n15432\n\n10.212.0.1\n  15432001         7\nready   \n";
        assert_eq!(segment(pid_file), Some((15_432_001, 7)));
        assert_eq!(segment("4242\n/var/lib/x\n"), None);
        let segments = "       key      shmid perms                  size  cpid  lpid nattch   uid\n  \
                        15432001          6   600                    56  4242  4250      3   101\n  \
                        15432001          7   600                    56  4242  4250      0   101\n";
        assert_eq!(attached(segments, 15_432_001, 7), Some(0));
        assert_eq!(attached(segments, 15_432_001, 6), Some(3));
        assert_eq!(attached(segments, 1, 7), None);
    }
}
