//! Folders of what is running now. Removing them is the last step of `down`.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cache;

const REMOVAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Names the state folder in place of the default.
pub const VARIABLE: &str = "SYNCPIPELINE_STATE";

/// The state folder: `$SYNCPIPELINE_STATE`, `$XDG_STATE_HOME/syncpipeline` or `~/.local/state/syncpipeline`.
pub fn dir() -> PathBuf {
    cache::folder_from_environment(VARIABLE, "XDG_STATE_HOME", ".local/state")
}

/// The folder of logs in the state folder.
pub fn log_dir() -> PathBuf {
    dir().join("log")
}

/// Where daemons that run as another user keep their data.
///
/// Root's home cannot be traversed by other users, so as root this is a folder of its own for each state folder
/// under `/var/lib/syncpipeline`; as any other user it is a part of the state folder.
pub fn data_dir() -> PathBuf {
    let state = dir();
    if crate::is_root() {
        Path::new("/var/lib/syncpipeline").join(cache::key_of(&[state.as_os_str().as_encoded_bytes()]))
    } else {
        state.join("data")
    }
}

/// Creates `folder` and its parents, readable only by their owner where they are new.
pub fn create_private(folder: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("create {}", folder.display()))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
        .with_context(|| format!("make {} private", folder.display()))
}

/// Makes the folder at `path`, which appears only when `build` has filled it.
///
/// `build` gets an empty folder beside it, of a name that no other process uses: what a command of a killed process
/// still writes never ends up in `path`. What such a process left is removed. Callers take turns by a lock of theirs.
pub fn create_whole(path: &Path, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = path
        .parent()
        .with_context(|| format!("{} has no parent", path.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    remove_partial(path)?;
    let partial = parent.join(format!("{}{}", partial_prefix(path), std::process::id()));
    fs::create_dir(&partial).with_context(|| format!("create {}", partial.display()))?;
    let built =
        build(&partial).and_then(|()| fs::rename(&partial, path).with_context(|| format!("finish {}", path.display())));
    if built.is_err() {
        // Only tidiness: the next attempt removes it, too.
        let _ = remove(&partial);
    }
    built
}

/// Removes what a [`create_whole`] that was killed left beside `path`.
pub fn remove_partial(path: &Path) -> Result<()> {
    let prefix = partial_prefix(path);
    let Some(Ok(entries)) = path.parent().map(fs::read_dir) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            // A command of the killed process may still write into it, until it notices that the folder is gone.
            crate::wait_until("removal of what was left", REMOVAL_TIMEOUT, || {
                remove(&entry.path()).map(Some)
            })?;
        }
    }
    Ok(())
}

fn partial_prefix(path: &Path) -> String {
    format!(".{}.partial-", path.file_name().unwrap_or_default().to_string_lossy())
}

/// Removes `path` with all that is in it; one that is not there is as good.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_folders_are_private_and_removed_twice() {
        let folder = tempfile::tempdir().unwrap();
        let private = folder.path().join("a/b");
        create_private(&private).unwrap();
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(private.join("file"), "x").unwrap();
        remove(&private).unwrap();
        assert!(!private.exists());
        remove(&private).unwrap();
    }

    #[test]
    fn a_folder_appears_when_it_is_whole() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/data");
        let left = parent.path().join("a/.data.partial-1");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("half"), "x").unwrap();
        create_whole(&path, |_| anyhow::bail!("no disk")).unwrap_err();
        assert_eq!(
            fs::read_dir(parent.path().join("a")).unwrap().count(),
            0,
            "nothing is left of what failed"
        );
        create_whole(&path, |partial| {
            assert!(!path.exists(), "seen half-finished");
            Ok(fs::write(partial.join("whole"), "x")?)
        })
        .unwrap();
        assert!(path.join("whole").exists());
        assert_eq!(fs::read_dir(parent.path().join("a")).unwrap().count(), 1);
    }
}
