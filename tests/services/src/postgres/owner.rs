//! Whose files and processes those of the server are.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use host::process::User;

use super::SYSTEM_USER;

/// The user that the server runs as: its own where this is root, else whoever this is.
#[derive(Clone, Copy)]
pub(super) struct Owner(Option<User>);

impl Owner {
    pub(super) fn of_server() -> Result<Self> {
        Ok(Self(if host::is_root() {
            Some(User::named(SYSTEM_USER)?)
        } else {
            None
        }))
    }

    /// Gives a file or folder to the owner.
    pub(super) fn own(self, path: &Path) -> Result<()> {
        match self.0 {
            Some(User { uid, gid }) => {
                chown(path, Some(uid), Some(gid)).with_context(|| format!("give {} to {SYSTEM_USER}", path.display()))
            }
            None => Ok(()),
        }
    }

    /// Gives a folder to the owner, and lets nobody else in, as the server wants it.
    pub(super) fn own_alone(self, folder: &Path) -> Result<()> {
        self.own(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("make {} private", folder.display()))
    }

    /// The command, run as the owner in one of its folders.
    pub(super) fn runs(self, mut command: Command, folder: &Path) -> Command {
        if let Some(User { uid, gid }) = self.0 {
            command.uid(uid).gid(gid);
        }
        command.current_dir(folder);
        command
    }
}
