//! Turns root into the service's user: everything below the state directory is that user's, no
//! matter who types the command.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::{Gid, Uid, User, getuid, initgroups, setgid, setuid};

use invirtibuilder_core::error::Error;

/// Becomes the user that owns `state_dir`, for good, when we are root and it is somebody else: uid,
/// gid and groups. Files that root would create there (the database's log among them) would shut
/// the service out.
pub fn become_owner_of(state_dir: &Path) -> Result<()> {
    let owner = std::fs::metadata(state_dir)
        .map_err(|e| {
            Error::unavailable(format!(
                "cannot use the state directory {}: {e}; run 'init' first",
                state_dir.display()
            ))
        })?
        .uid();
    if !getuid().is_root() || owner == 0 {
        return Ok(());
    }
    become_user(Uid::from_raw(owner))
}

/// Becomes this user for good.
pub fn become_user(uid: Uid) -> Result<()> {
    let user = User::from_uid(uid)?.with_context(|| format!("uid {uid} has no entry in passwd"))?;
    let name = std::ffi::CString::new(user.name.as_str())?;
    let group: Gid = user.gid;
    initgroups(&name, group).context("cannot set the groups")?;
    setgid(group).context("cannot set the group")?;
    setuid(uid).context("cannot set the user")?;
    Ok(())
}
