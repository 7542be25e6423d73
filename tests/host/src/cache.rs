//! Downloads and builds, kept outside the checkout and keyed by what they are made of.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::state;

/// Names the cache folder in place of the default.
pub const VARIABLE: &str = "SYNCPIPELINE_CACHE";

/// The cache folder: `$SYNCPIPELINE_CACHE`, `$XDG_CACHE_HOME/syncpipeline` or `~/.cache/syncpipeline`.
pub fn dir() -> PathBuf {
    folder_from_environment(VARIABLE, "XDG_CACHE_HOME", ".cache")
}

/// The folder `<cache>/<name>/<key>`, made by `build` if it is not there yet.
///
/// `build` fills an empty folder beside it, which gets its final name only once `build` succeeded: a half-finished
/// entry is never seen. A lock lets one process build while others wait for its result. What is built must not
/// depend on the folder's own path, which changes at the end.
pub fn entry(name: &str, key: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    entry_in(&dir(), name, key, build)
}

/// A short hash of `parts`; moving a byte from one part to the next gives another key.
pub fn key_of(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}

fn entry_in(cache: &Path, name: &str, key: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = cache.join(name);
    let finished = folder.join(key);
    if finished.is_dir() {
        return Ok(finished);
    }
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let lock_path = folder.join(format!(".{key}.lock"));
    let lock = File::create(&lock_path).with_context(|| format!("create {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("lock {}", lock_path.display()))?;
    if finished.is_dir() {
        return Ok(finished);
    }
    state::create_whole(&finished, build)?;
    Ok(finished)
}

pub(crate) fn folder_from_environment(own: &str, base: &str, below_home: &str) -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = set(own) {
        return std::path::absolute(&folder).unwrap_or(folder);
    }
    set(base)
        .or_else(|| env::home_dir().map(|home| home.join(below_home)))
        .unwrap_or_else(|| env::temp_dir().join(below_home))
        .join("syncpipeline")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn an_entry_is_built_once() {
        let cache = tempfile::tempdir().unwrap();
        let first = entry_in(cache.path(), "tool", "1.0", |folder| {
            Ok(fs::write(folder.join("bin"), "x")?)
        })
        .unwrap();
        assert_eq!(first, cache.path().join("tool/1.0"));
        let second = entry_in(cache.path(), "tool", "1.0", |_| bail!("built again")).unwrap();
        assert_eq!(second, first);
        assert_eq!(fs::read_to_string(second.join("bin")).unwrap(), "x");
    }

    #[test]
    fn a_failed_build_leaves_nothing_and_is_tried_again() {
        let cache = tempfile::tempdir().unwrap();
        let error = entry_in(cache.path(), "tool", "1.0", |folder| {
            fs::write(folder.join("half"), "x")?;
            bail!("no network")
        });
        assert_eq!(error.unwrap_err().to_string(), "no network");
        assert!(!cache.path().join("tool/1.0").exists());
        let built = entry_in(cache.path(), "tool", "1.0", |_| Ok(())).unwrap();
        assert_eq!(
            fs::read_dir(built).unwrap().count(),
            0,
            "nothing of the failed build is there"
        );
    }

    #[test]
    fn what_a_killed_build_left_is_not_reused() {
        let cache = tempfile::tempdir().unwrap();
        let partial = cache.path().join("tool/.1.0.partial-1");
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join("half"), "x").unwrap();
        let built = entry_in(cache.path(), "tool", "1.0", |folder| {
            Ok(fs::write(folder.join("whole"), "x")?)
        })
        .unwrap();
        assert!(built.join("whole").exists() && !built.join("half").exists());
        assert!(!partial.exists());
    }

    #[test]
    fn an_entry_appears_whole_and_others_wait_for_it() {
        let cache = tempfile::tempdir().unwrap();
        let builds = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let entry = entry_in(cache.path(), "tool", "1.0", |folder| {
                        builds.fetch_add(1, Ordering::SeqCst);
                        fs::write(folder.join("a"), "x")?;
                        assert!(!cache.path().join("tool/1.0").exists(), "seen half-finished");
                        thread::sleep(Duration::from_millis(50));
                        Ok(fs::write(folder.join("b"), "x")?)
                    })
                    .unwrap();
                    assert!(entry.join("a").exists() && entry.join("b").exists());
                });
            }
        });
        assert_eq!(builds.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn keys_tell_parts_apart() {
        assert_eq!(key_of(&[b"ab", b"c"]), key_of(&[b"ab", b"c"]));
        assert_ne!(key_of(&[b"ab", b"c"]), key_of(&[b"a", b"bc"]));
        assert_eq!(key_of(&[]).len(), 16);
    }
}
