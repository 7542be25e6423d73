//! Folders of what is running now. Removing them is the last step of `down`.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache;

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
}
